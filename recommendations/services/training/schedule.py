"""
Decide when a model is trained, and submit the job.

Every hour a training is due if there is no model yet and enough to train on, or if the reactions have grown or shrunk
enough since the last training. Every night it is due in any case: the model then also forgets members and posts that
were erased, and members who opted out of learning, even if their number is small.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
from django.db.models import Sum
from django.db.models.functions import Length

from recommendations.models import ErasureReceipt, Job, ReactionHistory, TrainedModel
from recommendations.services import work
from recommendations.services.training.trained_models import KIND_NAMES, MIN_LIKES, MIN_MEMBERS

CHANGED_SHARE = 0.1
"""Change of the number of reactions, as a share of those at the last training, after which a training is due."""
MIN_CHANGED = 100
NIGHTLY_WAIT = timedelta(hours=26)
"""A nightly training has ended this long after any moment. If it failed, the hourly check trains."""
BYTES_PER_REACTION = 8


def request_due_training(*, now: datetime, is_nightly: bool = False) -> int:
    """Submit a training job for each kind that is due and has no unfinished job. Return how many."""
    submitted = 0
    for kind in KIND_NAMES:
        if has_unfinished_job() or not is_training_due(kind=kind, now=now, is_nightly=is_nightly):
            continue
        # Two beats may ask at once: the key makes them submit one job.
        key = f"train-{kind}-{now:%Y-%m-%dT%H}{'-nightly' if is_nightly else ''}"
        work.submit_job(kind=Job.Kind.TRAIN_MODEL, params={"kinds": [kind]}, now=now, idempotency_key=key)
        submitted += 1
    return submitted


def has_unfinished_job() -> bool:
    """Return whether a training is queued or running."""
    return Job.objects.filter(kind=Job.Kind.TRAIN_MODEL, state__in=work.UNFINISHED_STATES).exists()


def is_training_due(*, kind: str, now: datetime, is_nightly: bool = False) -> bool:
    """Return whether a model of *kind* should be trained now."""
    last = TrainedModel.objects.filter(kind=kind, trained_at__isnull=False).order_by("-pk").first()
    if last is None:
        return has_enough_members()
    changed = abs(count_reactions() - last.reaction_count)
    is_changed = changed >= max(MIN_CHANGED, CHANGED_SHARE * last.reaction_count)
    return is_nightly or is_changed or has_waiting_erasure(now)


def has_waiting_erasure(now: datetime) -> bool:
    """Return whether a member was erased so long ago that the last nightly training should have forgotten them."""
    return ErasureReceipt.objects.filter(finished_at=None, erased_at__lt=now - NIGHTLY_WAIT).exists()


def count_reactions() -> int:
    """Return the number of reactions in all histories."""
    return (ReactionHistory.objects.aggregate(size=Sum(Length("reactions")))["size"] or 0) // BYTES_PER_REACTION


def has_enough_members() -> bool:
    """Return whether `MIN_MEMBERS` members have enough likes. Reads histories until it has found them."""
    found = 0
    for reactions in ReactionHistory.objects.order_by("pk").values_list("reactions", flat=True).iterator():
        found += bool(np.count_nonzero(np.frombuffer(bytes(reactions), "<i8") > 0) >= MIN_LIKES)
        if found >= MIN_MEMBERS:
            return True
    return False
