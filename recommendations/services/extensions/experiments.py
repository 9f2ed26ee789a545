"""Metric source and slicer for experiments: counts of members' interactions, and members' language and region."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from flags.experiments import metric_sources
from recommendations.contracts import Float64Array
from recommendations.models import Interaction, Member

MEMBERS_PER_QUERY = 500
"""Members per query: databases limit the number of parameters. Changes the speed."""

NEWEST_INTERACTIONS = 5_000
"""Interactions whose delay is measured. Changes what is reported."""
LATE = timedelta(days=1)


def count_interactions(
    unit_ids: Sequence[str], since: Float64Array, until: Float64Array, kinds: Sequence[str]
) -> Float64Array:
    """Count each member's interactions of *kinds* in [since, until), Unix seconds. Undone interactions do not count."""
    counts = np.zeros(len(unit_ids))
    for start in range(0, len(unit_ids), MEMBERS_PER_QUERY):
        chunk = slice(start, start + MEMBERS_PER_QUERY)
        counts[chunk] = count_chunk(unit_ids[chunk], since[chunk], until[chunk], kinds)
    return counts


def count_chunk(
    unit_ids: Sequence[str], since: Float64Array, until: Float64Array, kinds: Sequence[str]
) -> Float64Array:
    """Return the counts of at most `MEMBERS_PER_QUERY` members, with two queries."""
    members = dict(Member.objects.filter(external_id__in=unit_ids).values_list("external_id", "pk"))
    if not members:
        return np.zeros(len(unit_ids))
    position = {members[id]: i for i, id in enumerate(unit_ids) if id in members}
    interactions = Interaction.objects.filter(
        member__in=position,
        kind__in=kinds,
        undone_at=None,
        occurred_at__gte=datetime.fromtimestamp(float(since.min()), UTC),
        occurred_at__lt=datetime.fromtimestamp(float(until.max()), UTC),
    ).order_by()
    rows = list(interactions.values_list("member_id", "occurred_at"))
    positions = np.array([position[member] for member, _ in rows], np.int64)
    moments = np.array([moment.timestamp() for _, moment in rows])
    is_within = (moments >= since[positions]) & (moments < until[positions])
    return np.bincount(positions[is_within], minlength=len(unit_ids)).astype(float)


def member_slices(unit_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the preferred language and the region of each member; empty strings for unknown members."""
    known: dict[str, tuple[str, str]] = {}
    for start in range(0, len(unit_ids), MEMBERS_PER_QUERY):
        rows = Member.objects.filter(external_id__in=unit_ids[start : start + MEMBERS_PER_QUERY])
        for id, languages, region in rows.values_list("external_id", "languages", "region"):
            known[id] = (languages[0] if languages else "", region)
    slices = [known.get(id, ("", "")) for id in unit_ids]
    return {"language": [language for language, _ in slices], "region": [region for _, region in slices]}


def measure_lateness(since: datetime) -> float | None:
    """Return the share of the newest interactions since a moment that arrived more than a day after they occurred."""
    newest = Interaction.objects.order_by("-pk").values_list("occurred_at", "received_at")[:NEWEST_INTERACTIONS]
    delays = [received - occurred for occurred, received in newest if received >= since]
    return sum(delay > LATE for delay in delays) / len(delays) if delays else None


def count_active_members() -> int:
    """Return how many members get feeds."""
    return Member.objects.filter(is_active=True).count()


def register() -> None:
    """Register the metric source, its lateness, the slicer and the number of members."""
    metric_sources.register_metric_source("interactions", count_interactions)
    metric_sources.register_lateness("interactions", measure_lateness)
    metric_sources.register_slicer("members", member_slices)
    metric_sources.register_unit_counter("member", count_active_members)
