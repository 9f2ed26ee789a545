"""`manage.py models`: list, activate and roll back trained models (`services/training/trained_models.py`)."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.table import Table

from monitoring.clock import now
from recommendations.services.errors import ServiceError
from recommendations.services.training import trained_models
from recommendations.services.training.trained_models import KIND_NAMES, ModelView

COLUMNS = ("id", "kind", "state", "created", "likes", "size", "NDCG@10", "by likes", "problem")


class Command(BaseCommand):
    help = "List the trained models. With --activate or --roll-back, change which model feeds use."
    requires_system_checks = ()  # they load every page of the service

    def add_arguments(self, parser: ArgumentParser) -> None:
        action = parser.add_mutually_exclusive_group()
        action.add_argument("--activate", type=int, metavar="ID", help="activate this model")
        action.add_argument(
            "--roll-back", choices=KIND_NAMES, metavar="KIND", help="activate the model that was active before"
        )

    def handle(self, *args: object, **options: Any) -> None:
        try:
            if options["activate"] is not None:
                self.report(trained_models.activate_model(model_id=options["activate"], now=now()))
            elif options["roll_back"]:
                self.report(trained_models.roll_back_kind(kind=options["roll_back"], now=now()))
            else:
                self.list_models()
        except ServiceError as error:
            raise CommandError(str(error)) from error

    def report(self, model: ModelView) -> None:
        """Print which model is active now."""
        self.stdout.write(f"Model {model.id} is active. Feeds use it within seconds.")

    def list_models(self) -> None:
        """Print the newest models as a table."""
        table = Table(*COLUMNS)
        for model in trained_models.list_models():
            popularity = model.metrics.get("popularity", {})
            table.add_row(
                str(model.id),
                model.kind,
                model.state,
                f"{model.created_at:%Y-%m-%d %H:%M}",
                f"{model.like_count:,}",
                f"{model.size_bytes / 2**20:.1f} MB",
                str(model.metrics.get("ndcg10", "")),
                str(popularity.get("ndcg10", "")),
                model.problem,
            )
        console = Console(width=160)
        with console.capture() as capture:
            console.print(table)
        self.stdout.write(capture.get())
