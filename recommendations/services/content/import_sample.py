"""
Import the MovieLens sample: a film is a post, a rating an interaction, and time is moved so that it ends
yesterday.

How it is mapped, and why:

- A film is a post of kind `film`: its text is title, year and genres, its tags are the genres.
- A film is published a minute before it is first rated. Release years would make nearly every post decades
  old, and nothing may happen to a post before it exists; this way some 500 films are less than a year old
  and a few are fresh.
- Films have no author here, so a studio per lead genre and decade (`studio:drama-1990s`) publishes them. The
  cap of posts per author then keeps a slate from being one genre of one decade. A studio is a member like
  any other, with an open account: a private or inactive one would hide its films.
- A rating is an interaction with the stars as its value: from 4 a like, up to 2 a not-interested, else a
  view.
- Every time is moved by the same whole number of days, so the time between two ratings and the hour of each
  stay as they were. The newest rating is yesterday's.
"""

import csv
import gzip
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.db import transaction

from recommendations.contracts import InteractionKind
from recommendations.models import Interaction, Member, Post, PrivacySettings
from recommendations.stores.bulk import Column, insert_columns, refresh_statistics

SAMPLE_FOLDER = Path(__file__).parents[2] / "sample" / "movielens"
DAY = timedelta(days=1)
APOSTROPHES = ("'", "’")
ARTICLE = re.compile(
    r"^(?P<name>[^(]+), (?P<article>The|An?|Les?|La|L'|Los|Las|El|Der|Die|Das|Il|Lo|Une?|Eine?)(?=$| \()"
)


class SampleMissingError(RuntimeError):
    """The sample's files are not there."""


@dataclass(frozen=True)
class SampleSummary:
    """What was new; all zero if the sample was there already."""

    members: int
    studios: int
    posts: int
    interactions: int


@dataclass(frozen=True, slots=True)
class Film:
    """A row of films.csv."""

    film_id: str
    title: str
    year: str
    genres: tuple[str, ...]

    @property
    def post_id(self) -> str:
        """The external id of its post."""
        return f"film:{self.film_id}"

    @property
    def studio_id(self) -> str:
        """The external id of its author."""
        decade = f"{self.year[:3]}0s" if self.year else "undated"
        return f"studio:{(self.genres or ('unsorted',))[0]}-{decade}".lower()

    @property
    def text(self) -> str:
        """Its text: The Three Musketeers (1993). Action, Adventure."""
        title = restore_article(self.title) or "Untitled film"
        year = f" ({self.year})" if self.year else ""
        return f"{title}{year}. {', '.join(self.genres)}".strip().removesuffix(".")


@dataclass(frozen=True, slots=True)
class Rating:
    """A row of ratings.csv."""

    rater_id: str
    film_id: str
    stars: float
    rated_at: int

    @property
    def member_id(self) -> str:
        """The external id of who rated."""
        return f"movielens:{self.rater_id}"

    @property
    def post_id(self) -> str:
        """The external id of what was rated."""
        return f"film:{self.film_id}"

    @property
    def kind(self) -> InteractionKind:
        """What the rating says."""
        if self.stars >= 4:
            return InteractionKind.LIKE
        return InteractionKind.NOT_INTERESTED if self.stars <= 2 else InteractionKind.VIEW


def import_sample(*, now: datetime, folder: Path = SAMPLE_FOLDER) -> SampleSummary:
    """Import what is missing of the sample; raise `SampleMissingError` if its files are not in *folder*."""
    films = [parse_film(row) for row in read_sample(folder, "films")]
    ratings = [parse_rating(row) for row in read_sample(folder, "ratings")]
    shift = days_to_yesterday(max(rating.rated_at for rating in ratings), now)
    joined = first_event_times(((rating.member_id, rating.rated_at) for rating in ratings), shift)
    published = first_event_times(((rating.post_id, rating.rated_at) for rating in ratings), shift)
    with transaction.atomic():
        opening = min(published.values())
        summary = SampleSummary(
            studios=add_members({film.studio_id: opening for film in films}, now),
            members=add_members(joined, now),
            posts=add_posts(films, published, now),
            interactions=add_interactions(ratings, shift, now),
        )
        refresh_statistics(Member, PrivacySettings, Post, Interaction)
    return summary


