"""
What reactions contributed to the picks of a slate, packed: the largest contributions of each pick, and their rest.

The named contributions and the rest are whole numbers, so they add up to the part exactly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from recommendations.contracts import Contributions, Int64Array, ReactionPart

NAMED = 3
"""Contributions of a pick to a part that are recorded with the post that they come from."""
ENTRY = np.dtype([("sources", "<i2", NAMED), ("totals", "<i4", NAMED), ("rest", "<i4")])
"""A pick's contributions to one part: positions among the reactions (-1: none), their totals, and the sum of others."""


@dataclass(frozen=True, slots=True)
class PartReasons:
    """The contributions of reactions to one part of one pick. Before its weight, the part is float32 of their sum."""

    part: str
    weight: float
    named: tuple[tuple[int, float], ...]
    """The post of a reaction, and what it contributed: the largest first."""
    others: float
    """What all other reactions contributed together."""


def pack_contributions(parts: Mapping[str, ReactionPart], weights: Mapping[str, float], post_ids: Int64Array) -> bytes:
    """Return the contributions to the picks *post_ids* (n,), in bytes; *weights* are those of the parts."""
    heads, columns = [], []
    for name, part in parts.items():
        contributions = part.contributions(post_ids)
        if weights[name] and contributions.totals.any():
            heads.append((name, weights[name], contributions.unit, len(contributions.source_ids)))
            columns += [contributions.source_ids.astype("<i8").tobytes(), largest_entries(contributions).tobytes()]
    return json.dumps(heads).encode() + b"\n" + b"".join(columns) if heads else b""


def largest_entries(contributions: Contributions) -> np.ndarray:
    """Return an `ENTRY` (n,) for each pick: the contributions with the largest absolute value, and the rest."""
    totals = contributions.totals  # (r, n)
    entries = np.zeros(totals.shape[1], ENTRY)
    remaining, picks = np.abs(totals), np.arange(totals.shape[1])
    for place in range(NAMED):
        largest = remaining.argmax(axis=0)
        is_used = remaining[largest, picks] > 0
        entries["sources"][:, place] = np.where(is_used, largest, -1)
        entries["totals"][:, place] = np.where(is_used, totals[largest, picks], 0)
        remaining[largest, picks] = 0
    entries["rest"] = totals.sum(axis=0) - entries["totals"].sum(axis=1)
    return entries


def unpack_reasons(packed: bytes, position: int, pick_count: int) -> list[PartReasons]:
    """Return the contributions to the pick at *position* of a slate of *pick_count*, without parts that are 0."""
    line, _, body = packed.partition(b"\n")
    reasons, at = [], 0
    for part, weight, unit, source_count in json.loads(line or b"[]"):
        sources = np.frombuffer(body, "<i8", source_count, at)
        entry = np.frombuffer(body, ENTRY, pick_count, at + sources.nbytes)[position]
        at += sources.nbytes + pick_count * ENTRY.itemsize
        named = tuple(
            (int(sources[source]), total * unit)
            for source, total in zip(entry["sources"].tolist(), entry["totals"].tolist(), strict=True)
            if source >= 0
        )
        if named or entry["rest"]:
            reasons.append(PartReasons(part, weight, named, int(entry["rest"]) * unit))
    return reasons
