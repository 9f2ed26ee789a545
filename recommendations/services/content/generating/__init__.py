"""A seeded social platform as NumPy columns. No Django here: `services/content/generate.py` inserts it."""
