"""Links, files and URLs in the documents exist."""

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
    "values",
    "wasm",
    "tests",
    "benchmarks",
    "docs",
    "deploy",
    "examples",
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_point_to_existing_files(document):
    """A relative link points to a file or folder of the repository. Code blocks contain no links."""
    text = re.sub(r"^ *```.*?^ *```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/glossary.md", "docs/failures.md"])
def test_file_names_in_backticks_exist(document):
    """A path in backticks that starts with a folder of the project exists."""
    for name in re.findall(r"`([\w./-]+)`", (ROOT / document).read_text()):
        if name.split("/")[0] in CODE_FOLDERS and "/" in name:
            assert (ROOT / name).exists(), name


def test_urls_in_the_readme_are_in_the_api_schema():
    """Each example URL matches a path of the OpenAPI schema."""
    paths = SchemaGenerator().get_schema(public=True)["paths"]
    patterns = [re.compile(re.sub(r"\{\w+\}", "[^?]+", path) + "$") for path in paths]
    examples = re.findall(r"127\.0\.0\.1:8000(/api/v1[^'?\s]*)", (ROOT / "README.md").read_text())
    assert len(examples) >= 4
    for example in examples:
        assert any(pattern.match(example) for pattern in patterns), example


def test_the_glossary_is_sorted_without_duplicates():
    words = re.findall(r"^\| ([a-z ]+) \|", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)[1:]
    assert words == sorted(set(words))
