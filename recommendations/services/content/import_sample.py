"""The samples that a new database can start with: the demo, and MovieLens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from recommendations.models import Member
from recommendations.services.content.demo.platform import PREFIX
from recommendations.services.content.films import MEMBER_PREFIX
from recommendations.services.content.import_demo import import_demo
from recommendations.services.content.import_movielens import import_movielens


@dataclass(frozen=True)
class Sample:
    """A sample: how its members' ids begin, and the function that imports its missing rows."""

    prefix: str
    load: Callable[..., Any]


SAMPLES = {"demo": Sample(PREFIX, import_demo), "movielens": Sample(MEMBER_PREFIX, import_movielens)}
DEFAULT_SAMPLE = "demo"


def import_sample(name: str, *, now: datetime) -> dict[str, int]:
    """Import the missing rows of the sample *name*. Return how many rows of each kind were created."""
    return asdict(SAMPLES[name].load(now=now))


def find_sample() -> str | None:
    """Return the name of the sample that this database has, or None."""
    for name, sample in SAMPLES.items():
        if Member.objects.filter(external_id__startswith=sample.prefix).exists():
            return name
    return None
