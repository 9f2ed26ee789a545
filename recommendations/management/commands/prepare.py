"""`manage.py prepare`: prepare the database for the embedded stack before its servers start."""

from argparse import ArgumentParser
from pathlib import Path
from time import perf_counter
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from recommendations.services.content.import_sample import DEFAULT_SAMPLE, SAMPLES, find_sample
from recommendations.services.content.importing.fields import FILE_KINDS
from recommendations.services.content.importing.parquet_files import PARQUET
from recommendations.services.content.importing.rows import FILE_FORMATS
from recommendations.services.members.members import find_members

REQUIRED_KINDS = ("members", "posts")
FILE_ENDINGS = (*FILE_FORMATS, PARQUET)


def find_files(folder: Path) -> dict[str, Path]:
    """
    Return the file of each kind in *folder*, such as members.csv, in the order of their import.

    Raises `CommandError` if the folder has no members or no posts, or two files of one kind.
    """
    if not folder.is_dir():
        raise CommandError(
            f"{folder} is not a folder. Give the folder with members.csv, posts.csv and the other files."
        )
    files = {}
    for kind in FILE_KINDS:
        found = [path for path in sorted(folder.iterdir()) if path.stem == kind and path.suffix.lower() in FILE_ENDINGS]
        if len(found) > 1:
            raise CommandError(f"{folder} has {' and '.join(path.name for path in found)}. Keep one file of {kind}.")
        if found:
            files[kind] = found[0]
        elif kind in REQUIRED_KINDS:
            raise CommandError(f"{folder} has no file of {kind}: {', '.join(kind + end for end in FILE_ENDINGS)}.")
    return files


def choose_sample(name: str | None, *, has_files: bool) -> str | None:
    """
    Return the sample to import, or None for none: *name* or the default into an empty database, unless it *has_files*
    to import, and else the sample that the database has, since its import may have been interrupted.

    Raises `CommandError` if the database has other members.
    """
    advice = "Run `make clean` first, or set VAR_DIR to another folder."
    if present := find_sample():
        if has_files or name not in (None, present):
            raise CommandError(f"This database has the members of the sample {present}. {advice}")
        return present
    if find_members(limit=1):
        if name:
            raise CommandError(f"This database has members already, so the sample {name} is not imported. {advice}")
        return None
    return None if has_files else name or DEFAULT_SAMPLE


class Command(BaseCommand):
    help = (
        "Migrate, create the admin user, import a sample or the files of a folder, embed, learn and train. Completed "
        "steps are skipped. A sample is imported into an empty database only."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        source = parser.add_mutually_exclusive_group()
        source.add_argument("--sample", choices=SAMPLES, help=f"the sample to import (default: {DEFAULT_SAMPLE})")
        source.add_argument(
            "--data", type=Path, metavar="FOLDER", help="import this folder's members.csv, posts.jsonl … instead"
        )

    def handle(self, *args: object, **options: Any) -> None:
        files = find_files(options["data"]) if options["data"] else {}
        self.run_step("Migrating the database", "migrate", verbosity=0)
        self.run_step("Creating the admin user", "ensure_admin")
        if sample := choose_sample(options["sample"], has_files=bool(files)):
            self.run_step(f"Importing the sample {sample}", "import_sample", sample)
        for kind, path in files.items():
            self.run_step(f"Importing {path.name}", "import_data", kind, str(path))
        self.run_step("Embedding the posts", "embed")
        self.run_step("Learning interests", "learn")
        self.run_step("Training on what members like together", "train", "--if-due")

    def run_step(self, title: str, command: str, *words: str, verbosity: int = 1) -> None:
        """Run a command and print its duration."""
        self.stdout.write(f"{title} …")
        start = perf_counter()
        call_command(command, *words, verbosity=verbosity)
        self.stdout.write(f"  done in {perf_counter() - start:.1f} s")