def read_sample(folder: Path, name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of one of the sample's files."""
    path = folder / f"{name}.csv.gz"
    if not path.is_file():
        raise SampleMissingError(
            f"The sample's {path.name} is missing. Restore {folder.name}/ from the repository, "
            "or fill the database with `manage.py import_data` or `manage.py generate`."
        )
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def parse_film(row: Mapping[str, str]) -> Film:
    return Film(row["film"], row["title"], row["year"], tuple(filter(None, row["genres"].split("|"))))


def parse_rating(row: Mapping[str, str]) -> Rating:
    return Rating(row["member"], row["film"], float(row["rating"]), int(row["rated_at"]))


def restore_article(title: str) -> str:
    """Return a title as it is said: `Misérables, Les` → `Les Misérables`; what stands in brackets stays."""
    return ARTICLE.sub(lambda m: f"{m['article']}{'' if m['article'].endswith(APOSTROPHES) else ' '}{m['name']}", title)


def days_to_yesterday(newest: int, now: datetime) -> timedelta:
    """Return how far to move times so that the *newest* (Unix seconds) falls on the day before *now*."""
    return timedelta(days=(now.date() - DAY - datetime.fromtimestamp(newest, UTC).date()).days)


def first_event_times(events: Iterable[tuple[str, int]], shift: timedelta) -> dict[str, datetime]:
    """Return, by id, a minute before the first of its *events* (id, Unix seconds), moved by *shift*."""
    first: dict[str, int] = {}
    for external_id, at in events:
        first[external_id] = min(at, first.get(external_id, at))
    return {external_id: shift_time(at, shift) - timedelta(minutes=1) for external_id, at in first.items()}


def shift_time(seconds: int, shift: timedelta) -> datetime:
    return datetime.fromtimestamp(seconds, UTC) + shift


def add_members(joined_at: Mapping[str, datetime], now: datetime) -> int:
    """Add open accounts (external id to when it was made) and return how many were new."""
    columns: dict[str, Column] = {"external_id": list(joined_at), "created_at": list(joined_at.values())}
    new = insert_columns(Member, columns, {"languages": ["en"], "changed_at": now})
    ids = list(Member.objects.filter(external_id__in=joined_at, privacy=None).values_list("id", flat=True).order_by())
    if ids:
        insert_columns(PrivacySettings, {"member_id": ids}, {"is_private": False, "changed_at": now})
    return new


def add_posts(films: Sequence[Film], published_at: Mapping[str, datetime], now: datetime) -> int:
    """Add the films, oldest first, and return how many were new."""
    ordered = sorted(films, key=lambda film: published_at[film.post_id])
    studios = ids_by_prefix(Member, "studio:")
    columns: dict[str, Column] = {
        "external_id": [film.post_id for film in ordered],
        "author_id": [studios[film.studio_id] for film in ordered],
        "text": [film.text for film in ordered],
        "tags": [[genre.lower() for genre in film.genres] for film in ordered],
        "created_at": [published_at[film.post_id] for film in ordered],
    }
    return insert_columns(Post, columns, {"kind": "film", "language": "en", "changed_at": now})


def add_interactions(ratings: Sequence[Rating], shift: timedelta, now: datetime) -> int:
    """Add the ratings, oldest first, and return how many were new."""
    ordered = sorted(ratings, key=lambda rating: rating.rated_at)
    members, posts = ids_by_prefix(Member, "movielens:"), ids_by_prefix(Post, "film:")
    columns: dict[str, Column] = {
        "event_id": [f"movielens:{rating.rater_id}:{rating.film_id}" for rating in ordered],
        "member_id": [members[rating.member_id] for rating in ordered],
        "post_id": [posts[rating.post_id] for rating in ordered],
        "kind": [rating.kind.value for rating in ordered],
        "value": [rating.stars for rating in ordered],
        "occurred_at": [shift_time(rating.rated_at, shift) for rating in ordered],
    }
    return insert_columns(Interaction, columns, {"received_at": now})


def ids_by_prefix(model: type[Member] | type[Post], prefix: str) -> dict[str, int]:
    """Return our ids by the external ids that start with *prefix*."""
    found = model.objects.filter(external_id__startswith=prefix)
    return dict(found.values_list("external_id", "id").order_by())
