"""What the documents say is there, is there."""

import re
from pathlib import Path

import pytest
from drf_spectacular.generators import SchemaGenerator

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path for path in ROOT.rglob("*.md") if not {".venv", "var", "node_modules"} & set(path.relative_to(ROOT).parts)
)
CODE_FOLDERS = (
    "recsys_project",
    "recommendations",
    "flags",
    "access",
    "monitoring",
    "wasm",
    "tests",
    "benchmarks",
    "docs",
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    """A relative link names a file or folder of the repository."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/glossary.md", "docs/failures.md"])
def test_named_files_exist(document):
    """A path in backticks that starts in a folder of ours is there."""
    for name in re.findall(r"`([\w./-]+)`", (ROOT / document).read_text()):
        if name.split("/")[0] in CODE_FOLDERS and "/" in name:
            assert (ROOT / name).exists(), name


def test_the_readmes_addresses_are_in_the_api():
    """An address in an example is one that the API's own description has."""
    paths = SchemaGenerator().get_schema(public=True)["paths"]
    patterns = [re.compile(re.sub(r"\{\w+\}", "[^?]+", path) + "$") for path in paths]
    examples = re.findall(r"127\.0\.0\.1:8000(/api/v1[^'?\s]*)", (ROOT / "README.md").read_text())
    assert len(examples) >= 4
    for example in examples:
        assert any(pattern.match(example) for pattern in patterns), example


def test_the_glossary_has_each_word_once():
    """One word per idea, in order."""
    words = re.findall(r"^\| ([a-z ]+) \|", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)[1:]
    assert words == sorted(set(words))
