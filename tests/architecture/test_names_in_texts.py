"""Messages and documents name only commands, options, files and addresses that exist."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.urls import Resolver404, resolve

from recommendations.api.urls import NotFoundView

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("access", "flags", "monitoring", "recommendations", "recsys_project", "values")
COMMAND = re.compile(r"manage\.py ([a-z_]+)((?: [^`\"'\n|#;&)]*)?)")
MAKE = re.compile(r"(?:`|\bRun |^)make ([a-z][a-z-]*)(?![\w-])", re.MULTILINE)
TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)
MODULE = re.compile(r"python3? -m ((?:access|benchmarks|flags|monitoring|recommendations|recsys_project|tests)[\w.]*)")
ADDRESS = re.compile(
    r"(?<![\w.:/])/(?:api/v1/|ofrep/v1/|graphql|readyz|livez|metrics|alertmanager|admin/|explore/|product/|policies/"
    r"|main-parameters/)[\w/{}.-]*"
)
DOCUMENT = re.compile(r"(?<![\w/])docs/[\w/-]+\.md\b")
PREFIXES = {"/api/v1", "/ofrep/v1"}
"""What scripts put before the addresses of their requests."""
EXAMPLES = {"member_id": "a", "post_id": "a", "requester_id": "b", "target_id": "b", "kind": "follow", "key": "k"}
UUIDS = {"request_id", "job_id", "erasure_id", "id"}
OPTION = re.compile(r"--[a-z][a-z-]*")
PAST, OTHER_FOLDERS = {"CHANGELOG.md"}, {"decisions", "migrations", "__pycache__"}
"""Documents that also name what earlier releases had, and folders with such documents or without any."""


def texts():
    """Return the sources, pages, scripts, documents and files for deployment that people read."""
    names = [
        f"{package}/**/*{suffix}" for package in PACKAGES for suffix in (".py", ".html", ".js", ".ts", ".sh", ".md")
    ]
    names += [
        "*.md",
        "docs/**/*.md",
        "docs/**/*.rst",
        "docs/**/*.html",
        "wasm/**/*.md",
        "benchmarks/*.py",
        "examples/**/*.md",
    ]
    names += ["deploy/**/*", "Makefile", "Dockerfile", "docker-compose.yml", "pyproject.toml", ".env.example", "*.py"]
    found = {path for name in names for path in ROOT.glob(name) if path.is_file()}
    return sorted(path for path in found if path.name not in PAST and not OTHER_FOLDERS & {*path.parts})


def unknown_commands(text):
    """Return the commands, and the long options of commands, that do not exist."""
    commands = get_commands()
    unknown = []
    for name, rest in COMMAND.findall(text):
        if name not in commands:
            unknown.append(name)
            continue
        app = commands[name]
        command = load_command_class(app, name) if isinstance(app, str) else app
        if not command.__module__.startswith(PACKAGES):
            continue
        parser = command.create_parser("manage.py", name)
        known = parser.format_help()
        for action in parser._actions:
            parsers = action.choices.values() if isinstance(action.choices, dict) else ()
            known += "".join(sub.format_help() for sub in parsers if hasattr(sub, "format_help"))
        names = set(re.findall(OPTION, known))
        unknown += [f"{name} {option}" for option in re.findall(OPTION, rest) if option not in names]
    return unknown


def unknown_addresses(text):
    """Return the addresses that no pattern of a URL matches."""
    found = [address.rstrip("./") for address in ADDRESS.findall(text)]
    return [address for address in found if address not in PREFIXES and not exists(address)]


def exists(address):
    """Return whether the address, with examples for its parameters, or one that begins with it, exists."""
    path = re.sub(r"\{(\w+)\}", lambda match: example(match[1]), address)
    for candidate in (path, f"{path}/"):
        try:
            if getattr(resolve(candidate).func, "view_class", None) is not NotFoundView:
                return True
        except Resolver404:
            continue
    return False


def example(name):
    """Return a value for a parameter of an address."""
    return "6f2d6f0e-3a57-4a4c-9a5e-0b6a3c1c2f11" if name in UUIDS else EXAMPLES.get(name, "a")


def unknown_targets(text):
    """Return the targets of make, and the modules to run, that do not exist."""
    targets = set(TARGET.findall((ROOT / "Makefile").read_text()))
    modules = [name for name in MODULE.findall(text) if find_spec(name.rstrip(".")) is None]
    return [name for name in MAKE.findall(text) if name not in targets] + modules


def missing_files(text):
    """Return the named files that do not exist."""
    return [
        name for name in DOCUMENT.findall(text) if not (ROOT / name).exists() and not (ROOT / "docs" / name).exists()
    ]


@pytest.mark.parametrize("find", [unknown_commands, unknown_addresses, unknown_targets, missing_files])
def test_what_messages_and_documents_name_exists(find):
    found = {str(path.relative_to(ROOT)): names for path in texts() if (names := find(path.read_text()))}
    assert found == {}


@pytest.mark.parametrize(
    ("find", "text"),
    [
        (unknown_commands, "Run `manage.py import`."),
        (unknown_commands, "Run `manage.py import_data posts FILE --error x`."),
        (unknown_addresses, "Send POST /api/v1/member."),
        (unknown_addresses, "Open /explore/members/."),
        (unknown_targets, "Run `make install`."),
        (unknown_targets, "Run `python -m benchmarks.feeds`."),
        (missing_files, "See docs/nothing.md."),
    ],
)
def test_a_name_that_does_not_exist_is_found(find, text):
    assert find(text)
