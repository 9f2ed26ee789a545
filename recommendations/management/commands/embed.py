"""`manage.py embed`: a door to `services/vectors/embedding.py`."""

from django.core.management.base import BaseCommand

from monitoring.clock import now
from recommendations.management.progress import progress_bar
from recommendations.services.vectors.embedding_models import embed_due_posts
from recommendations.services.vectors.pictures import embed_text_posts
from recommendations.services.wiring import configured_embedder


class Command(BaseCommand):
    help = "Make the vectors of posts that have none by the current model (EMBEDDER). Killed, it goes on."

    def handle(self, *args: object, **options: object) -> None:
        model = configured_embedder()
        with progress_bar() as step:
            done = embed_due_posts(now=now(), progress=lambda done, total: step("posts", done, total))
        self.stdout.write(f"Embedded {done:,} posts by {model.name}.")
        if placed := embed_text_posts(now=now()):
            self.stdout.write(f"Placed {placed:,} of them among the pictures.")
