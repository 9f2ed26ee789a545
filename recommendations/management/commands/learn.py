"""`manage.py learn`: learn from recorded interactions (`services/learning/learn.py`)."""

from django.core.management.base import BaseCommand

from monitoring.clock import now
from recommendations.management.progress import progress_bar
from recommendations.services.learning.learn import learn_all


class Command(BaseCommand):
    help = "Learn from every recorded interaction that is not learned yet, such as imported ones."

    def handle(self, *args: object, **options: object) -> None:
        with progress_bar() as step:
            count = learn_all(now=now(), progress=lambda done, total: step("members", done, total))
        self.stdout.write(f"Learned from {count:,} interactions.")
