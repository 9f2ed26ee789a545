"""The films and ratings of MovieLens as posts and interactions. `import_movielens` has the mapping and its reasons."""

from __future__ import annotations

import re
from dataclasses import dataclass

from recommendations.contracts import InteractionKind

APOSTROPHES = ("'", "’")
ARTICLE = re.compile(
    r"^(?P<name>[^(]+), (?P<article>The|An?|Les?|La|L'|Los|Las|El|Der|Die|Das|Il|Lo|Une?|Eine?)(?=$| \()"
)

MEMBER_PREFIX = "movielens:"
"""The beginning of the ids of the MovieLens members."""


@dataclass(frozen=True, slots=True)
class Film:
    """A row of films.csv."""

    film_id: str
    title: str
    year: str
    genres: tuple[str, ...]

    @property
    def post_id(self) -> str:
        """The external id of the film's post."""
        return f"film:{self.film_id}"

    @property
    def studio_id(self) -> str:
        """The external id of the film's author."""
        decade = f"{self.year[:3]}0s" if self.year else "undated"
        return f"studio:{(self.genres or ('unsorted',))[0]}-{decade}".lower()

    @property
    def text(self) -> str:
        """The text of the post, such as: The Three Musketeers (1993). Action, Adventure."""
        title = restore_article(self.title) or "Untitled film"
        year = f" ({self.year})" if self.year else ""
        return f"{title}{year}. {', '.join(self.genres)}".strip().removesuffix(".")

    @property
    def tags(self) -> list[str]:
        """The tags of the post."""
        return [genre.lower() for genre in self.genres]


@dataclass(frozen=True, slots=True)
class Rating:
    """A row of ratings.csv."""

    rater_id: str
    film_id: str
    stars: float
    rated_at: int

    @property
    def member_id(self) -> str:
        """The external id of the member who rated."""
        return f"{MEMBER_PREFIX}{self.rater_id}"

    @property
    def post_id(self) -> str:
        """The external id of the rated film's post."""
        return f"film:{self.film_id}"

    @property
    def kind(self) -> InteractionKind:
        """The kind of interaction, by the stars."""
        if self.stars >= 4:
            return InteractionKind.LIKE
        return InteractionKind.NOT_INTERESTED if self.stars <= 2 else InteractionKind.VIEW


def restore_article(title: str) -> str:
    """Move the article of a title to its start: `Misérables, Les` → `Les Misérables`. Brackets stay unchanged."""
    return ARTICLE.sub(lambda m: f"{m['article']}{'' if m['article'].endswith(APOSTROPHES) else ' '}{m['name']}", title)
