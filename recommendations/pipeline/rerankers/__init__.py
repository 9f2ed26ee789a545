"""Rerankers: a new order, dropping none, kept apart from the score."""
