"""
Erase members and posts from every place of the list in `personal_data.py`.

1. **Accept** (`begin_erasures`), in the transaction that creates the job. The member is hidden, and their row gets
   another id: from now on the platform's id refers to no member. So every writer, whatever its entry point, treats the
   id as unknown. If the platform sends it again, it creates a new member, whom the erasure does not touch: it works
   with the database id of the old row. A receipt is written.
2. **Erase** (`erase_members`), by a worker. Everything that refers to the row is deleted, and the id is removed from
   texts and exports that name it. The job is done only if Qdrant has deleted the vectors, too.
3. **Finish** (`finish_erasures`), by a maintenance task. A request, a worker or an indexing that began before the
   erasure may have written something since, so after a while the caches and indexes are cleared again. The trained
   models that contain the member are deleted once a newer model is active. Then the receipt is finished.

Each step is idempotent, so a job whose worker was killed can start again.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, models

from access.masks import mask_identity
from flags.experiments.privacy import erase_unit_exposures
from flags.services import erasure as flag_erasure
from flags.services.record import flag_transaction
from monitoring.transactions import write_transaction
from recommendations.models import ErasedPost, ErasureReceipt, Job, JobFile, Member, Post, RegionStats
from recommendations.ports import VectorIndexError
from recommendations.services import invalidate, wiring
from recommendations.services.content.publish import remove_posts, set_members_active
from recommendations.services.errors import UnknownErasure
from recommendations.services.learning import histories
from recommendations.services.learning.reset import forget_author
from recommendations.services.members.marks import ERASED_TEXT, Mark
from recommendations.services.members.personal_data import ARCHIVE, QDRANT, text_columns
from recommendations.services.training import trained_models
from recommendations.services.vectors import archive, reindexing
from recommendations.stores.row_locks import lock_members, lock_posts, lock_rows
from recommendations.stores.seal import SealError

log = logging.getLogger(__name__)

ERASED_ID_RETENTION = timedelta(days=7)
"""How long the primary keys of erased posts are stored: longer than any process goes without a catalogue refresh."""
BATCH_POSTS = 500
SETTLE_TIME = timedelta(minutes=15)
"""After this time no request or task that began before an erasure still writes."""
FORGET_WITHIN = timedelta(hours=48)
"""A model without the member is active after this time, or none is: two nightly trainings."""
RESUME_AFTER = timedelta(hours=1)
"""An erasure that has not ended after this time is run again: its job has failed, or its worker was lost."""
CLOCK_DIFFERENCE = timedelta(minutes=1)
"""How much the clocks of two machines may differ. A training that began that soon after an erasure counts as older."""


# Accept


@write_transaction
def begin_erasures(*, member_ids: Sequence[int], job_id: UUID | None, requested_by: str, now: datetime) -> None:
    """Hide the members and all their posts from every viewer, give their rows other ids, and write receipts."""
    members = Member.objects.filter(pk__in=member_ids).order_by("pk")
    # Flags before members: other writers lock in the same order.
    counts = {pk: erase_from_segments(member_id, now) for pk, member_id in members.values_list("pk", "external_id")}
    lock_members(member_ids)
    for member in members:
        if not ErasureReceipt.objects.filter(member_number=member.pk, finished_at=None).exists():
            begin_erasure(member, job_id, requested_by, counts.get(member.pk, Counter()), now)
    set_members_active(member_ids=member_ids, is_active=False, now=now)


def begin_erasure(member: Member, job_id: UUID | None, requested_by: str, counts: Counter[str], now: datetime) -> None:
    """Write the receipt of a member, whose row is locked, and give the row another id."""
    receipt = ErasureReceipt(
        member_hash=hash_member_id(member.external_id),
        member_number=member.pk,
        job_id=job_id,
        requested_by=requested_by,
        requested_at=now,
        counts=dict(counts),
    )
    receipt.sealed_member_id = wiring.seal().seal(member.external_id.encode(), seal_context(receipt))
    receipt.save(force_insert=True)
    Member.objects.filter(pk=member.pk).update(external_id=f"erasing:{receipt.pk}", changed_at=now)


def erase_from_segments(member_id: str, now: datetime) -> Counter[str]:
    """Remove the member from the lists of segments. Return the number of rows with replaced texts by table."""
    return change_segments(member_id, now) if flag_erasure.find_segments_listing(member_id) else Counter()


@flag_transaction
def change_segments(member_id: str, now: datetime) -> Counter[str]:
    """Remove the member from the lists and texts of segments. Return the number of rows with replaced texts."""
    # Texts first: the change of a segment is recorded with the segment's texts.
    counts = erase_texts(member_id, app="flags")
    flag_erasure.erase_unit_from_segments(unit_id=member_id, now=now)
    return counts


def hide_posts(post_ids: Sequence[int], now: datetime) -> None:
    """Hide the posts from every viewer."""
    remove_posts(post_ids=post_ids, now=now)


def hash_member_id(member_id: str) -> str:
    """Return the hash by which receipts know a member."""
    return mask_identity("erasure", member_id)


def seal_context(receipt: ErasureReceipt) -> str:
    """Return the context that the id in a receipt is sealed for."""
    return f"erasure:{receipt.pk}"


def open_member_id(receipt: ErasureReceipt) -> str:
    """Return the id of the member of an unfinished receipt. Raises `SealError` if its key was removed."""
    return wiring.seal().open(bytes(receipt.sealed_member_id), seal_context(receipt)).decode()


# Erase


def erase_members(*, member_ids: Sequence[int], now: datetime) -> None:
    """
    Erase the members with their posts, interactions, relationships, interests and served pages.

    Raises `VectorIndexError` if Qdrant still holds vectors of their posts: the caller tries again.
    """
    started = monotonic()
    # The job of an older release was accepted without a receipt.
    begin_erasures(member_ids=member_ids, job_id=None, requested_by="unknown", now=now)
    receipts = list(ErasureReceipt.objects.filter(member_number__in=member_ids, erased_at=None))
    for receipt in receipts:
        erase_member(receipt, now)
    reindexing.drop_erased_posts()
    # The time after the deletion: a training that begins later has not read the member.
    erased_at = now + timedelta(seconds=monotonic() - started)
    for receipt in receipts:
        ErasureReceipt.objects.filter(pk=receipt.pk).update(
            erased_at=erased_at, models_due_at=erased_at + FORGET_WITHIN
        )


def erase_member(receipt: ErasureReceipt, now: datetime) -> None:
    """Delete the row of a member and all that refers to it, and count it in the receipt. Does nothing if it is gone."""
    pk, member_id = receipt.member_number, open_member_id(receipt)
    posts = Post.objects.filter(author=pk)
    post_names = dict(posts.values_list("pk", "external_id"))
    counts = Counter({ARCHIVE: archive.erase_from_archive(post_names.values())}) if post_names else Counter()
    counts += erase_mentions(member_id, post_names, pk)
    save_counts(receipt, counts)
    while batch := list(posts.order_by("pk").values_list("pk", flat=True)[:BATCH_POSTS]):
        save_counts(receipt, delete_posts(batch, now, author_id=pk))
    forget_author(pk)
    delete_member(receipt, member_id)


@write_transaction
def delete_member(receipt: ErasureReceipt, member_id: str) -> None:
    """Delete the row of a member and all that refers to it, and count it in the receipt."""
    lock_members([receipt.member_number], keep_references_out=True)
    member = Member.objects.filter(pk=receipt.member_number).first()
    if member is None:
        return
    exposures = erase_unit_exposures(unit_id=member_id, until=receipt.requested_at)
    counts = Counter(member.delete()[1]) + Counter({"flags.Exposure": exposures}) + erase_empty_regions()
    save_counts(receipt, counts)
    invalidate.evict_members(receipt.member_number)


def erase_posts(*, post_ids: Sequence[int], now: datetime) -> Counter[str]:
    """
    Erase the posts, their vectors and all interactions with them. Return the number of rows by table.

    `reindexing.drop_erased_posts` deletes their vectors in Qdrant.
    """
    names = dict(Post.objects.filter(pk__in=post_ids).values_list("pk", "external_id"))
    counts = Counter({ARCHIVE: archive.erase_from_archive(names.values())}) if names else Counter()
    return counts + erase_post_mentions(names) + delete_posts(post_ids, now)


@write_transaction
def delete_posts(post_ids: Sequence[int], now: datetime, *, author_id: int | None = None) -> Counter[str]:
    """
    Delete the posts and all that refers to them, and make every process evict them. Return the number of rows by table.

    If *author_id* is given, a post that has got another author meanwhile stays.
    """
    # First members and then posts: other writers lock in the same order.
    histories.lock_reacting_members(post_ids)
    lock_posts(post_ids, keep_references_out=True)
    found = Post.objects.filter(pk__in=post_ids).order_by("pk")
    pks = [post.pk for post in found if author_id in (None, post.author_id)]
    histories.forget_posts(pks)
    ErasedPost.objects.filter(erased_at__lt=now - ERASED_ID_RETENTION, is_indexed=False).delete()
    is_indexed = wiring.qdrant_client() is not None
    ErasedPost.objects.bulk_create(
        [ErasedPost(post_id=pk, erased_at=now, is_indexed=is_indexed) for pk in pks], ignore_conflicts=True
    )
    counts = Counter(Post.objects.filter(pk__in=pks).delete()[1])
    counts[QDRANT] += len(pks) if is_indexed else 0
    invalidate.invalidate_posts(pks)
    return +counts


def erase_empty_regions() -> Counter[str]:
    """Delete the statistics of regions in which no member is left: they are about whoever was there."""
    of_members = set(Member.objects.order_by().values_list("region", flat=True).distinct())
    of_stats = set(RegionStats.objects.order_by().values_list("region", flat=True).distinct())
    return Counter(RegionStats.objects.filter(region__in=of_stats - of_members).delete()[1])


@write_transaction
def save_counts(receipt: ErasureReceipt, counts: Counter[str]) -> None:
    """Add to the counts of the receipt."""
    lock_rows(ErasureReceipt, [receipt.pk])
    receipt.refresh_from_db(fields=["counts"])
    receipt.counts = dict(Counter(receipt.counts) + counts)
    receipt.save(update_fields=["counts"])


# Texts, exports and logs that name what is erased


def erase_mentions(member_id: str, post_names: dict[int, str], pk: int) -> Counter[str]:
    """Remove the id of a member from texts, and delete the exports of other members that name the member."""
    mark = Mark(member_id)
    counts = mask_log_entries(Member, [pk]) + erase_post_mentions(post_names) + erase_texts(member_id)
    counts["recommendations.JobFile"] += delete_exports(
        lambda texts: any(mark.is_in(text) for text in texts), except_of=member_id
    )
    return counts


def erase_texts(member_id: str, app: str = "") -> Counter[str]:
    """Remove the id of a member from the texts of staff and platforms; only in the tables of *app*, if given."""
    mark = Mark(member_id)
    return +Counter(
        {
            model._meta.label: replace_in_texts(model, names, mark)
            for model, names in text_columns().items()
            if app in ("", model._meta.app_label)
        }
    )


def erase_post_mentions(post_names: dict[int, str]) -> Counter[str]:
    """Remove the ids of posts from the log of the admin and the parameters of jobs, and delete exports with them."""
    if not post_names:
        return Counter()
    names = set(post_names.values())
    counts = mask_log_entries(Post, list(post_names))
    counts["recommendations.JobFile"] += delete_exports(lambda texts: not names.isdisjoint(texts))
    counts["recommendations.Job"] += remove_from_jobs(names)
    return +counts


@write_transaction
def remove_from_jobs(post_names: set[str]) -> int:
    """Remove the ids of posts from the parameters of jobs. Return how many changed."""
    jobs = Job.objects.filter(params__has_key="post_ids").order_by("pk")
    named = [job.pk for job in jobs.iterator() if not post_names.isdisjoint(job.params["post_ids"])]
    lock_rows(Job, named)
    for pk in named:
        for job in jobs.filter(pk=pk):
            job.params["post_ids"] = [id for id in job.params["post_ids"] if id not in post_names]
            job.save(update_fields=["params"])
    return len(named)


def mask_log_entries(model: type[models.Model], pks: Sequence[int]) -> Counter[str]:
    """Remove the names of these rows from the log of the admin."""
    kind = ContentType.objects.get_for_model(model)
    changed = 0
    for start in range(0, len(pks), BATCH_POSTS):
        batch = [str(pk) for pk in pks[start : start + BATCH_POSTS]]
        entries = LogEntry.objects.filter(content_type=kind, object_id__in=batch).exclude(object_repr=ERASED_TEXT)
        changed += entries.update(object_repr=ERASED_TEXT, change_message="")
    return +Counter({"admin.LogEntry": changed})


def replace_in_texts(model: type[models.Model], names: Sequence[str], mark: Mark) -> int:
    """Replace the mark in these columns of all rows. Return how many rows changed."""
    rows = model._base_manager.order_by("pk").values_list("pk", *names)
    marked = [pk for pk, *values in rows.iterator() if any(map(mark.is_in, values))]
    if marked:
        # A change of flags reads and writes its rows under one lock of all flags.
        begin = flag_transaction if model._meta.app_label == "flags" else write_transaction
        begin(replace_in_rows)(model, marked, names, mark)
    return len(marked)


def replace_in_rows(model: type[models.Model], pks: Sequence[Any], names: Sequence[str], mark: Mark) -> None:
    """Replace the mark in these columns of the rows, as they are now."""
    lock_rows(model, pks)
    limits = {field.name: field.max_length for field in model._meta.concrete_fields}
    for pk in pks:
        values = model._base_manager.filter(pk=pk).values_list(*names).first()
        if values is None:
            continue
        replaced = dict(zip(names, map(mark.replace_in, values), strict=True))
        shortened = {
            name: value[: limits[name]] if isinstance(value, str) else value for name, value in replaced.items()
        }
        flag_erasure.update_row(model, pk, shortened)


def delete_exports(is_named: Callable[[list[str]], bool], *, except_of: str = "") -> int:
    """Delete the exports whose texts *is_named* accepts, except those of the member *except_of*. Return how many."""
    files = JobFile.objects.exclude(member__external_id=except_of).order_by("pk").values_list("pk", "content")
    named = [pk for pk, content in files.iterator() if is_named(list(list_texts(read_export(content))))]
    return JobFile.objects.filter(pk__in=named).delete()[0]


def read_export(content: bytes | memoryview) -> Any:
    """Return the data in an export."""
    return json.loads(zlib.decompress(bytes(content)))


def list_texts(value: Any) -> Iterable[str]:
    """Yield every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from list_texts(child)


