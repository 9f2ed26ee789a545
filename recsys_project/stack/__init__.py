"""The embedded stack: the whole service on one machine, installed from wheels. `python -m recsys_project.stack`."""
