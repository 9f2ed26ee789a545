"""Statistics of experiment results. Imports SciPy, so only the analysis worker imports this package."""
