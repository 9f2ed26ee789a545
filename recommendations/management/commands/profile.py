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
from recommendations.services.members.profile_file.export import export_profile
from recommendations.services.members.profile_file.form import ProfileFile
from recommendations.services.members.profile_file.take_in import import_profile


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
                self.write(options["member"], options["file"])
            else:
                self.take_in(options["member"], options["file"])
        except ServiceError as error:
            pointer = getattr(error, "pointer", "")
            raise CommandError(f"{pointer}: {error}" if pointer else str(error)) from error
        except OSError as error:
            raise CommandError(f"{options['file']}: {error.strerror}.") from error

    def write(self, member: str, file: str) -> None:
        """Write the member's profile."""
        text = json.dumps(export_profile(member_id=member, now=now()), ensure_ascii=False, indent=1)
        if file == "-":
            self.stdout.write(text)
        else:
            Path(file).write_text(text + "\n", encoding="utf-8")

    def take_in(self, member: str, file: str) -> None:
        """Take the file in and say what became of it; exit code 1 if something was refused."""
        try:
            content = json.loads(sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8"))
        except ValueError as error:
            raise CommandError(f"{file}: this is not JSON in UTF-8: {error}") from error
        report = import_profile(member_id=member, content=content, now=now())
        self.stdout.write(f"{report.applied} applied, {report.unchanged} there already, {len(report.refused)} refused.")
        if report.refused:
            raise CommandError("\n".join(f"{r.pointer}: {r.detail}" for r in report.refused))
