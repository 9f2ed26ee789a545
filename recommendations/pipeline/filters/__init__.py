"""Filters: who may see what. Each is a mask; what is not known is a no."""
