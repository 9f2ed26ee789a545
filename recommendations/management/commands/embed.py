"""`manage.py embed`: embed posts without vectors (`services/vectors/embedding_models.py`)."""

from django.core.management.base import BaseCommand

from monitoring.clock import now
from recommendations.management.progress import progress_bar
from recommendations.services.vectors.embedding_models import embed_due_posts
from recommendations.services.vectors.pictures import embed_text_posts
from recommendations.services.wiring import configured_embedder


class Command(BaseCommand):
    help = (
        "Embed the posts that have no vector of the current embedding model (EMBEDDER). Resumes after an interruption."
    )

    def handle(self, *args: object, **options: object) -> None:
        model = configured_embedder()
        with progress_bar() as step:
            done = embed_due_posts(now=now(), progress=lambda done, total: step("posts", done, total))
        self.stdout.write(f"Embedded {done:,} posts with {model.name}.")
        if count := embed_text_posts(now=now()):
            self.stdout.write(f"Embedded {count:,} text posts in the image space.")
