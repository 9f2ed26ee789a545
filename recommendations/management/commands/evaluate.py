"""`manage.py evaluate`: compare the product with its peers (`services/evaluating/`, docs/evaluation.md)."""

import json
from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path
from time import monotonic
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring.clock import now
from recommendations.evaluation.families import BUDGET, QUICK_BUDGET
from recommendations.evaluation.read_files import DataError
from recommendations.evaluation.report import SetReport, build_json, format_table
from recommendations.evaluation.report_page import build_page
from recommendations.management.arguments import parse_count
from recommendations.services.evaluating.compare import SEED, compare
from recommendations.services.evaluating.data_sets import READERS, SPLITS, Data, split_data
from recommendations.services.evaluating.live import active_versions, export_live_data
from recommendations.services.evaluating.scratch import RANKED_FEEDS, ScratchError
from recommendations.services.measuring.evaluations import NOTHING_TO_EVALUATE, store_evaluation


class Command(BaseCommand):
    help = (
        "Hold out what members liked, rank for them with the product and with its peers, and report who found it. "
        "Uses this platform's data, or files with --files. The product ranks on a database of its own. Exit code "
        f"{NOTHING_TO_EVALUATE}: the data has no test case."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--files", type=Path, metavar="PATH", help="evaluate on these data instead")
        parser.add_argument("--format", choices=READERS, default="interactions", help="of --files")
        parser.add_argument("--split", choices=SPLITS, default="last-one", help="what is held out (default: last-one)")
        parser.add_argument("--members", type=parse_count, default=1_000, metavar="N", help="most members with cases")
        parser.add_argument("--feed", choices=RANKED_FEEDS, action="append", help="evaluate only this feed; repeatable")
        parser.add_argument("--peers", action=BooleanOptionalAction, default=True, help="measure the peers, too")
        parser.add_argument("--quick", action="store_true", help="do not tune the peers")
        parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
        parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with plots to this file")
        parser.add_argument("--store", action="store_true", help="store the result, as the nightly task does")

    def handle(self, *args: object, **options: Any) -> None:
        started_at, moment = monotonic(), now()
        if options["store"] and options["files"]:
            raise CommandError("--store is for this platform's data. Leave out --files.")
        policies = active_versions()
        try:
            data = READERS[options["format"]](options["files"]) if options["files"] else export_live_data(now=moment)
        except DataError as error:
            raise CommandError(str(error), returncode=1 if options["files"] else NOTHING_TO_EVALUATE) from error
        report = self.compare(data, options)
        self.stdout.write(format_table(report))
        if options["json"]:
            options["json"].write_text(json.dumps(build_json([report]), indent=2) + "\n")
        if options["html"]:
            options["html"].write_text(build_page("Evaluation", [report]))
        if options["store"]:
            (stored,) = build_json([report])["sets"]
            seconds = monotonic() - started_at
            store_evaluation(split=options["split"], report=stored, policies=policies, seconds=seconds, now=moment)

    def compare(self, data: Data, options: dict[str, Any]) -> SetReport:
        """Return the report. Raises `CommandError`."""
        try:
            split = split_data(data, options["split"], seed=SEED, members=options["members"])
        except DataError as error:
            raise CommandError(str(error), returncode=NOTHING_TO_EVALUATE) from error
        try:
            return compare(
                split,
                feeds=options["feed"] or RANKED_FEEDS,
                has_peers=options["peers"],
                budget=QUICK_BUDGET if options["quick"] else BUDGET,
                progress=lambda line: self.stderr.write(line),
            )
        except (ScratchError, ValueError) as error:
            raise CommandError(str(error)) from error
