"""The content of a log line, for every logger and for any input."""

import ast
import json
import logging
import logging.config
import re
import sys
from pathlib import Path

import pytest
import structlog
from django.conf import settings
from django.db import IntegrityError
from hypothesis import given
from hypothesis import strategies as st

from monitoring.log_ids import hash_log_id, utc_day
from recommendations.services.errors import UnknownMember
from recsys_project.log_settings import logging_settings
from recsys_project.logs import EVENT_NAME, FIELDS, HIDDEN, MAX_TEXT_LENGTH, OWN_PACKAGES, scrub_text
from wasm import KernelError

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "logs.md"
SECRET = "a secret of the test's own, long enough"
SETTINGS = logging_settings("DEBUG", SECRET)


@pytest.fixture(scope="module")
def formatter():
    """The formatter of the only log handler in the settings."""
    return logging.config.DictConfigurator(SETTINGS).configure_formatter(SETTINGS["formatters"]["json"])


def format_line(formatter, name, level=logging.WARNING, message="something_happened", *args, raised=None, **extra):
    """Return the text of the line that the logger *name* writes."""
    exc_info = (type(raised), raised, raised.__traceback__) if raised else None
    record = logging.getLogger(name).makeRecord(name, level, "a/file.py", 7, message, args, exc_info, extra=extra)
    return formatter.format(record)


def raise_and_catch(error):
    """Return an error that was raised and has a cause."""
    try:
        try:
            raise ValueError(f"before {error}")
        except ValueError as first:
            raise error from first
    except Exception as raised:
        return raised


secrets = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=8, max_size=30).map("Zq{}".format)
"""Names or inputs of a person, long enough not to appear in a line by chance."""


@given(secret=secrets)
def test_no_secret_reaches_a_line(formatter, secret):
    """Neither in a message, nor in its values, a field, an error or the cause of an error."""
    unique = IntegrityError(f"duplicate key value\nDETAIL: Key (external_id)=({secret}) already exists.")
    attempts = [
        format_line(formatter, "recommendations.services.work", message=f"failed for {secret}"),
        format_line(formatter, "recommendations.services.work", message=secret),
        format_line(formatter, "recommendations.services.work", text=secret, name_of=secret, member_id=secret),
        format_line(formatter, "recommendations.services.work", **{f"key_{secret}": 1}),
        format_line(formatter, "django.security.DisallowedHost", message=f"Invalid HTTP_HOST header: {secret}"),
        format_line(formatter, "django.request", logging.ERROR, "Not Found: %s", f"/members/{secret}"),
        format_line(formatter, "some.library", logging.ERROR, "row %(row)s", {"row": secret}),
        format_line(formatter, "py.warnings", message=f"UserWarning: {secret}"),
        format_line(
            formatter, "celery.app.trace", logging.ERROR, "Task %(name)s: %(exc)s", {"name": "a", "exc": secret}
        ),
        format_line(formatter, "celery.worker", message=f"got a message '{secret}'"),
        format_line(formatter, "celery.worker", message=f"redis://user:{secret}@host:6379/0"),
        format_line(
            formatter, "recommendations.api", raised=raise_and_catch(ValueError(f"could not convert {secret}"))
        ),
        format_line(formatter, "recommendations.api", raised=raise_and_catch(UnknownMember(secret))),
        format_line(formatter, "recommendations.api", raised=raise_and_catch(unique)),
        format_line(formatter, "recommendations.api", raised=raise_and_catch(KeyError(secret))),
        format_line(formatter, "recommendations.api", problem=f"x '{secret}'", embedding_models=[f'"{secret}"']),
    ]
    for line in attempts:
        text = json.dumps(json.loads(line), ensure_ascii=False)
        assert secret not in text, text
    line = format_line(formatter, "django_structlog.celery.receivers", message="task_failed", error=secret, song=secret)
    assert secret not in line and json.loads(line)["dropped"] == ["error", "song"]


@pytest.mark.parametrize(
    "text",
    [
        "anna.berg@example.org",
        "Bearer abcdef",
        "rk_live_" + "a1" * 24,
        "'Anna Berg'",
    ],
)
def test_a_field_hides_mail_addresses_and_keys(formatter, text):
    line = json.loads(format_line(formatter, "recommendations.api", problem=f"of {text} here"))
    assert "***" in line["problem"] and text not in line["problem"]


