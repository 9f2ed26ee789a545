"""
Train a model: read the histories, measure a table on held-out likes, train the final one on all likes, and store it.

Only the training worker and `manage.py train` import this module: it imports SciPy.

Whether the new model becomes active is decided on held-out likes (`recommendations/training/held_out.py`), by the
NDCG of each case and the 95 % interval of the mean difference:

- It must not be worse than ranking by the number of likes: the interval is not entirely below 0.
- It must not be worse than the active model, in the same sense. The active model has seen every like up to its
  `data_until`, so only cases whose held-out like is newer are fair. With fewer than `MIN_FAIR_CASES` of them, the
  settings are compared instead: a table with the settings of the active model is trained on the same likes. With equal
  settings the two tables are equal, and there is nothing to compare: the new model differs only by newer likes.

The measured table and the final one have the same settings, and the final one has more likes: one per case.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, cast

import numpy as np
from django.conf import settings
from openfeature.evaluation_context import EvaluationContext

from flags.client import FLAG_CLIENT
from recommendations.collaborative.item_weights import ItemWeightTable
from recommendations.collaborative.reactions import Reactions
from recommendations.contracts import Float64Array, Int64Array
from recommendations.evaluation.intervals import Comparison, compare_paired
from recommendations.models import JobChunk, Post, ReactionHistory, TrainedModel, TrainedModelBlock
from recommendations.services import work
from recommendations.services.errors import ServiceError, TooFewLikes
from recommendations.services.training.co_like_scales import measure_co_like_scales
from recommendations.services.training.trained_models import (
    KIND_NAMES,
    MIN_LIKES,
    MIN_MEMBERS,
    ModelView,
    activate_model,
    build_model_view,
    find_active_model,
)
from recommendations.stores.trained_models import ModelArrayError, read_item_weights, store_arrays
from recommendations.training import held_out
from recommendations.training.held_out import HeldOut, hold_out
from recommendations.training.item_weight_factor import find_item_factor
from recommendations.training.item_weights import ItemWeightSettings, train_item_weights
from recommendations.training.likes import Likes

log = logging.getLogger(__name__)

State = TrainedModel.State
APPROVAL_FLAG = "approve_models"
"""While this flag is on, a trained model stays evaluated until an operator activates it."""
ROWS_PER_READ = 2_000
SEED = 0
"""Seed of the held-out members and of the intervals. Equal inputs give equal bytes."""
MIN_FAIR_CASES = 100
"""Held-out likes newer than the active model's data that a comparison with it needs. Changes the decision."""

DATA_FIELDS = ("data_from", "data_until", "reaction_count", "member_count", "post_count", "like_count")
RESULT_FIELDS = ("state", "metrics", "problem", "scales", "arrays", "size_bytes", "trained_at", *DATA_FIELDS)

Progress = Callable[[str, int, int], None]
"""Called with a stage, the number of completed items and the total. An exception ends the training."""


def ignore_progress(stage: str, done: int, total: int) -> None:
    """Do nothing."""


def train(*, kind: str, now: datetime, progress: Progress = ignore_progress) -> ModelView:
    """
    Train a model of *kind*, and activate it if it is not worse than the active one. Return it.

    Raises `TooFewLikes` if there is too little to train on and to measure. After any error the row is failed, with the
    reason; the active model stays active.
    """
    started = monotonic()
    training = ItemWeightSettings(min_members=settings.ENV.co_like_min_members)
    model = TrainedModel.objects.create(
        kind=kind, parent=find_active_model(kind=kind), settings=asdict(training), seed=SEED, created_at=now
    )
    try:
        table = run_training(model, training, progress)
        model.trained_at = now + timedelta(seconds=monotonic() - started)
        model.metrics["training_seconds"] = round(monotonic() - started, 3)
        publish_model(model, table, progress)
    except BaseException as error:
        fail_model(model.pk, describe_error(error))
        raise
    log.info("trained_model_evaluated", extra={"kind": kind, "trained_model": model.pk})
    if not model.problem and not FLAG_CLIENT.get_boolean_value(APPROVAL_FLAG, False, EvaluationContext(kind)):
        return activate_model(model_id=model.pk, now=now + timedelta(seconds=monotonic() - started))
    return build_model_view(model)


