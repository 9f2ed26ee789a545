"""`manage.py candidate_pack create|rank`: a candidate pack as a file, and the order of its posts on a device."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring.clock import now
from recommendations.services.errors import ServiceError
from recommendations.services.serving.candidate_pack import create_pack
from recommendations.services.serving.pack_format import PackError
from recommendations.services.serving.rank_pack import rank_pack_file


class Command(BaseCommand):
    help = "Create a candidate pack, or rank one by a profile as a device does (docs/on-device.md)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="Write a pack for a member.")
        create.add_argument("member_id", help="the platform's id of the member")
        create.add_argument("file", help="path of the pack")
        rank = actions.add_parser("rank", help="Print the ids of a pack's posts in order, with their scores.")
        rank.add_argument("file", help="path of the pack")
        rank.add_argument("profile", help="path of the profile, in JSON")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            if options["action"] == "create":
                Path(options["file"]).write_bytes(create_pack(member_id=options["member_id"], now=now()))
            else:
                self.rank(Path(options["file"]), Path(options["profile"]))
        except (ServiceError, PackError) as error:
            raise CommandError(str(error)) from error
        except (OSError, UnicodeError) as error:
            raise CommandError(f"A file cannot be read or written: {error}.") from error

    def rank(self, file: Path, profile: Path) -> None:
        """Print each post's id and score, in order."""
        for post_id, score in rank_pack_file(file.read_bytes(), profile.read_text(encoding="utf-8")):
            self.stdout.write(f"{score:.6f} {post_id}")
