"""Experiments on flags: who gets which variant, what was shown to whom, and what came of it."""