def describe_error(error: BaseException) -> str:
    """Return the reason of a failed run. Messages of other libraries may quote data, so only their types are stored."""
    if isinstance(error, MemoryError):
        return "The training needs more memory than TRAINING_MEMORY_LIMIT."
    if isinstance(error, work.JobCancelledError):
        return "Its job was cancelled."
    return str(error) if isinstance(error, ServiceError) else type(error).__name__


def fail_model(model_id: int, problem: str) -> None:
    """Set a model that is still in training to failed, and delete what was stored of it."""
    if TrainedModel.objects.filter(pk=model_id, state=State.TRAINING).update(state=State.FAILED, problem=problem):
        TrainedModelBlock.objects.filter(model_id=model_id).delete()


def run_training(model: TrainedModel, training: ItemWeightSettings, progress: Progress) -> ItemWeightTable:
    """Return the trained table. Sets the columns of *model* that describe the data, the measurement and the scales."""
    likes, model.reaction_count = read_likes(progress)
    cases = hold_out(likes, model.seed, min_likes=MIN_LIKES)
    if len(cases) < MIN_MEMBERS:
        raise TooFewLikes(len(cases), MIN_MEMBERS, MIN_LIKES)
    model.member_count, model.post_count, model.like_count = len(likes.member_ids), len(likes.post_ids), len(likes)
    model.data_from, model.data_until = (
        datetime.fromtimestamp(float(moment), UTC) for moment in (likes.times.min(), likes.times.max())
    )
    model.metrics, model.problem = measure(model, cases, training, progress)
    table = train_table(likes, training, "training on all likes", progress)
    model.scales = {model.kind: held_out.compute_scale(likes, cases.members, table) / model.metrics["factor"]}
    model.scales |= measure_co_like_scales(likes, cases.members)
    return table


def publish_model(model: TrainedModel, table: ItemWeightTable, progress: Progress) -> None:
    """Store the table, and set the model to evaluated if it is still in training."""
    progress("storing", 0, 1)
    model.arrays = store_arrays(model.pk, {field.name: getattr(table, field.name) for field in fields(table)})
    model.size_bytes = sum(array["size"] for array in model.arrays.values())
    progress("storing", 1, 1)
    model.state = State.EVALUATED
    values = {name: getattr(model, name) for name in RESULT_FIELDS}
    if not TrainedModel.objects.filter(pk=model.pk, state=State.TRAINING).update(**values):
        TrainedModelBlock.objects.filter(model_id=model.pk).delete()
        raise RuntimeError(f"Model {model.pk} was set to failed while it was trained.")


def read_likes(progress: Progress) -> tuple[Likes, int]:
    """
    Return the likes of all histories, and the number of all reactions.

    A member who opted out of learning has no history, so they are in no model. Likes of removed and erased posts are
    left out.
    """
    rows = ReactionHistory.objects.order_by("pk").values_list("pk", "reactions", "reacted_at")
    total, counted = rows.count(), 0
    histories = []
    for number, (member_id, reactions, times) in enumerate(rows.iterator(chunk_size=ROWS_PER_READ)):
        if number % ROWS_PER_READ == 0:
            progress("reading histories", number, total)
        history = Reactions.from_bytes(bytes(reactions), bytes(times))
        histories.append((member_id, history))
        counted += len(history)
    progress("reading histories", total, total)
    posts = Post.objects.filter(removed_at=None).order_by().values_list("pk", flat=True)
    post_ids = np.fromiter(posts.iterator(chunk_size=ROWS_PER_READ), np.int64)
    return Likes.from_histories(histories).of_posts(post_ids), counted


def train_table(likes: Likes, training: ItemWeightSettings, stage: str, progress: Progress) -> ItemWeightTable:
    """Return the table for *likes*."""
    return train_item_weights(likes.matrix, likes.post_ids, training, lambda done, total: progress(stage, done, total))


# Measurement


