"""
Search every place of the list in `personal_data.py` for traces of a member who was erased.

The search knows the member's id on the platform; their database id, from the row or the receipts; and any other text
that only this member has, such as a word from a post (*marks*). It reads every row of every table, every key and value
in both Redis servers, the files, and Qdrant, so it takes as long as that. It changes nothing.

What it cannot read: the memory of other processes, logs, and backups.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import redis
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import connection, models

from monitoring.redis_clients import redis_client
from recommendations.contracts import FeedbackTarget
from recommendations.models import ErasureReceipt, InterestProfile, Member, NegativeFeedback, Post
from recommendations.ports import VectorIndexError
from recommendations.services import wiring
from recommendations.services.errors import FactsUnavailable
from recommendations.services.members.erasure import hash_member_id
from recommendations.services.members.marks import Mark, parse_container
from recommendations.services.members.personal_data import (
    ARCHIVE,
    FILE_PLACES,
    MODELS,
    QDRANT,
    REDIS_PLACES,
    TABLES,
    TABLES_WITHOUT_MODEL,
    Pii,
    list_models,
)
from recommendations.services.vectors import reindexing
from recommendations.stores.redis_record_queue import SEAL_CONTEXT
from recommendations.stores.redis_slates import PREFIX as SLATES_PREFIX
from recommendations.stores.redis_slates import seal_context
from recommendations.stores.seal import SealError

ROWS_PER_READ = 1_000


@dataclass(frozen=True, slots=True)
class Trace:
    """Something of the member that was found."""

    place: str
    """The table, Redis server, folder or index."""
    where: str
    """The row and column, the key, the file or the collection."""


def find_traces(*, member_id: str, marks: Sequence[str] = ()) -> list[Trace]:
    """Return every trace of the member. Raises `FactsUnavailable` if a place cannot be read."""
    search = Search([Mark(member_id), *(Mark(text, is_word=False) for text in marks)], find_numbers(member_id))
    try:
        return [
            *search.tables(),
            *search.references(),
            *search.redis_servers(),
            *search.files(),
            *search.vector_indexes(),
            *open_receipts(member_id),
        ]
    except (OSError, redis.RedisError, VectorIndexError) as error:
        raise FactsUnavailable(f"A place could not be read: {error}") from error


def find_numbers(member_id: str) -> set[int]:
    """Return the database ids that the member has or had. A member who was sent again after an erasure has another."""
    receipts = ErasureReceipt.objects.filter(member_hash=hash_member_id(member_id))
    current = Member.objects.filter(external_id=member_id)
    return {*receipts.values_list("member_number", flat=True), *current.values_list("pk", flat=True)}


def open_receipts(member_id: str) -> Iterator[Trace]:
    """Yield what is still to be done for the erasures of the member that are not finished."""
    for receipt in ErasureReceipt.objects.filter(member_hash=hash_member_id(member_id), finished_at=None):
        if receipt.erased_at is None:
            yield Trace("erasure", f"{receipt.pk} has not deleted the member's rows yet")
        else:
            yield Trace(MODELS, f"may contain the member until {receipt.models_due_at:%Y-%m-%d %H:%M} UTC")


@dataclass(frozen=True)
class Search:
    """A search for some marks and database ids."""

    marks: Sequence[Mark]
    numbers: set[int]

    def is_in(self, value: Any) -> bool:
        """Return whether one of the marks is in *value*."""
        return any(mark.is_in(value) for mark in self.marks)

    # Tables

    def tables(self) -> Iterator[Trace]:
        """Yield each column of a row that contains a mark, in all tables of the database."""
        known = set(TABLES_WITHOUT_MODEL)
        for model in list_models().values():
            known.add(model._meta.db_table)
            yield from self.rows_of(model)
        for table in sorted(set(connection.introspection.table_names()) - known) + sorted(TABLES_WITHOUT_MODEL):
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
                for row in cursor:
                    if self.is_in(list(row)):
                        yield Trace(table, f"row {row[0]}")

    def rows_of(self, model: type[models.Model]) -> Iterator[Trace]:
        """Yield each column of a row of *model* that contains a mark."""
        names = [field.attname for field in model._meta.concrete_fields]
        rows = model._base_manager.order_by().values_list("pk", *names)
        for pk, *values in rows.iterator(chunk_size=ROWS_PER_READ):
            for name, value in zip(names, values, strict=True):
                if self.is_in(open_session(value) if model is Session and name == "session_data" else value):
                    yield Trace(model._meta.label, f"{name} of row {pk}")

    def references(self) -> Iterator[Trace]:
        """Yield each table with rows that refer to the member's database id."""
        for label, model in list_models().items():
            table = TABLES[label]
            for name, kind in table.columns.items():
                field = model._meta.get_field(name)
                if kind is Pii.MEMBER_KEY and (field.related_model is Member or model is Member):
                    count = model._base_manager.filter(**{f"{name}__in": self.numbers}).count()
                    yield from counted(label, name, count)
        keys = sorted(map(str, self.numbers))
        feedback = NegativeFeedback.objects.filter(target=FeedbackTarget.AUTHOR, target_key__in=keys)
        yield from counted(NegativeFeedback._meta.label, "target_key", feedback.count())
        for key in keys:
            profiles = InterestProfile.objects.filter(affinities__author__has_key=key)
            yield from counted(InterestProfile._meta.label, "affinities", profiles.count())

    # Redis

    def redis_servers(self) -> Iterator[Trace]:
        """Yield each key of both Redis servers that names the member, or whose value does."""
        for url in dict.fromkeys((settings.ENV.redis_url, settings.ENV.cache_redis_url)):
            with redis_client(url) as client:
                for raw_key in client.scan_iter(count=ROWS_PER_READ):
                    key = raw_key.decode("utf-8", "replace")
                    if self.is_in(key) or self.is_key_of_member(client, key):
                        yield Trace(name_redis_place(key), key)
                    elif any(self.is_in(value) for value in read_redis_values(client, raw_key)):
                        yield Trace(name_redis_place(key), f"value of {key}")

    def is_key_of_member(self, client: redis.Redis, key: str) -> bool:
        """Return whether a cache of slates or served posts belongs to the member. An epoch alone is no data of them."""
        for number in self.numbers:
            if key == f"recsys:served:{number}":
                return True
            if key.startswith(f"{SLATES_PREFIX}{number}}}"):
                return client.type(key) != b"hash" or set(client.hkeys(key)) != {b"epoch"}
        return False

    # Files

    def files(self) -> Iterator[Trace]:
        """Yield each file that contains a mark."""
        for setting, place in FILE_PLACES.items():
            folder = getattr(settings.ENV, setting.lower())
            for path in sorted(Path(folder).rglob("*")) if folder else ():
                if path.is_file() and (self.is_in(path.name) or any(self.is_in(part) for part in read_file(path))):
                    yield Trace(ARCHIVE if setting == "EMBEDDINGS_ARCHIVE_DIR" else place.name, path.name)

    # Qdrant

    def vector_indexes(self) -> Iterator[Trace]:
        """Yield each collection with posts of the member, or with posts that do not exist."""
        for index in reindexing.list_indexes():
            points = list(index.authors())
            existing: set[int] = set()
            for start in range(0, len(points), ROWS_PER_READ):
                batch = [post_id for post_id, _ in points[start : start + ROWS_PER_READ]]
                existing.update(Post.objects.filter(pk__in=batch).values_list("pk", flat=True))
            found = [post for post, author in points if author in self.numbers or post not in existing]
            yield from counted(QDRANT, index.collection, len(found))


