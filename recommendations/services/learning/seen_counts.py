"""
Counts how many members looked at each post, where clients report it (`SEEN_POSTS`).

Rates of positive interactions are relative to this count. Where clients do not report what was on a screen, the writer
of served pages estimates it (`services/serving/records.py`). A report is stored in the transaction that stores the seen
post, and deleted in the one that counts it, so each is counted once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from django.conf import settings

from monitoring.transactions import write_transaction
from recommendations.models import SeenPost, SeenReport
from recommendations.services.serving.records import add_counts
from recommendations.stores.bulk import insert_columns, insert_new_rows

REPORTS_PER_TRANSACTION = 5_000
"""Reports that are counted in one transaction. Changes the speed."""


@write_transaction
def store_seen_posts(member_id: int, post_ids: Sequence[int], now: datetime) -> None:
    """
    Record that a member saw posts, by primary key, and report those that the member had not seen.

    In the order of the unique constraint: of two transactions that record the same posts, one waits for the other.
    """
    posts = np.unique(np.array(post_ids, np.int64))
    columns = {"member_id": np.full(len(posts), member_id), "post_id": posts}
    is_new = insert_new_rows(SeenPost, columns, {"seen_at": now}, key=("member_id", "post_id"))
    if settings.ENV.seen_posts == "reported" and is_new.any():
        insert_columns(SeenReport, {"post_id": posts[is_new]})


def count_seen(*, now: datetime) -> int:
    """Add all reports to the seen counts of their posts. Return how many."""
    total = 0
    while counted := count_batch(now):
        total += counted
    return total


@write_transaction
def count_batch(now: datetime) -> int:
    """Count the oldest reports and delete them. Return how many. Two workers wait for each other."""
    waiting = SeenReport.objects.select_for_update().order_by("pk")
    rows = list(waiting.values_list("pk", "post_id")[:REPORTS_PER_TRANSACTION])
    if rows:
        add_counts(Counter(), Counter(post_id for _, post_id in rows), now)
        SeenReport.objects.filter(pk__in=[pk for pk, _ in rows]).delete()
    return len(rows)
