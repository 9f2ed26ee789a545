"""`manage.py rank_cases FOLDER`: the child process of a scratch platform (`services/evaluating/scratch.py`)."""

import fcntl
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from recommendations.services.evaluating.rank_cases import rank_cases
from recommendations.services.evaluating.scratch import lock_folder


class Command(BaseCommand):
    help = "Rank the cases in FOLDER. Used by `manage.py evaluate`, on an empty database of its own."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path)

    def handle(self, *args: object, **options: Any) -> None:
        with lock_folder(options["folder"], fcntl.LOCK_SH):
            call_command("migrate", verbosity=0)
            rank_cases(options["folder"], lambda line: self.stdout.write(line))
