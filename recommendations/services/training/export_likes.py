"""
Export of all likes as Parquet, for a training on Spark (`recommendations/training/on_spark.py`).

The file has a row for each member and each post that they liked: `member` and `post` are the ids of rows in the
database, not those that the platform sent, and `time` is in Unix seconds. Members who do not let the service learn from
them have no history, so they are not in the file. It is personal data all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from recommendations.collaborative.reactions import Reactions
from recommendations.models import Post, ReactionHistory

MEMBERS_PER_GROUP = 20_000
"""Members whose likes are one row group of the file. Changes the memory and the speed."""
Row = tuple[int, bytes | memoryview, bytes | memoryview]
"""The columns `pk`, `reactions` and `reacted_at` of `ReactionHistory`."""
SCHEMA = pa.schema([("member", pa.int64()), ("post", pa.int64()), ("time", pa.float64())])


def export_likes(file: Path, progress: Callable[[str, int, int], None]) -> int:
    """
    Write the likes of all members to *file*, without likes of removed posts. Return how many.

    The file appears under its name only when it is complete, and only its owner may read it. Raises `OSError`.
    """
    posts = Post.objects.filter(removed_at=None).order_by("pk").values_list("pk", flat=True)
    post_ids = np.fromiter(posts.iterator(chunk_size=MEMBERS_PER_GROUP), np.int64)
    rows = ReactionHistory.objects.order_by("pk").values_list("pk", "reactions", "reacted_at")
    total, read, written = rows.count(), 0, 0
    incomplete = file.with_name(f"{file.name}.part")
    incomplete.touch(mode=0o600)
    remaining = rows.iterator(chunk_size=2_000)
    with parquet.ParquetWriter(incomplete, SCHEMA) as writer:
        while batch := list(islice(remaining, MEMBERS_PER_GROUP)):
            table = build_table(batch, post_ids)
            writer.write_table(table)
            read, written = read + len(batch), written + len(table)
            progress("exporting likes", read, total)
    incomplete.replace(file)
    return written


def build_table(
    rows: Iterable[tuple[int, bytes | memoryview, bytes | memoryview]], post_ids: np.typing.NDArray[np.int64]
) -> pa.Table:
    """Return the likes among the reactions of these rows that are likes of *post_ids* (p,), sorted."""
    members, posts, times = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for member_id, reactions, reacted_at in rows:
        history = Reactions.from_bytes(bytes(reactions), bytes(reacted_at))
        is_kept = np.isin(history.liked_ids, post_ids)
        posts.append(history.liked_ids[is_kept])
        times.append(history.liked_times[is_kept])
        members.append(np.full(len(posts[-1]), member_id, np.int64))
    return pa.table([np.concatenate(column) for column in (members, posts, times)], schema=SCHEMA)