def test_a_line_has_only_declared_fields(formatter):
    """Declared fields are unchanged. Others are removed and named in `dropped`, for the author of the call."""
    structlog.contextvars.bind_contextvars(request_id="an-edge-s-own-id", song="Yesterday")
    try:
        line = json.loads(format_line(formatter, "recommendations.services.work", count=3, text="x", engine="plain"))
    finally:
        structlog.contextvars.clear_contextvars()
    assert line["event"] == "something_happened" and line["count"] == 3 and line["engine"] == "plain"
    assert line["request_id"] == "an-edge-s-own-id"
    assert line["dropped"] == ["song", "text"]
    assert set(line) <= set(FIELDS)


def test_an_error_is_logged_as_its_type_and_frames(formatter):
    line = json.loads(
        format_line(formatter, "recommendations.api", raised=raise_and_catch(KernelError("the deadline is over")))
    )
    first, cause = line["errors"]
    assert (first["type"], first["message"]) == ("wasm.errors.KernelError", "the deadline is over")
    assert cause["type"] == "builtins.ValueError" and "message" not in cause
    assert any("raise_and_catch" in frame and "test_logs.py" in frame for frame in first["frames"])


def test_a_structlog_logger_writes_the_same_kind_of_line(formatter):
    """An error is logged with its frames as well."""
    seen = []

    class RecordingHandler(logging.Handler):
        def emit(self, record):
            seen.append(json.loads(formatter.format(record)))

    handler, logger = RecordingHandler(), logging.getLogger("monitoring.health")
    logger.addHandler(handler)
    try:
        raise KeyError("Anna")
    except KeyError:
        structlog.get_logger("monitoring.health").exception("health_check_failed", check="redis", who="Anna")
    finally:
        logger.removeHandler(handler)
    (line,) = seen
    assert line["check"] == "redis" and line["dropped"] == ["who"] and line["level"] == "error"
    assert [error["type"] for error in line["errors"]] == ["builtins.KeyError"]
    assert "Anna" not in json.dumps(line)


def test_a_hashed_id_differs_from_day_to_day(formatter):
    """Lines of one day can be joined, lines of two days cannot; another secret gives other ids."""
    name, (level, fields) = "recommendations.api", (logging.INFO, {"member_id": 42})
    one, two = (json.loads(format_line(formatter, name, level, **fields))["member_id"] for _ in range(2))
    assert one == two and re.fullmatch("[0-9a-f]{16}", one)
    day, next_day = utc_day(86_400 * 20_000 - 1), utc_day(86_400 * 20_000)
    assert (day, next_day) == ("2024-10-03", "2024-10-04")
    assert hash_log_id(SECRET, 42, day) != hash_log_id(SECRET, 42, next_day) != hash_log_id(SECRET + "x", 42, next_day)
    # HMAC-SHA256 of "42", whose key is the HMAC-SHA256 of "log ids 2026-11-24" under the secret, by hand.
    assert hash_log_id(SECRET, 42, "2026-11-24") == "8a572fa43473d965"


def test_every_log_call_uses_declared_fields():
    """Otherwise an undeclared field would be dropped, and an event that is a sentence omitted."""
    missing = []
    for package in OWN_PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text())):
                if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                    continue
                if getattr(call.func.value, "id", "") not in ("log", "logger") or not call.args:
                    continue
                event = call.args[0]
                if isinstance(event, ast.Constant) and not EVENT_NAME.fullmatch(event.value):
                    missing.append(f"{path.name}: {event.value}")
                given = [word for word in call.keywords if word.arg not in ("extra", "exc_info")]
                extras = [word.value for word in call.keywords if word.arg == "extra"]
                keys = [key for extra in extras if isinstance(extra, ast.Dict) for key in extra.keys]
                named = {word.arg for word in given} | {key.value for key in keys if isinstance(key, ast.Constant)}
                missing += [f"{path.name}: {name}" for name in named - set(FIELDS)]
    assert not missing


def test_the_docs_list_every_field():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE))
    assert rows == FIELDS


def test_the_settings_use_only_this_formatter():
    assert settings.LOGGING["root"]["handlers"] == ["stderr"]
    assert all("handlers" not in logger for logger in settings.LOGGING["loggers"].values())
    assert list(settings.LOGGING["formatters"]) == ["json"]
    assert settings.LOGGING["handlers"]["stderr"]["formatter"] == "json"
    assert sys.modules["recsys_project.settings"].LOGGING is settings.LOGGING


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see " + "x" * 1_000_000, "see"),
        ("x" * 1_000_000, ""),
        ("of ann@example.com: " + "a" * 5_000, f"of {HIDDEN}:"),
        ("a " * 1_990 + "ann@example.com", ("a " * 1_990)[:MAX_TEXT_LENGTH]),
    ],
)
def test_a_very_long_text_is_cut_before_it_is_searched(text, expected):
    """The search takes quadratic time: hours for this text. Half of a secret at the cut is not kept."""
    assert scrub_text(text) == expected
