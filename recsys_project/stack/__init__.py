"""The embedded stack: every process of the service on one machine, from wheels alone. `python -m recsys_project.stack`."""
