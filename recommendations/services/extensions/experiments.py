"""What experiments are told by recommendations: how often members did something, and what members are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from flags.experiments import metric_sources
from recommendations.contracts import Float64Array
from recommendations.models import Interaction, Member

MEMBERS_PER_QUERY = 500
"""Members that are asked about together: databases bound the number of parameters. Changes the speed."""


def count_interactions(
    unit_ids: Sequence[str], since: Float64Array, until: Float64Array, kinds: Sequence[str]
) -> Float64Array:
    """See `sources.Count`. What a member took back does not count."""
    counts = np.zeros(len(unit_ids))
    for start in range(0, len(unit_ids), MEMBERS_PER_QUERY):
        part = slice(start, start + MEMBERS_PER_QUERY)
        counts[part] = count_chunk(unit_ids[part], since[part], until[part], kinds)
    return counts


def count_chunk(
    unit_ids: Sequence[str], since: Float64Array, until: Float64Array, kinds: Sequence[str]
) -> Float64Array:
    """Return the same of a few members, in two queries."""
    members = dict(Member.objects.filter(external_id__in=unit_ids).values_list("external_id", "pk"))
    if not members:
        return np.zeros(len(unit_ids))
    place = {members[id]: i for i, id in enumerate(unit_ids) if id in members}
    acts = Interaction.objects.filter(
        member__in=place,
        kind__in=kinds,
        undone_at=None,
        occurred_at__gte=datetime.fromtimestamp(float(since.min()), UTC),
        occurred_at__lt=datetime.fromtimestamp(float(until.max()), UTC),
    ).order_by()
    rows = list(acts.values_list("member_id", "occurred_at"))
    at = np.array([place[member] for member, _ in rows], np.int64)
    moments = np.array([moment.timestamp() for _, moment in rows])
    within = (moments >= since[at]) & (moments < until[at])
    return np.bincount(at[within], minlength=len(unit_ids)).astype(float)


def member_slices(unit_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the language that each member reads first, and the region."""
    known: dict[str, tuple[str, str]] = {}
    for start in range(0, len(unit_ids), MEMBERS_PER_QUERY):
        rows = Member.objects.filter(external_id__in=unit_ids[start : start + MEMBERS_PER_QUERY])
        for id, languages, region in rows.values_list("external_id", "languages", "region"):
            known[id] = (languages[0] if languages else "", region)
    told = [known.get(id, ("", "")) for id in unit_ids]
    return {"language": [language for language, _ in told], "region": [region for _, region in told]}


def register_experiment_sources() -> None:
    """Let experiments know all this."""
    metric_sources.register_metric_source("interactions", count_interactions)
    metric_sources.register_slicer("members", member_slices)
