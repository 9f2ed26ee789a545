"""Finds the calls in the code of the apps that write to the database."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APPS = ("access", "flags", "monitoring", "recommendations")
ALWAYS = frozenset(
    {
        *("save", "create", "bulk_create", "get_or_create", "update_or_create", "bulk_update"),
        *("insert_columns", "insert_new_rows", "update_columns", "executemany"),
    }
)
"""Names of functions and methods that write."""


@dataclass(frozen=True)
class WriteCall:
    """A call that writes, or may write, to the database."""

    file: str
    """The path from the root of the repository."""
    function: str
    """The name of the innermost function around the call, or of the class or module if there is none."""
    name: str
    """The name of the called function or method."""
    line: int
    keywords: frozenset[str]


def find_write_calls() -> Iterator[WriteCall]:
    """Yield the calls of every app, without migrations."""
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            if "migrations" not in path.parts:
                yield from find_in_file(path)


def find_in_file(path: Path) -> Iterator[WriteCall]:
    """Yield the calls of one file."""
    file = str(path.relative_to(ROOT))

    def visit(node: ast.AST, function: str) -> Iterator[WriteCall]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call) and writes(child):
                keywords = frozenset(keyword.arg or "**" for keyword in child.keywords)
                yield WriteCall(file, function, called_name(child), child.lineno, keywords)
            is_named = isinstance(child, ast.FunctionDef | ast.ClassDef)
            yield from visit(child, child.name if is_named else function)  # type: ignore[attr-defined]

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), "")


def called_name(call: ast.Call) -> str:
    """Return the name of the called function or method."""
    return getattr(call.func, "attr", "") or getattr(call.func, "id", "")


def writes(call: ast.Call) -> bool:
    """
    Return whether the call writes to the database, as far as its form shows.

    `update` of a query set has only keywords, and `delete` no arguments, unlike those of dictionaries and of Redis.
    """
    name = called_name(call)
    if name == "update":
        return not call.args and bool(call.keywords)
    if name == "delete":
        return not call.args and not call.keywords
    return name in ALWAYS
