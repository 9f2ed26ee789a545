"""`manage.py submit_job KIND`: submit a job, and optionally wait for it."""

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring.clock import now
from recommendations.management.progress import progress_bar
from recommendations.services import work
from recommendations.services.errors import ServiceError
from values.json_text import parse_json

POLL_SECONDS = 0.5


def parse_params(text: str) -> dict[str, Any]:
    """Return the JSON object in *text*. Raises `CommandError`."""
    try:
        params = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"--params: give valid JSON: {error}") from error
    if not isinstance(params, dict):
        raise CommandError('--params: give an object, such as {"member_ids": ["42"]}.')
    return params


def wait_for_job(job: work.JobView) -> work.JobView:
    """Show the progress of *job* until it is finished, and return it."""
    with progress_bar() as step:
        while not job.is_finished:
            step(job.kind, job.done + job.failed, job.total)
            time.sleep(POLL_SECONDS)
            job = work.read_job(job_id=job.id)
        step(job.kind, job.done + job.failed, job.total)
    return job


class Command(BaseCommand):
    help = "Submit a job. With --wait, wait for it: exit code 0 if it succeeded, 1 if not."
    requires_system_checks = ()  # they load every page of the service

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("kind", choices=work.KIND_NAMES)
        parser.add_argument("--params", default="{}", help='JSON, such as {"member_ids": ["42"]}')
        parser.add_argument("--priority", choices=work.PRIORITY_NAMES, help="default: that of the kind")
        parser.add_argument("--idempotency-key", help="a second submission with the same key returns the first job")
        parser.add_argument("--wait", action="store_true", help="show the progress and wait until the job is finished")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            job = work.submit_job(
                kind=options["kind"],
                params=parse_params(options["params"]),
                now=now(),
                priority=options["priority"],
                idempotency_key=options["idempotency_key"],
                submitter="the command line",
            )
        except ServiceError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Job {job.id}: {job.kind}, {job.state}")
        if not options["wait"]:
            return
        job = wait_for_job(job)
        self.stdout.write(f"Job {job.id}: {job.state}, {job.done:,} done, {job.failed:,} failed of {job.total:,}")
        if job.state != "done":
            raise CommandError(f"The job is {job.state}. {json.dumps(job.errors)}" if job.errors else job.state)
