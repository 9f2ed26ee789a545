"""`manage.py tune`: find a policy that finds more of what members like next (`services/evaluating/tune.py`)."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring.clock import now
from recommendations.contracts import Policy
from recommendations.evaluation.read_files import DataError
from recommendations.management.arguments import parse_count
from recommendations.services.errors import ServiceError
from recommendations.services.evaluating.compare import SEED
from recommendations.services.evaluating.data_sets import READERS, Data, split_data
from recommendations.services.evaluating.live import export_live_data
from recommendations.services.evaluating.scratch import RANKED_VARIANT, ScratchError
from recommendations.services.evaluating.tune import Tuning, build_document, format_tuning, tune
from recommendations.services.policies import create_policy_version, read_policy

TUNED_SPLITS = ("last-n", "last-one", "time")


class Command(BaseCommand):
    help = (
        "Search for weights with which the discovery feed finds more of what members like next, on half of the "
        "members, and report the figures on the other half. Uses this platform's data, or files with --files. "
        "Activates nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--files", type=Path, metavar="PATH", help="tune on these data instead")
        parser.add_argument("--format", choices=READERS, default="interactions", help="of --files")
        parser.add_argument(
            "--split",
            choices=TUNED_SPLITS,
            action="append",
            help="what is held out; repeatable, each case counts the same (default: last-n; without times last-one)",
        )
        parser.add_argument("--members", type=parse_count, default=1_000, metavar="N", help="most members with cases")
        parser.add_argument(
            "--variant",
            default=RANKED_VARIANT,
            help="begin at the active policy of this variant (default: %(default)s)",
        )
        parser.add_argument("--output", type=Path, metavar="FILE", help="write the policy that was found as JSON")
        parser.add_argument(
            "--draft", action="store_true", help="store it as a version of the variant that is not active"
        )

    def handle(self, *args: object, **options: Any) -> None:
        try:
            active = read_policy(variant=options["variant"])
            tuning = self.tune(Policy.from_stored(active.settings), options)
            self.stdout.write(format_tuning(tuning))
            document = build_document(tuning)
            if options["output"]:
                options["output"].write_text(json.dumps(document, indent=2) + "\n")
            if options["draft"] and tuning.changes:
                draft = create_policy_version(
                    variant=options["variant"], settings=document["settings"], note=document["note"]
                )
                self.stdout.write(f"Stored {draft}. Compare it in the admin, and activate it there.")
        except (DataError, ScratchError, ServiceError) as error:
            raise CommandError(str(error)) from error

    def tune(self, start: Policy, options: dict[str, Any]) -> Tuning:
        """Return what the search finds. Raises `DataError`, `ScratchError` or `ServiceError`."""
        data: Data = READERS[options["format"]](options["files"]) if options["files"] else export_live_data(now=now())
        splits = options["split"] or ["last-n" if data.interactions.has_times else "last-one"]
        sets = [split_data(data, split, seed=SEED, members=options["members"]) for split in dict.fromkeys(splits)]
        return tune(sets, start, seed=SEED, progress=lambda line: self.stderr.write(line))
