"""
Import the MovieLens sample: films become posts, ratings become interactions, and all times are shifted so that the
newest rating is from yesterday.

The mapping:

- A film is a post of kind `film`. Its text is title, year and genres; its tags are the genres.
- A film is published a minute before its first rating. With release years, nearly every post would be decades old, and
  an interaction must not precede its post. This way about 500 films are less than a year old and a few are fresh.
- The data has no authors, so a studio per first genre and decade (`studio:drama-1990s`) publishes the films. The cap of
  posts per author then prevents slates of one genre and decade. A studio is an ordinary member with an open account:
  a private or inactive account would hide its films.
- A rating is an interaction with the stars as its value: a like from 4 stars on, not_interested up to 2 stars, else a
  view.
- All times are shifted by the same whole number of days, so the intervals between ratings and their times of day are
  unchanged.
"""

import csv
import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.db import transaction

from recommendations.models import Interaction, Member, Post, PrivacySettings
from recommendations.services.content.films import MEMBER_PREFIX, Film, Rating
from recommendations.services.learning.store_interactions import store_interactions
from recommendations.stores.bulk import Column, insert_columns, refresh_statistics

SAMPLE_FOLDER = Path(__file__).parents[2] / "sample" / "movielens"
DAY = timedelta(days=1)


class SampleMissingError(RuntimeError):
    """The files of the sample are missing."""


@dataclass(frozen=True)
class MovieLensSummary:
    """The numbers of created rows; all zero if the sample was already imported."""

    members: int
    studios: int
    posts: int
    interactions: int


def import_movielens(*, now: datetime, folder: Path = SAMPLE_FOLDER) -> MovieLensSummary:
    """Import the missing rows of the sample. Raises `SampleMissingError` if its files are not in *folder*."""
    films = [parse_film(row) for row in read_sample(folder, "films")]
    ratings = [parse_rating(row) for row in read_sample(folder, "ratings")]
    shift = days_to_yesterday(max(rating.rated_at for rating in ratings), now)
    joined_at = first_event_times(((rating.member_id, rating.rated_at) for rating in ratings), shift)
    published_at = first_event_times(((rating.post_id, rating.rated_at) for rating in ratings), shift)
    with transaction.atomic():
        first_published_at = min(published_at.values())
        summary = MovieLensSummary(
            studios=add_members({film.studio_id: first_published_at for film in films}, now),
            members=add_members(joined_at, now),
            posts=add_posts(films, published_at, now),
            interactions=add_interactions(ratings, shift, now),
        )
        refresh_statistics(Member, PrivacySettings, Post, Interaction)
    return summary


def read_sample(folder: Path, name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a file of the sample."""
    path = folder / f"{name}.csv.gz"
    if not path.is_file():
        raise SampleMissingError(
            f"The sample's {path.name} is missing. Restore {folder.name}/ from the repository, "
            "or fill the database with the demo, `manage.py import_data` or `manage.py generate`."
        )
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def parse_film(row: Mapping[str, str]) -> Film:
    return Film(row["film"], row["title"], row["year"], tuple(filter(None, row["genres"].split("|"))))


def parse_rating(row: Mapping[str, str]) -> Rating:
    return Rating(row["member"], row["film"], float(row["rating"]), int(row["rated_at"]))


def days_to_yesterday(newest: int, now: datetime) -> timedelta:
    """Return the whole days that move *newest* (Unix seconds) to the day before *now*."""
    return timedelta(days=(now.date() - DAY - datetime.fromtimestamp(newest, UTC).date()).days)


def first_event_times(events: Iterable[tuple[str, int]], shift: timedelta) -> dict[str, datetime]:
    """Return by id the time one minute before its first event of *events* (id, Unix seconds), moved by *shift*."""
    first: dict[str, int] = {}
    for external_id, seconds in events:
        first[external_id] = min(seconds, first.get(external_id, seconds))
    return {external_id: shift_time(seconds, shift) - timedelta(minutes=1) for external_id, seconds in first.items()}


def shift_time(seconds: int, shift: timedelta) -> datetime:
    return datetime.fromtimestamp(seconds, UTC) + shift


def add_members(joined_at: Mapping[str, datetime], now: datetime) -> int:
    """Add open accounts (external id to creation time). Return how many were created."""
    columns: dict[str, Column] = {"external_id": list(joined_at), "created_at": list(joined_at.values())}
    created = insert_columns(Member, columns, {"languages": ["en"], "changed_at": now})
    ids = list(Member.objects.filter(external_id__in=joined_at, privacy=None).values_list("id", flat=True).order_by())
    if ids:
        insert_columns(
            PrivacySettings, {"member_id": ids}, {"is_private": False, "is_personalized": True, "changed_at": now}
        )
    return created


def add_posts(films: Sequence[Film], published_at: Mapping[str, datetime], now: datetime) -> int:
    """Add the films as posts, oldest first. Return how many were created."""
    ordered = sorted(films, key=lambda film: published_at[film.post_id])
    studios = ids_by_prefix(Member, "studio:")
    columns: dict[str, Column] = {
        "external_id": [film.post_id for film in ordered],
        "author_id": [studios[film.studio_id] for film in ordered],
        "text": [film.text for film in ordered],
        "tags": [film.tags for film in ordered],
        "created_at": [published_at[film.post_id] for film in ordered],
    }
    return insert_columns(Post, columns, {"kind": "film", "language": "en", "changed_at": now})


def add_interactions(ratings: Sequence[Rating], shift: timedelta, now: datetime) -> int:
    """Add the ratings as interactions, oldest first. Return how many were created."""
    ordered = sorted(ratings, key=lambda rating: rating.rated_at)
    members, posts = ids_by_prefix(Member, MEMBER_PREFIX), ids_by_prefix(Post, "film:")
    columns: dict[str, Column] = {
        "event_id": [f"movielens:{rating.rater_id}:{rating.film_id}" for rating in ordered],
        "member_id": [members[rating.member_id] for rating in ordered],
        "post_id": [posts[rating.post_id] for rating in ordered],
        "kind": [rating.kind.value for rating in ordered],
        "value": [rating.stars for rating in ordered],
        "occurred_at": [shift_time(rating.rated_at, shift) for rating in ordered],
    }
    return store_interactions(columns, now, approves_follows=True).count


def ids_by_prefix(model: type[Member] | type[Post], prefix: str) -> dict[str, int]:
    """Return primary keys by the external ids that start with *prefix*."""
    rows = model.objects.filter(external_id__startswith=prefix)
    return dict(rows.values_list("external_id", "id").order_by())
