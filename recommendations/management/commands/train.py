"""`manage.py train`: train a collaborative model (`services/training/train.py`)."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring.clock import now
from recommendations.management.progress import progress_bar
from recommendations.services.errors import ServiceError
from recommendations.services.training.schedule import is_training_due
from recommendations.services.training.train import train
from recommendations.services.training.trained_models import KIND_NAMES


class Command(BaseCommand):
    help = "Train a collaborative model in this process, and activate it if it is not worse than the active one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--kind", choices=KIND_NAMES, default=KIND_NAMES[0])
        parser.add_argument(
            "--if-due", action="store_true", help="do nothing if too little has changed since the last training"
        )

    def handle(self, *args: object, **options: Any) -> None:
        if options["if_due"] and not is_training_due(kind=options["kind"], now=now()):
            self.stdout.write("No training is due.")
            return
        try:
            with progress_bar() as step:
                model = train(kind=options["kind"], now=now(), progress=step)
        except ServiceError as error:
            raise CommandError(str(error)) from error
        measured = model.metrics
        self.stdout.write(
            f"Model {model.id} is {model.state}: {model.like_count:,} likes, {model.size_bytes / 2**20:.1f} MB, "
            f"{measured['training_seconds']:.1f} s. NDCG@10 {measured['ndcg10']:.4f} on {measured['cases']:,} held-out "
            f"likes (by number of likes: {measured['popularity']['ndcg10']:.4f})."
        )
        if model.problem:
            self.stdout.write(f"It was not activated: {model.problem}")