# Finish


def finish_erasures(*, now: datetime) -> tuple[int, int]:
    """Finish the erasures whose places are all clear. Return how many were finished, and how many stay open."""
    receipts = list(ErasureReceipt.objects.filter(finished_at=None).order_by("requested_at"))
    finished = 0
    for receipt in receipts:
        try:
            finished += finish_erasure(receipt, now)
        except (DatabaseError, OSError, SealError, VectorIndexError):
            log.exception("erasure_not_finished", extra={"erasure": str(receipt.pk)})
    return finished, len(receipts) - finished


def finish_erasure(receipt: ErasureReceipt, now: datetime) -> bool:
    """Clear again what may have been written meanwhile, and the trained models. Return whether all is clear."""
    if receipt.erased_at is None:
        if now >= receipt.requested_at + RESUME_AFTER:
            erase_members(member_ids=[receipt.member_number], now=now)
        return False
    if now < receipt.erased_at + SETTLE_TIME:
        return False
    if wiring.qdrant_client() is not None:
        ErasedPost.objects.filter(erased_at__gte=receipt.requested_at).update(is_indexed=True)
        reindexing.drop_erased_posts()
    invalidate.evict_members(receipt.member_number)
    forget_author(receipt.member_number)
    save_counts(receipt, erase_mentions(open_member_id(receipt), {}, receipt.member_number))
    forgotten = trained_models.forget_models(
        trained_before=receipt.erased_at + CLOCK_DIFFERENCE,
        is_due=receipt.models_due_at is not None and now >= receipt.models_due_at,
        now=now,
    )
    if forgotten is None:
        return False
    wiring.trained_models().delete_old_files()
    receipt.forgotten_model_ids = forgotten.model_ids
    receipt.active_model_id, receipt.active_model_since = forgotten.active_id, forgotten.active_since
    receipt.finished_at, receipt.sealed_member_id = now, b""
    receipt.save(
        update_fields=[
            "forgotten_model_ids", "active_model_id", "active_model_since", "finished_at", "sealed_member_id",
        ]
    )  # fmt: skip
    return True


# Read


def list_receipts(*, member_id: str = "", limit: int) -> list[ErasureReceipt]:
    """Return up to *limit* receipts, newest first; only those of *member_id*, if given."""
    receipts = ErasureReceipt.objects.order_by("-requested_at", "pk")
    if member_id:
        receipts = receipts.filter(member_hash=hash_member_id(member_id))
    return list(receipts[:limit])


def read_receipt(*, receipt_id: UUID) -> ErasureReceipt:
    """Return a receipt. Raises `UnknownErasure`."""
    receipt = ErasureReceipt.objects.filter(pk=receipt_id).first()
    if receipt is None:
        raise UnknownErasure(receipt_id)
    return receipt
