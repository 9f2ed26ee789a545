"""Scorers: each computes one additive part of the score."""
