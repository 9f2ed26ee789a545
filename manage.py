#!/usr/bin/env python3
"""
Django's command line for this project: `./manage.py COMMAND`.

It runs with the packages in .venv if the Python that started it has none, and in a clone that `make setup` prepared it
uses the clone's own database, Redis and secrets.
"""

import gc
import os
import sys
from pathlib import Path

# Imports create 150,000 objects and no garbage: a collection after every 700 of them takes a tenth of the time of a
# short command.
gc.set_threshold(200_000, 20, 20)

PYTHON = Path(__file__).resolve().parent / ".venv" / "bin" / "python"

try:
    from django.core.management import execute_from_command_line
except ImportError:
    if PYTHON.exists() and Path(sys.prefix) != PYTHON.parent.parent:
        os.execv(PYTHON, [PYTHON, *sys.argv])
    raise SystemExit("Django is not installed. Run `make setup` first.") from None

from recsys_project.stack.commands import complete_environment  # noqa: E402

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "recsys_project.settings")
    os.environ.update(complete_environment(sys.argv[1:]))
    execute_from_command_line(sys.argv)
