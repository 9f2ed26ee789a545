"""`manage.py import_data KIND FILE`: import a file (`services/content/import_file.py`)."""

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
        "Import members, posts, interactions or relationships from a CSV, JSONL or Parquet file, in that order. "
        "Rejected rows are written with the reason to FILE.errors.csv (or .jsonl). After an interruption the same "
        "command resumes. Importing the same file again adds nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.epilog = "fields (* required):\n" + "\n".join(
            f"  {kind}: {', '.join(name + '*' * (name in layout.required) for name in layout.types)}"
            for kind, layout in file_layouts(now().year).items()
        )
        parser.add_argument("kind", choices=FILE_KINDS, help="content of the file")
        parser.add_argument(
            "file", type=Path, help="a file whose name ends in .csv, .jsonl, .ndjson (UTF-8) or .parquet"
        )
        parser.add_argument("--errors", type=Path, metavar="PATH", help="file for the rejected rows")
        parser.add_argument("--dry-run", action="store_true", help="validate every row without importing")
        parser.add_argument("--from-start", action="store_true", help="import the whole file again")

    def handle(self, *args: object, **options: Any) -> None:
        path = options["file"]
        try:
            with progress_bar() as step:
                summary = import_file(
                    kind=options["kind"],
                    path=path,
                    now=now(),
                    errors_path=options["errors"],
                    restart=options["from_start"],
                    dry_run=options["dry_run"],
                    progress=lambda done, total: step(path.name, done, total),
                )
        except ImportFileError as error:
            raise CommandError(str(error)) from error
        if summary.is_already_imported:
            self.stdout.write("This file is already imported. Use --from-start to import it again.")
            return
        if summary.resumed_at_line > 1:
            self.stdout.write(f"Resumed at line {summary.resumed_at_line:,}, after an interrupted run.")
        self.stdout.write(
            f"{'Dry run, nothing imported: ' if options['dry_run'] else ''}"
            f"{summary.created:,} created, {summary.updated:,} updated, {summary.unchanged:,} unchanged, "
            f"{summary.rejected:,} rejected."
        )
        if summary.errors_path:
            self.stdout.write(self.style.WARNING(f"Rejected rows with reasons: {summary.errors_path}"))
