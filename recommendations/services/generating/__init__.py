"""A seeded social platform as NumPy columns. No Django here: `services/generate.py` inserts it."""
