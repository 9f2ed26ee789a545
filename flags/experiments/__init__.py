"""Experiments on flags: assignment, exposures, metric sources and reports."""
