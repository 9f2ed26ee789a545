"""Each promise in docs/security.md names a function that keeps it and a test that would notice. Both exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = re.findall(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", (ROOT / "docs/security.md").read_text(), re.MULTILINE)


def defined_names(path):
    """Return the functions, classes and constants of a module."""
    tree = ast.parse((ROOT / path).read_text())
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return names | {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def test_promises_are_numbered_in_sequence():
    assert [int(number) for number, *_ in ROWS] == list(range(1, len(ROWS) + 1))
    assert len(ROWS) >= 18


@pytest.mark.parametrize(("number", "promise", "kept_by", "noticed_by"), ROWS, ids=[number for number, *_ in ROWS])
def test_a_promise_has_a_function_and_a_test(number, promise, kept_by, noticed_by):
    functions, tests = (re.findall(r"`([\w./]+):(\w+)`", cell) for cell in (kept_by, noticed_by))
    assert functions and tests, promise
    for path, name in functions + tests:
        assert name in defined_names(path), f"{path} has no {name}"
    for path, name in tests:
        assert path.startswith("tests/") and name.startswith("test_")


@pytest.mark.parametrize("name", ["SECURITY.md", "LICENSE"])
def test_the_repository_says_how_to_report_and_what_is_allowed(name):
    text = (ROOT / name).read_text()
    assert ("docs/security.md" in text) if name == "SECURITY.md" else ("Apache License" in text)
