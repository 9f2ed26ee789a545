"""A generated social platform as NumPy columns, without Django. `services/content/generate.py` inserts the rows."""
