"""The tests, in a folder for each kind. CONTRIBUTING.md describes the kinds."""
