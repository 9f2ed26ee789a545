"""The embedded stack: the whole service on one machine, from wheels alone. `python -m recsys_project.stack`."""
