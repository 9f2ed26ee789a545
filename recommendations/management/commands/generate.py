"""`manage.py generate`: fill the database with synthetic data (`services/content/generate.py`)."""

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring.clock import now
from recommendations.management.progress import progress_bar
from recommendations.services.content.generate import DatabaseNotEmptyError, VectorSettings, generate
from recommendations.services.content.generating.draws import PlatformSize, PlatformTooSmallError
from recommendations.services.wiring import embedder


def parse_count(text: str) -> int:
    """Return *text* as a non-negative integer. Accepts 1_000_000 and 1,000,000."""
    digits = text.replace(",", "").replace("_", "")
    if not digits.isdecimal():
        raise ArgumentTypeError(f"give a number such as 1000 or 1_000_000, not {text!r}")
    return int(digits)


class Command(BaseCommand):
    help = (
        "Fill the database with a synthetic social platform: members, follows, blocks, mutes, and posts with "
        "visibility, language, topics, text and safety labels. Interactions follow clusters of interests, with "
        "Zipfian popularity and activity. The same seed and sizes give the same data."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--members", type=parse_count, default=1_000, metavar="N")
        parser.add_argument("--posts", type=parse_count, default=10_000, metavar="N")
        parser.add_argument("--interactions", type=parse_count, default=100_000, metavar="N")
        parser.add_argument(
            "--follows", type=parse_count, metavar="N", help="default: 15 per member, if there are enough pairs"
        )
        parser.add_argument("--blocks", type=parse_count, metavar="N", help="default: one per 20 members")
        parser.add_argument("--mutes", type=parse_count, metavar="N", help="default: one per 20 members")
        parser.add_argument("--seed", type=parse_count, default=1, metavar="S")
        parser.add_argument(
            "--vectors",
            action="store_true",
            help="write vectors near each topic's centroid, which replaces running `manage.py embed`",
        )
        parser.add_argument("--append", action="store_true", help="add to a database that already has members")

    def handle(self, *args: object, **options: Any) -> None:
        model = embedder()
        vectors = VectorSettings(model.name, model.dimension) if options["vectors"] else None
        try:
            size = resolve_sizes(options)
            with progress_bar() as step:
                generate(size=size, now=now(), vectors=vectors, append=options["append"], progress=step)
        except (DatabaseNotEmptyError, PlatformTooSmallError, ValueError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"Generated {size.members:,} members, {size.posts:,} posts, {size.follows:,} follows, "
            f"{size.blocks:,} blocks, "
            f"{size.mutes:,} mutes and {size.interactions:,} interactions with seed {size.seed}."
        )


def resolve_sizes(options: dict[str, Any]) -> PlatformSize:
    """Return the given sizes, with defaults in proportion to the members. Raises `ValueError` for impossible sizes."""
    members = options["members"]
    if members < 1:
        raise ValueError("Give at least one member, such as --members 1.")
    if options["interactions"] and not options["posts"]:
        raise ValueError("Interactions need posts. Give --posts.")
    defaults = {
        "follows": min(15 * members, members * members // 20),
        "blocks": members // 20,
        "mutes": members // 20,
    }
    sizes = {name: default if options[name] is None else options[name] for name, default in defaults.items()}
    if not options["posts"]:
        sizes["follows"] = 0
    return PlatformSize(members, options["posts"], options["interactions"], **sizes, seed=options["seed"])
