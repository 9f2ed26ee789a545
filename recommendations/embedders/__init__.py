"""Embedders turn text into unit vectors: one module a model family; `services/wiring.py` chooses."""
