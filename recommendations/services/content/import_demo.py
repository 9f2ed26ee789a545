"""
Import the demo (`demo/platform.py`) from files, as a platform's own data are imported.

The times of the demo end at its first import. A later import has the times of the first, so its files have the same
content: an import that was interrupted resumes, and a completed one adds nothing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from recommendations.models import Member
from recommendations.services.content.demo.platform import DemoPlatform
from recommendations.services.content.import_file import import_file


@dataclass(frozen=True)
class DemoSummary:
    """The numbers of created rows; all zero if the demo was already imported."""

    members: int
    posts: int
    relationships: int
    interactions: int


def import_demo(*, now: datetime) -> DemoSummary:
    """Import the missing rows of the demo."""
    platform = DemoPlatform(now)
    ages = platform.member_ages()
    if member := Member.objects.filter(external_id__in=ages).order_by("id").first():
        platform.now = member.created_at + timedelta(seconds=ages[member.external_id])
    with tempfile.TemporaryDirectory() as folder:
        created = {
            kind: import_rows(Path(folder, f"{kind}.jsonl"), kind, rows, now)
            for kind, rows in (
                ("members", platform.members()),
                ("posts", platform.posts()),
                ("relationships", platform.relationships()),
                ("interactions", platform.interactions()),
            )
        }
    return DemoSummary(**created)


def import_rows(path: Path, kind: str, rows: Iterable[Mapping[str, Any]], now: datetime) -> int:
    """Write *rows* of *kind* to a file at *path* and import it. Return how many rows were created now."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    summary = import_file(kind=kind, path=path, now=now, progress=lambda done, total: None)
    return 0 if summary.is_already_imported else summary.created
