"""`manage.py submit_job KIND`: asks for a job, and may watch it."""

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring.clock import now
from recommendations.management.progress import progress_bar
from recommendations.services import work
from recommendations.services.errors import ServiceError

JOB_KINDS = ("batch_feeds", "member_feed", "embed_posts", "rebuild_interests")
POLL_SECONDS = 0.5


def parse_params(text: str) -> dict[str, Any]:
    """Return the object that *text* is in JSON."""
    try:
        params = json.loads(text)
    except ValueError as error:
        raise CommandError(f"--params: this is not JSON: {error}") from error
    if not isinstance(params, dict):
        raise CommandError('--params: give an object, such as {"member_ids": ["42"]}.')
    return params


def wait_for_job(job: work.JobView) -> work.JobView:
    """Show how far *job* is until it is finished, and return it."""
    with progress_bar() as step:
        while not job.is_finished:
            step(job.kind, job.done + job.failed, job.total)
            time.sleep(POLL_SECONDS)
            job = work.read_job(job_id=job.id)
        step(job.kind, job.done + job.failed, job.total)
    return job


class Command(BaseCommand):
    help = "Ask a worker for a job. With --follow, wait for it: exit code 0 if it was done, 1 if not."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("kind", choices=JOB_KINDS)
        parser.add_argument("--params", default="{}", help='JSON, such as {"member_ids": ["42"]}')
        parser.add_argument("--key", help="an idempotency key: the same key gives the job that it gave before")
        parser.add_argument("--follow", action="store_true", help="show progress and wait for the end")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            job = work.submit_job(
                kind=options["kind"], params=parse_params(options["params"]), now=now(), idempotency_key=options["key"]
            )
        except ServiceError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Job {job.id}: {job.kind}, {job.state}")
        if not options["follow"]:
            return
        job = wait_for_job(job)
        self.stdout.write(f"Job {job.id}: {job.state}, {job.done:,} done, {job.failed:,} failed of {job.total:,}")
        if job.state != "done":
            raise CommandError(f"The job is {job.state}. {json.dumps(job.errors)}" if job.errors else job.state)
