"""The decision records: numbered in sequence, with context, decision, rejected alternatives and consequences."""

import re
from pathlib import Path

import pytest

RECORDS = sorted((Path(__file__).resolve().parents[2] / "docs" / "decisions").glob("*.md"))


def test_records_are_numbered_without_gaps():
    assert [int(path.name[:4]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_names_what_was_rejected(path):
    text = path.read_text()
    assert text.startswith(f"# {int(path.name[:4])}. ")
    headings = re.findall(r"^\*\*(Context|Decision|Rejected|Consequences)", text, re.MULTILINE)
    assert set(headings) == {"Context", "Decision", "Rejected", "Consequences"}
