"""`manage.py recommend [MEMBER_ID]`: print one member's feed."""

import json
from argparse import ArgumentParser
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monitoring.clock import now
from recommendations.contracts import EMPTY_SENTENCES, REASON_SENTENCES
from recommendations.services.errors import ServiceError
from recommendations.services.members.members import find_members
from recommendations.services.serving.pages import Page
from recommendations.services.serving.recommend import FEEDS, recommend
from values.text import excerpt

MAX_TEXT_WIDTH = 60


def build_table(page: Page) -> Table:
    """Return the page as a table with a row per pick."""
    served = f"{page.engine}{', cached' if page.is_cached else ''}{f', fallback {page.fallback}' * bool(page.fallback)}"
    caption = f"{page.variant} on {served}; {page.candidate_count:,} candidates; request {page.request_id}"
    table = Table(title=f"{page.feed} of {escape(page.member_id)}", caption=caption, box=box.SIMPLE)
    table.add_column("#", justify="right")
    table.add_column("score", justify="right")
    for name in ("post", "reasons", "parts"):
        table.add_column(name, overflow="fold")
    for rank, pick in enumerate(page.picks, 1):
        reasons = "; ".join(REASON_SENTENCES[reason] for reason in pick.reasons)
        parts = "  ".join(f"{name} {value:+.3f}" for name, value in (pick.parts or {}).items() if value)
        title = excerpt(pick.post.text, MAX_TEXT_WIDTH) or f"({pick.post.kind}, no text)"
        text = f"{escape(title)} [dim]{escape(', '.join(pick.post.tags[:3]))}[/dim]"
        table.add_row(str(rank), f"{pick.score:.3f}", text, reasons, parts)
    return table


def page_to_json(page: Page) -> str:
    """Return the page's picks as JSON, best first."""
    picks = [
        {"post_id": p.post.id, "score": p.score, "parts": p.parts, "reasons": [r.name.lower() for r in p.reasons]}
        for p in page.picks
    ]
    fields = {"request_id": page.request_id, "member_id": page.member_id, "feed": page.feed, "engine": page.engine}
    return json.dumps(
        fields | {"variant": page.variant, "is_cached": page.is_cached, "picks": picks}, cls=DjangoJSONEncoder
    )


def find_first_member() -> str:
    """Return the id of the first member with learned interests, or of the first member. Raises `CommandError`."""
    first = find_members(limit=1)
    if not first:
        raise CommandError("There is no member. Import some, such as with `make run`.")
    return first[0].id


class Command(BaseCommand):
    help = "Print a member's feed with rank, score, score parts and reasons of each post."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "member_id",
            nargs="?",
            help="the platform's id of the member (default: the first with learned interests)",
        )
        parser.add_argument(
            "--feed", choices=FEEDS, default="discovery", help="name of the feed (default: %(default)s)"
        )
        parser.add_argument("--limit", type=int, default=20, help="number of posts (default: %(default)s)")
        parser.add_argument("--json", action="store_true", help="print one line of JSON")

    def handle(self, *args: object, **options: Any) -> None:
        if not 1 <= options["limit"] <= 100:
            raise CommandError("--limit: give a number from 1 to 100.")
        try:
            member_id = options["member_id"] or find_first_member()
            page = recommend(member_id=member_id, feed=options["feed"], limit=options["limit"], explain=True, now=now())
        except ServiceError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(page_to_json(page))
        elif page.empty_reason:
            self.stdout.write(f"No posts: {EMPTY_SENTENCES[page.empty_reason]}")
        else:
            # In a log or a pipe, make the table wide enough to keep each row on one line.
            console = Console(file=cast("IO[str]", self.stdout), width=None if self.stdout.isatty() else 160)
            console.print(build_table(page))
