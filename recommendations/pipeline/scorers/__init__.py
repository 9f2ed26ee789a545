"""Scorers: one additive part of the score each."""