def counted(place: str, where: str, count: int) -> Iterator[Trace]:
    """Yield a trace with the number of rows, or nothing for none."""
    if count:
        yield Trace(place, f"{where}: {count:,} rows")


def open_session(data: str) -> dict[str, Any]:
    """Return the content of a session; an empty one if its signature is wrong."""
    return SessionStore().decode(data)


def name_redis_place(key: str) -> str:
    """Return the name of the place that a Redis key belongs to."""
    return "redis: " + next((place.name for prefix, place in REDIS_PLACES.items() if key.startswith(prefix)), "other")


READ_BY_TYPE: dict[Any, Callable[[Any, bytes], Iterable[tuple[bytes, bytes]]]] = {
    b"string": lambda client, key: [(b"", client.get(key) or b"")],
    b"list": lambda client, key: [(b"", value) for value in client.lrange(key, 0, -1)],
    b"set": lambda client, key: [(b"", value) for value in client.smembers(key)],
    b"zset": lambda client, key: [(b"", value) for value in client.zrange(key, 0, -1)],
    b"hash": lambda client, key: client.hgetall(key).items(),
    b"stream": lambda client, key: [pair for _, entry in client.xrange(key) for pair in entry.items()],
    b"none": lambda client, key: [],
}
"""By the type of a key: its values, each with its field; the field is empty where the type has none."""


def read_redis_values(client: redis.Redis, key: bytes) -> Iterator[Any]:
    """Yield every value of a key, opened where it is sealed, and decoded where it is a message of Celery."""
    for field, value in READ_BY_TYPE[client.type(key)](client, key):
        yield field
        yield open_value(key.decode("utf-8", "replace"), field.decode("utf-8", "replace"), value)


def open_value(key: str, field: str, value: bytes) -> Any:
    """Return a value in Redis: opened if it is sealed, with the body of a message of Celery decoded."""
    member = key[len(SLATES_PREFIX) :].partition("}")[0] if key.startswith(SLATES_PREFIX) else ""
    contexts = [SEAL_CONTEXT, key] + ([seal_context(int(member), field)] if member.isdigit() else [])
    for context in contexts:
        try:
            return wiring.seal().open(value, context)
        except SealError:
            continue
    message = parse_container(value.decode("utf-8", "replace"))
    return [message, list(decode_bodies(message))] if message else value


def decode_bodies(message: Any) -> Iterator[bytes]:
    """Yield the decoded body of each message of Celery in a JSON value: it is Base64."""
    if isinstance(message, dict) and isinstance(message.get("body"), str):
        try:
            yield base64.b64decode(message["body"], validate=True)
        except binascii.Error:
            return
    elif isinstance(message, list):
        for child in message:
            yield from decode_bodies(child)


def read_file(path: Path) -> Iterator[Any]:
    """Yield the texts in the arrays of an .npy or .npz file, or the content of another file."""
    if path.suffix not in (".npy", ".npz"):
        yield path.read_bytes()
        return
    loaded = np.load(path, allow_pickle=False, mmap_mode="r" if path.suffix == ".npy" else None)
    arrays = [loaded] if path.suffix == ".npy" else [loaded[name] for name in loaded.files]
    for array in arrays:
        if array.dtype.kind in "SU":
            yield [
                text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in array.ravel().tolist()
            ]
