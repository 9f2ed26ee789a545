"""
Trained models: list, activate, roll back.

Processes read which model is active every few seconds (`stores/trained_models.py`), so a change here takes effect
without a restart. The rows of a kind are locked in the order of their ids before a state changes: of two changes at
once, the second one sees the result of the first.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Sum
from django.utils.translation import gettext

from monitoring.transactions import write_transaction
from recommendations.models import TrainedModel, TrainedModelBlock
from recommendations.services.errors import InvalidRequest, ModelNotUsable, UnknownModel
from recommendations.stores.trained_models import find_last_retired

log = logging.getLogger(__name__)

State = TrainedModel.State
KIND_NAMES: tuple[str, ...] = tuple(TrainedModel.Kind.values)
"""The kinds of model that entry points accept."""
MAX_TRAINING_TIME = timedelta(days=1)
MIN_LIKES, MIN_MEMBERS = 3, 50
"""A training needs `MIN_MEMBERS` members with `MIN_LIKES` likes each: their newest likes measure the model."""


@dataclass(frozen=True, slots=True)
class ModelView:
    """A trained model as entry points see it."""

    id: int
    kind: str
    state: str
    parent_id: int | None
    member_count: int
    post_count: int
    like_count: int
    size_bytes: int
    metrics: dict[str, Any]
    problem: str
    created_at: datetime
    activated_at: datetime | None


def build_model_view(model: TrainedModel) -> ModelView:
    """Return the model as entry points see it."""
    return ModelView(**{name: getattr(model, name) for name in ModelView.__slots__})


def list_models(*, limit: int = 20) -> list[ModelView]:
    """Return the newest models, newest first."""
    return [build_model_view(model) for model in TrainedModel.objects.order_by("-pk")[:limit]]


def find_active_model(*, kind: str) -> TrainedModel | None:
    """Return the active model of *kind*, or None."""
    return TrainedModel.objects.filter(kind=kind, state=State.ACTIVE).first()


def resolve_kinds(params: Mapping[str, Any]) -> list[int]:
    """
    Return the items of a training job: the positions in `KIND_NAMES` of the kinds in its parameter `kinds`.

    Without the parameter, all kinds. Raises `InvalidRequest`.
    """
    if unknown := set(params) - {"kinds"}:
        raise InvalidRequest(f"{', '.join(sorted(unknown))}: not a parameter of train_model. Give kinds.", "/params")
    kinds = params.get("kinds", list(KIND_NAMES))
    if not isinstance(kinds, list) or not kinds or not set(map(str, kinds)) <= set(KIND_NAMES):
        raise InvalidRequest(f"kinds: give a list of {', '.join(KIND_NAMES)}.", "/params/kinds")
    return sorted({KIND_NAMES.index(kind) for kind in kinds})


@write_transaction
def activate_model(*, model_id: int, now: datetime) -> ModelView:
    """
    Activate a model, and retire the active one of its kind. Does nothing if it is active.

    Raises `UnknownModel`, and `ModelNotUsable` for a model that was not evaluated or whose arrays have been deleted.
    """
    model = lock_models(model_id)[model_id]
    if model.state == State.ACTIVE:
        return build_model_view(model)
    if model.state not in (State.EVALUATED, State.RETIRED):
        text = gettext("Model {id} is {state}. Only an evaluated or retired model can be activated.")
        raise ModelNotUsable(text.format(id=model_id, state=model.get_state_display().lower()))
    if not TrainedModelBlock.objects.filter(model_id=model_id).exists():
        raise ModelNotUsable(
            gettext("The arrays of model {id} have been deleted. Train a new model.").format(id=model_id)
        )
    replace_active(model, now)
    return build_model_view(model)


@write_transaction
def roll_back(*, model_id: int, now: datetime) -> ModelView:
    """
    Retire the active model *model_id*, and activate the model that was active before it. Return the active model.

    If *model_id* is not active any more, someone else has rolled back or activated another model: nothing changes.
    Raises `UnknownModel`, and `ModelNotUsable` if there is no earlier model to go back to.
    """
    models = lock_models(model_id)
    active = next((model for model in models.values() if model.state == State.ACTIVE), None)
    if active is None:
        raise ModelNotUsable(gettext("No model of the kind {kind} is active.").format(kind=models[model_id].kind))
    if active.pk != model_id:
        return build_model_view(active)
    retired = [model.pk for model in models.values() if model.state == State.RETIRED and model.pk < model_id]
    usable = set(TrainedModelBlock.objects.filter(model_id__in=retired).values_list("model_id", flat=True))
    if not usable:
        raise ModelNotUsable(gettext("There is no earlier model to go back to from model {id}.").format(id=model_id))
    earlier = models[max(usable)]
    replace_active(earlier, now)
    return build_model_view(earlier)


def roll_back_kind(*, kind: str, now: datetime) -> ModelView:
    """Roll back from the active model of *kind*. Raises `ModelNotUsable` if there is none, or none before it."""
    active = find_active_model(kind=kind)
    if active is None:
        raise ModelNotUsable(gettext("No model of the kind {kind} is active.").format(kind=kind))
    return roll_back(model_id=active.pk, now=now)


def delete_old_arrays(*, now: datetime) -> tuple[int, int]:
    """
    Delete the arrays of models that are not needed any more. Return the number of models and of bytes.

    Kept are those of the active model, of the last retired ones (for a rollback), of evaluated models from the newest
    active one on (for an approval), and of trainings in progress. A training that has not ended after a day was
    interrupted: it is set to failed.
    """
    overdue = TrainedModel.objects.filter(state=State.TRAINING, created_at__lt=now - MAX_TRAINING_TIME)
    overdue.update(state=State.FAILED, problem="The training was interrupted.")
    kept: set[int] = set()
    for kind in KIND_NAMES:
        active = find_active_model(kind=kind)
        kept |= {model.pk for model in find_last_retired(kind)} | ({active.pk} if active else set())
        waiting = TrainedModel.objects.filter(kind=kind, state__in=(State.EVALUATED, State.TRAINING))
        kept |= set(waiting.filter(pk__gt=active.pk if active else 0).values_list("pk", flat=True))
    old = TrainedModelBlock.objects.exclude(model_id__in=kept)
    models = set(old.values_list("model_id", flat=True).distinct().order_by())
    size = TrainedModel.objects.filter(pk__in=models).aggregate(size=Sum("size_bytes"))["size"] or 0
    for model_id in models:
        TrainedModelBlock.objects.filter(model_id=model_id).delete()
    return len(models), size


@dataclass(frozen=True, slots=True)
class ForgottenModels:
    """The models whose arrays were deleted because they were trained on an erased member, and what replaced them."""

    model_ids: list[int]
    active_id: int | None
    active_since: datetime | None


@write_transaction
def forget_models(*, trained_before: datetime, is_due: bool, now: datetime) -> ForgottenModels | None:
    """
    Delete the arrays of every model whose training began before *trained_before*, retired and waiting ones included.

    Return None, and delete nothing, while such a model is active or in training: a newer model will replace it. If
    *is_due*, none is waited for: the active model is retired, and feeds go without a trained model until the next one.
    """
    models = list(TrainedModel.objects.select_for_update().order_by("pk"))
    old = [model for model in models if model.created_at < trained_before]
    in_use = [model.pk for model in old if model.state in (State.ACTIVE, State.TRAINING)]
    if in_use and not is_due:
        return None
    used = TrainedModel.objects.filter(pk__in=in_use)
    used.filter(state=State.ACTIVE).update(state=State.RETIRED, retired_at=now)
    used.filter(state=State.TRAINING).update(state=State.FAILED, problem="A member was erased.")
    blocks = TrainedModelBlock.objects.filter(model__in=old)
    forgotten = sorted(set(blocks.order_by().values_list("model_id", flat=True).distinct()))
    blocks.delete()
    active = next((model for model in models if model.state == State.ACTIVE and model.pk not in in_use), None)
    return ForgottenModels(forgotten, active.pk if active else None, active.activated_at if active else None)


def lock_models(model_id: int) -> dict[int, TrainedModel]:
    """Lock all models of the kind of *model_id*, and return them by id. Raises `UnknownModel`."""
    kind = TrainedModel.objects.filter(pk=model_id).values_list("kind", flat=True).first()
    models = TrainedModel.objects.select_for_update().filter(kind=kind).order_by("pk")
    found = {model.pk: model for model in models}
    if model_id not in found:
        raise UnknownModel(model_id)
    return found


def replace_active(model: TrainedModel, now: datetime) -> None:
    """Retire the active model and activate *model*. The caller holds the locks of `lock_models`."""
    TrainedModel.objects.filter(kind=model.kind, state=State.ACTIVE).update(state=State.RETIRED, retired_at=now)
    model.state, model.activated_at, model.retired_at = State.ACTIVE, now, None
    model.save(update_fields=["state", "activated_at", "retired_at"])
    log.info("trained_model_activated", extra={"kind": model.kind, "trained_model": model.pk})