def measure(
    model: TrainedModel, cases: HeldOut, training: ItemWeightSettings, progress: Progress
) -> tuple[dict[str, Any], str]:
    """Return the metrics of a table with these settings on *cases*, and why it must not become active, or ''."""
    table = train_table(cases.train, training, "training without held-out likes", progress)
    weights = held_out.to_matrix(table, cases.train.post_ids)
    places = held_out.rank_targets(cases, weights)
    by_likes = held_out.rank_targets_by_likes(cases)
    versus_likes = compare(places, by_likes)
    metrics: dict[str, Any] = {"cases": len(cases)} | summarize(places)
    metrics["factor"] = find_item_factor(cases, weights, min_members=training.min_members)
    metrics["popularity"] = summarize(by_likes) | describe(versus_likes)
    problems = ["It is worse than ranking by the number of likes."] if versus_likes.high < 0 else []
    if model.parent is not None:
        metrics["active"], is_worse = compare_with_active(model.parent, cases, places, training, progress)
        problems += [f"It is worse than the active model {model.parent_id}."] if is_worse else []
    return metrics, " ".join(problems)


def compare_with_active(
    active: TrainedModel, cases: HeldOut, places: Int64Array, training: ItemWeightSettings, progress: Progress
) -> tuple[dict[str, Any], bool]:
    """Return how the places of the new table compare with those of the active model, and whether it is worse."""
    is_used = cases.times > cast(datetime, active.data_until).timestamp()
    table = read_table(active.pk)
    metrics: dict[str, Any] = {"model": active.pk, "compared": "model"}
    if table is None or np.count_nonzero(is_used) < MIN_FAIR_CASES:
        earlier = ItemWeightSettings.from_stored(active.settings)
        if earlier == training:
            return metrics | {"compared": "equal settings"}, False
        metrics["compared"], is_used = "settings", np.ones(len(cases), np.bool_)
        table = train_table(cases.train, earlier, "training with the active model's settings", progress)
    theirs = held_out.rank_targets(cases.take(is_used), held_out.to_matrix(table, cases.train.post_ids))
    comparison = compare(places[is_used], theirs)
    metrics |= {"cases": len(theirs)} | summarize(theirs) | describe(comparison)
    return metrics, comparison.high < 0


def read_table(model_id: int) -> ItemWeightTable | None:
    """Return the table of a model, or None if its arrays are not in the database any more."""
    try:
        return read_item_weights(model_id)
    except ModelArrayError:
        return None


def compare(places: Int64Array, others: Int64Array) -> Comparison:
    """Return the difference of the mean NDCG, with its interval. Each case is one member, so cases are drawn alone."""
    return compare_paired(held_out.compute_ndcg(places), held_out.compute_ndcg(others), seed=SEED)


def summarize(places: Int64Array) -> dict[str, float]:
    """Return the means of the measures, rounded."""
    measures: dict[str, Float64Array] = {
        "hr10": held_out.compute_hits(places),
        "ndcg10": held_out.compute_ndcg(places),
    }
    return {name: round(float(values.mean()), 4) for name, values in measures.items()}


def describe(comparison: Comparison) -> dict[str, list[float]]:
    """Return the mean difference of the NDCG and its limits, rounded."""
    return {"ndcg10_difference": [round(v, 4) for v in (comparison.difference, comparison.low, comparison.high)]}


# As a job


def process_training(chunk: JobChunk, kinds: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """
    Train a model of each kind (positions in `KIND_NAMES`). Return an error for each kind with too few likes.

    The job's result says how far the training is. Whenever progress is reported, the training ends if the job was
    cancelled. After an interruption the training starts from the beginning, with a row of its own.
    """

    def report(stage: str, done: int, total: int) -> None:
        work.check_cancellation(chunk)
        work.set_job_result(chunk, {"stage": stage, "done": done, "total": total})

    errors, models = [], []
    for position in kinds:
        try:
            models.append(train(kind=KIND_NAMES[position], now=now, progress=report).id)
        except TooFewLikes as error:
            errors.append({"item_id": position, "problem": str(error)})
    work.set_job_result(chunk, {"models": models})
    return errors
