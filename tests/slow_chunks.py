"""Imported by a worker under test (`celery worker -I tests.slow_chunks`): chunks of batch feeds wait for the test."""

import os
import time
from dataclasses import replace
from pathlib import Path

from recommendations.services import work

FOLDER = "SLOW_CHUNKS"
"""Variable with a folder. A chunk that begins creates the file `began` in it, and ends when there is the file `end`."""


def process(chunk, items, now):
    """Wait, and report no error."""
    folder = Path(os.environ[FOLDER])
    (folder / "began").touch()
    while not (folder / "end").exists():
        time.sleep(0.02)
    return []


if FOLDER in os.environ:  # not in the test, which imports the name of the variable
    work.register_kind(replace(work.KINDS["batch_feeds"], process=process))
