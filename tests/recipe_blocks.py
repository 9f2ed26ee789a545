"""
Applies the code blocks of CONTRIBUTING's recipes to a copy of the repository.

The first line of a block is a comment with a file and a place: no place for a new file, the imports, the end of a
definition, a statement inside one, or the line after one.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Node = ast.AST
T = TypeVar("T", bound=ast.AST)


@dataclass(frozen=True)
class Block:
    """A code block of a recipe: the file it belongs to, the place in the file, and the code without its first line."""

    path: str
    place: str
    """Empty for a new file."""
    code: str


def read_blocks(document: Path) -> list[Block]:
    """Return the Python blocks of a Markdown document, in order."""
    blocks = []
    for match in re.finditer(r"^( *)```python\n(.*?)^ *```", document.read_text(), re.MULTILINE | re.DOTALL):
        first, _, code = textwrap.dedent(match[2]).partition("\n")
        path, _, place = first.removeprefix("# ").partition(", ")
        blocks.append(Block(path, place, code))
    return blocks


def read_commands(document: Path) -> list[str]:
    """Return the arguments of each `manage.py` command that a step of a recipe starts with, in order."""
    return re.findall(r"^\d+\. Run `manage\.py ([^`]+)`", document.read_text(), re.MULTILINE)


def apply_block(root: Path, block: Block) -> None:
    """Write a block into the copy at *root*. Raises `LookupError` if its place does not exist."""
    path = root / block.path
    if not block.place:
        if path.exists():
            raise LookupError(f"{block.path} exists already")
        path.write_text(block.code)
        return
    lines = path.read_text().splitlines()
    line, column = find_place(ast.parse(path.read_text()), block.place)
    if column is None:
        is_definition = block.place.startswith("after ")
        indent = "" if is_definition or block.place == "imports" else re.match(r" *", lines[line - 1])[0]
        blank_lines = ["", ""] if is_definition else []
        lines[line:line] = [*blank_lines, *textwrap.indent(block.code.rstrip(), indent).splitlines()]
    else:
        before, after = lines[line - 1].encode()[:column].decode(), lines[line - 1].encode()[column:].decode()
        text = "\n".join([*lines[: line - 1], before]).rstrip()
        separator = "" if text.endswith((",", "(", "[", "{")) else ","
        lines = [*(text + separator).splitlines(), *block.code.rstrip().splitlines(), after, *lines[line:]]
    path.write_text("\n".join(lines) + "\n")


def find_place(tree: ast.Module, place: str) -> tuple[int, int | None]:
    """
    Return where a block goes: the line (from 1) to insert after, or a line and the byte column of a closing bracket.

    Raises `LookupError` if there is no such place.
    """
    if place == "imports":
        last = max(node.end_lineno or 0 for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom))
        return last, None
    if match := re.fullmatch(r"after (\w+)", place):
        return one([node for node in tree.body if getattr(node, "name", "") == match[1]], place).end_lineno or 0, None
    if match := re.fullmatch(r"at the end of the tuple in (\w+)", place):
        function = find(tree, ast.FunctionDef, match[1])
        return before_bracket(one([n for n in ast.walk(function) if isinstance(n, ast.Tuple)], place))
    if match := re.fullmatch(r"at the end of (?:the fields of )?class (\w+)", place):
        return end_of_class(find(tree, ast.ClassDef, match[1]), only_fields="fields" in place), None
    if match := re.fullmatch(r"in (\w+) after ([\w.]+)", place):
        function = find(tree, ast.FunctionDef, match[1])
        starts = [s for s in function.body if ast.unparse(s).startswith(match[2])]
        return one(starts, place).end_lineno or 0, None
    if match := re.fullmatch(r"at the end of (\w+) in (\w+)", place):
        function = find(tree, ast.FunctionDef, match[2])
        values = [n.value for n in ast.walk(function) if isinstance(n, ast.keyword) and n.arg == match[1]]
        return before_bracket(one(values, place))
    match = re.fullmatch(r"at the end of (\w+)", place)
    if match is None:
        raise LookupError(f"unknown place: {place}")
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == match[1]:
            return node.end_lineno or 0, None
        if isinstance(node, ast.Assign | ast.AnnAssign) and match[1] in assigned_names(node) and node.value is not None:
            return before_bracket(node.value)
    raise LookupError(f"no {match[1]} at the top level")


def assigned_names(node: ast.Assign | ast.AnnAssign) -> set[str]:
    """Return the plain names that a statement assigns."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def end_of_class(node: ast.ClassDef, *, only_fields: bool) -> int:
    """Return the last line of a class, or of its fields with the docstring of the last one."""
    if not only_fields:
        return node.end_lineno or 0
    last = max(i for i, statement in enumerate(node.body) if isinstance(statement, ast.AnnAssign))
    following = node.body[last + 1] if last + 1 < len(node.body) else None
    is_docstring = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
    return (following if following is not None and is_docstring else node.body[last]).end_lineno or 0


def before_bracket(node: Node) -> tuple[int, int]:
    """Return the line and the byte column of the bracket that closes *node*."""
    return node.end_lineno, node.end_col_offset - 1  # type: ignore[attr-defined]


def find(tree: Node, kind: type[T], name: str) -> T:
    """Return the definition of this kind and name."""
    return one([node for node in ast.walk(tree) if isinstance(node, kind) and getattr(node, "name", "") == name], name)


def one(found: list[T], place: str) -> T:
    """Return the only element. Raises `LookupError` if there is none, or more than one."""
    if len(found) != 1:
        raise LookupError(f"{place}: found {len(found)} times")
    return found[0]


def copied_files(root: Path) -> Iterator[Path]:
    """Yield the files of the repository that a copy needs, relative to *root*."""
    skipped = {".venv", "var", "node_modules", ".git", "__pycache__", ".mypy_cache", ".ruff_cache", ".hypothesis"}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and not skipped & set(relative.parts):
            yield relative
