"""`manage.py profile_file export|import|schema`: a member's profile as a file, and the JSON schema of the file."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring.clock import now
from recommendations.services.errors import ServiceError
from recommendations.services.members.profile_file.export_profile import export_profile
from recommendations.services.members.profile_file.import_profile import import_profile
from recommendations.services.members.profile_file.schema import ProfileFile
from values.json_text import parse_json


class Command(BaseCommand):
    help = "Export a member's profile as a file, or import one (docs/profile-file.md)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        for action in ("export", "import"):
            subparser = actions.add_parser(action)
            subparser.add_argument("member_id", help="the platform's id of the member")
            subparser.add_argument("file", nargs="?", default="-", help="path (default: standard input or output)")
        actions.add_parser("schema", help="Print the JSON schema of the file.")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            if options["action"] == "schema":
                self.stdout.write(json.dumps(ProfileFile.model_json_schema(), indent=2))
            elif options["action"] == "export":
                self.export_file(options["member_id"], options["file"])
            else:
                self.import_file(options["member_id"], options["file"])
        except ServiceError as error:
            pointer = getattr(error, "pointer", "")
            raise CommandError(f"{pointer}: {error}" if pointer else str(error)) from error
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}.") from error

    def export_file(self, member_id: str, path: str) -> None:
        """Write the member's profile to *path*, or to standard output for `-`."""
        text = json.dumps(export_profile(member_id=member_id, now=now()), ensure_ascii=False, indent=1)
        if path == "-":
            self.stdout.write(text)
        else:
            Path(path).write_text(text + "\n", encoding="utf-8")

    def import_file(self, member_id: str, path: str) -> None:
        """Import the file and print the counts. Raises `CommandError` if items were rejected."""
        try:
            content = parse_json(sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise CommandError(f"{path}: the file is not JSON in UTF-8: {error}") from error
        report = import_profile(member_id=member_id, content=content, now=now())
        self.stdout.write(f"{report.applied} applied, {report.unchanged} unchanged, {len(report.rejected)} rejected.")
        if report.rejected:
            raise CommandError("\n".join(f"{item.pointer}: {item.detail}" for item in report.rejected))
