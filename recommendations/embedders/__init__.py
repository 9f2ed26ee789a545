"""Embedders turn texts and pictures into unit vectors. One module for each family of embedding models."""
