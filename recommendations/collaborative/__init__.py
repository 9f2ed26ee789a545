"""Collaborative scores from a member's reactions: arithmetic on columns, without a database and without SciPy."""
