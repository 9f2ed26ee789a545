"""`manage.py import_data KIND FILE`: a door to `services/content/import_file.py`."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring.clock import now
from recommendations.management.progress import progress_bar
from recommendations.services.content.import_file import import_file
from recommendations.services.content.importing.fields import FILE_KINDS, file_layouts
from recommendations.services.content.importing.problems import ImportFileError


class Command(BaseCommand):
    help = (
        "Import members, posts, interactions or follows from a CSV or JSONL file, in that order. Rows that "
        "cannot be used are listed with the reason in FILE.errors.csv (or .jsonl) and left out. Killed, it "
        "goes on where it was when started again; repeated, it adds nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = "fields (those with * must be there):\n" + "\n".join(
            f"  {kind}: {', '.join(name + '*' * (name in layout.required) for name in layout.parsers)}"
            for kind, layout in file_layouts(now()).items()
        )
        parser.add_argument("kind", choices=FILE_KINDS, help="what the file holds")
        parser.add_argument("file", type=Path, help="a UTF-8 file whose name ends in .csv, .jsonl or .ndjson")
        parser.add_argument("--dry-run", action="store_true", help="check every row and keep nothing")
        parser.add_argument("--again", action="store_true", help="start from the top whatever was done before")

    def handle(self, *args: object, **options: Any) -> None:
        path = options["file"]
        try:
            with progress_bar() as step:
                summary = import_file(
                    kind=options["kind"],
                    path=path,
                    now=now(),
                    restart=options["again"],
                    dry_run=options["dry_run"],
                    progress=lambda done, total: step(path.name, done, total),
                )
        except ImportFileError as error:
            raise CommandError(str(error)) from error
        if summary.is_already_imported:
            self.stdout.write("This very file was imported before: nothing to do (--again imports it anew).")
            return
        if summary.resumed_at_line > 1:
            self.stdout.write(f"Went on at line {summary.resumed_at_line:,}, where an earlier run was cut off.")
        self.stdout.write(
            f"{'Dry run, nothing kept: ' if options['dry_run'] else ''}"
            f"{summary.created:,} new, {summary.updated:,} changed, {summary.unchanged:,} there already, "
            f"{summary.rejected:,} left out."
        )
        if summary.errors_path:
            self.stdout.write(self.style.WARNING(f"Left out, and why: {summary.errors_path}"))
