"""Filters: who may see which posts. A filter returns a mask and drops a post if a fact it needs is unknown."""
