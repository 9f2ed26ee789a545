"""The arithmetic of experiments' results. Imports SciPy: only the analysis worker imports this package."""
