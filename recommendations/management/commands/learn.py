"""`manage.py learn`: a door to `services/learning/learn.py`."""

from django.core.management.base import BaseCommand

from monitoring.clock import now
from recommendations.management.progress import progress_bar
from recommendations.services.learning.learn import learn_all


class Command(BaseCommand):
    help = "Learn every interaction that was recorded and not learned yet, such as those of an import."

    def handle(self, *args: object, **options: object) -> None:
        with progress_bar() as step:
            count = learn_all(now=now(), progress=lambda done, total: step("members", done, total))
        self.stdout.write(f"Learned {count:,} interactions.")
