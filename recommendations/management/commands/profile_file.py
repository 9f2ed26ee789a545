"""`manage.py profile export|import MEMBER`: a member's profile as a file; `profile schema`: the file's form."""

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


class Command(BaseCommand):
    help = "Write a member's profile as a file, or take one in (docs/profile-file.md)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        for verb in ("export", "import"):
            one = verbs.add_parser(verb)
            one.add_argument("member")
            one.add_argument("file", nargs="?", default="-", help="the file; left out or -: the terminal's own")
        verbs.add_parser("schema", help="Print the JSON schema of the file.")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            if options["verb"] == "schema":
                self.stdout.write(json.dumps(ProfileFile.model_json_schema(), indent=2))
            elif options["verb"] == "export":
                self.export_file(options["member"], options["file"])
            else:
                self.import_file(options["member"], options["file"])
        except ServiceError as error:
            pointer = getattr(error, "pointer", "")
            raise CommandError(f"{pointer}: {error}" if pointer else str(error)) from error
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}.") from error

    def export_file(self, member_id: str, path: str) -> None:
        """Write the member's profile."""
        text = json.dumps(export_profile(member_id=member_id, now=now()), ensure_ascii=False, indent=1)
        if path == "-":
            self.stdout.write(text)
        else:
            Path(path).write_text(text + "\n", encoding="utf-8")

    def import_file(self, member_id: str, path: str) -> None:
        """Take the file in and say what became of it; exit code 1 if something was refused."""
        try:
            content = json.loads(sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise CommandError(f"{path}: this is not JSON in UTF-8: {error}") from error
        report = import_profile(member_id=member_id, content=content, now=now())
        self.stdout.write(
            f"{report.applied} applied, {report.unchanged} there already, {len(report.rejected)} refused."
        )
        if report.rejected:
            raise CommandError("\n".join(f"{r.pointer}: {r.detail}" for r in report.rejected))
