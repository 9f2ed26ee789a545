"""
Logs: one JSON object per line. A line has the fields of `FIELDS` and no others, for every logger.

Personal data is excluded by construction, not by searching for it: member ids are hashed, a library's message is logged
as its template without the values, and an error as its type and stack frames without its message. As a second defense,
the remaining text is searched for addresses, keys and quoted words. See docs/logs.md.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from functools import partial
from itertools import islice
from typing import Any

import orjson
import structlog

from monitoring.log_ids import hash_log_id, utc_day
from recsys_project.environment import ROOT

LogLine = MutableMapping[str, Any]

OWN_PACKAGES = ("recsys_project", "recommendations", "flags", "access", "monitoring", "wasm", "django_structlog")
TRUSTED_LOGGERS = ("celery", "kombu", "granian", "_granian", "redbeat", "tornado.general")
"""Loggers of libraries whose messages concern processes and contain nothing that a caller sent."""
EVENT_NAME = re.compile(r"[a-z][a-z0-9_]{2,60}")
HASHED_FIELDS = frozenset({"member_id"})
ID_FIELDS = frozenset({"request_id", "task_id", "parent_task_id", "child_task_id"})
ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")
CLEAN_FIELDS = frozenset({"errors", "logger"})
"""Not scrubbed: `errors` is clean already, and a long module name in `logger` would be taken for a token."""
FIELDS = {
    "event": "what happened: an event name of this project, or a library's message template",
    "level": "debug, info, warning, error, critical",
    "logger": "the module that wrote the line",
    "timestamp": "time in UTC",
    "where": "file and line that wrote a library's message, if the message was omitted because it may contain values",
    "errors": "the error and its causes, each with type, stack frames and, for safe types, its message",
    "dropped": "fields that were removed because they are not in this list",
    "request_id": "the request, from the edge to every task that it led to",
    "parent_task_id": "the task that enqueued this task",
    "task_id": "the task",
    "task": "the task's name",
    "child_task_id": "the task that was enqueued",
    "child_task_name": "the enqueued task's name",
    "routing_key": "the enqueued task's queue",
    "duration_ms": "duration in ms",
    "expired": "whether a revoked task had expired",
    "terminated": "whether a revoked task was terminated",
    "signame": "the signal that terminated a task",
    "request": "the method and the URL pattern",
    "code": "the status code of the response",
    "member_id": "a member, hashed",
    "active_model": "the embedding model that is loaded instead",
    "bytes_freed": "bytes that a process freed",
    "caller": "the API caller, masked",
    "changes": "number of differing rows",
    "channel": "the channel of an alert notice",
    "check": "a health check",
    "dependency": "a server that the process calls: a Redis, the database, Qdrant",
    "component": "a component of the pipeline: a source, filter, scorer …",
    "count": "a number of items",
    "embedding_model": "an embedding model",
    "embedding_models": "several embedding models",
    "engine": "an engine",
    "erasure": "the id of an erasure receipt",
    "experiment": "an experiment's key",
    "field": "a GraphQL field",
    "flag": "a flag's key",
    "kind": "the kind of the item",
    "maintenance_task": "a maintenance task",
    "members": "number of members",
    "metric": "the gauge that an alert rule or a guardrail watches",
    "notice": "the id of an alert notice",
    "on_breach": "the action of a rollout plan when a guardrail is breached",
    "panel": "a dashboard panel",
    "plan": "the flag of a rollout plan",
    "posts": "number of posts",
    "problem": "the type or the short text of an error",
    "reader": "a source of member attributes for flags",
    "reason": "the reason of a memory clean-up",
    "rule": "an alert rule",
    "severity": "the severity of an alert",
    "space": "a vector space",
    "trained_model": "the id of a trained model",
    "value": "a metric value",
}
"""Every field that a line may have, with its meaning."""

SAFE_ERRORS = frozenset(
    {
        "redis.exceptions.ConnectionError",
        "redis.exceptions.TimeoutError",
        "billiard.exceptions.SoftTimeLimitExceeded",
        "billiard.exceptions.TimeLimitExceeded",
        "billiard.exceptions.WorkerLostError",
    }
)
"""
Errors whose message concerns processes and addresses only, and their subclasses. Other messages may quote a row, a file
or a request. They have names here, because a command that logs nothing need not load Redis and Celery.
"""
SAFE_MODULES = frozenset({"wasm.errors"})
"""Modules all of whose errors have a safe message."""
MAX_FRAMES, MAX_CAUSES, MAX_TEXT_LENGTH = 25, 5, 300
MAX_SEARCHED_LENGTH = 2_000
"""Longest text that is searched for secrets, in quadratic time. A visitor's path may have 64 KB."""

HIDDEN = "***"
SECRET_PATTERNS = (
    (re.compile(r"(://)[^/\s@]*@"), rf"\1{HIDDEN}@"),  # user and password of an address
    (re.compile(r"[^\s@<>'\"]+@[^\s@<>'\"]+\.[A-Za-z]{2,}"), HIDDEN),  # mail
    (re.compile(r"(?i)\b(bearer|basic|token|apikey|api-key)\s+\S+"), rf"\1 {HIDDEN}"),
    (re.compile(r"\b[A-Za-z0-9_\-+/=.]{40,}"), HIDDEN),  # keys and tokens
    (re.compile(r"'[^']*'|\"[^\"]*\""), HIDDEN),  # quoted values
)


def clean_event(_logger: object, _method: str, line: LogLine) -> LogLine:
    """Keep the service's own event names; reduce a library's message to its template, or omit it if it has none."""
    name, text = str(line.get("logger") or ""), str(line.get("event", ""))
    has_values = bool(line.pop("positional_args", ()))
    if name.split(".")[0] in OWN_PACKAGES and EVENT_NAME.fullmatch(text):
        return line
    if has_values or name.startswith(TRUSTED_LOGGERS):
        line["event"] = scrub_text(text)
    else:
        record: logging.LogRecord = line["_record"]
        line["event"] = "message_omitted"
        line["where"] = f"{record.module}:{record.lineno}"
    return line


def clean_errors(_logger: object, _method: str, line: LogLine) -> LogLine:
    """Add the logged error to the line, without its message, which may contain personal data."""
    exc_info = line.pop("exc_info", None)
    line.pop("stack_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info if isinstance(exc_info, BaseException) else None
    if error is not None:
        line["errors"] = [describe_error(cause) for cause in islice(error_chain(error), MAX_CAUSES)]
    return line


def error_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then its cause, then the cause of that, and so on."""
    current: BaseException | None = error
    while current is not None:
        yield current
        is_hidden = current.__suppress_context__
        current = current.__cause__ or (None if is_hidden else current.__context__)


def describe_error(error: BaseException) -> dict[str, object]:
    """Return an error's type, its message if it cannot contain personal data, and its innermost stack frames."""
    stack = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    frames = [f"{frame.name} {shorten_path(frame.filename)}:{frame.lineno}" for frame in stack]
    kind = type(error)
    is_safe = not SAFE_ERRORS.isdisjoint(map(type_name, kind.__mro__)) or kind.__module__ in SAFE_MODULES
    message = {"message": scrub_text(str(error))} if is_safe else {}
    return {"type": type_name(kind), **message, "frames": frames[-MAX_FRAMES:]}


def type_name(kind: type) -> str:
    """Return the dotted path of a type."""
    return f"{kind.__module__}.{kind.__qualname__}"


def shorten_path(file: str) -> str:
    """Return the path of a source file relative to the project or to site-packages."""
    for folder in ("site-packages/", f"{ROOT}/"):
        file = file.split(folder)[-1]
    return file


def clean_fields(secret: str, _logger: object, _method: str, line: LogLine) -> LogLine:
    """Keep the allowed fields, hash member ids, and list the names of the dropped fields."""
    day = utc_day(line["_record"].created)
    cleaned: LogLine = {name: line[name] for name in ("timestamp", "level", "event") if name in line}
    dropped: list[str] = []
    for name, value in line.items():
        if name in cleaned:
            continue
        if name in HASHED_FIELDS:
            cleaned[name] = hash_log_id(secret, value, day)
        elif name in ID_FIELDS:
            cleaned[name] = value if ID_PATTERN.fullmatch(str(value)) else HIDDEN
        elif name in CLEAN_FIELDS:
            cleaned[name] = value
        elif name in FIELDS:
            cleaned[name] = clean_value(value)
        elif not name.startswith("_"):
            dropped.append(name)
        else:
            cleaned[name] = value  # fields of the formatter, which removes them later
    if dropped:
        cleaned["dropped"] = sorted(name if EVENT_NAME.fullmatch(name) else HIDDEN for name in dropped)
    return cleaned


def clean_value(value: object) -> object:
    """Return a field's value reduced to numbers, scrubbed texts, and lists of them."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [clean_value(item) for item in value[:20]]
    return scrub_text(str(value))


def scrub_text(text: str) -> str:
    """
    Return a text with addresses, keys and quoted values replaced by ***, cut to the maximum length.

    Of a very long text only the words before `MAX_SEARCHED_LENGTH` are used: half of a secret would not be found.
    """
    if len(text) > MAX_SEARCHED_LENGTH:
        text = text[:MAX_SEARCHED_LENGTH].rpartition(" ")[0]
    for pattern, replacement in SECRET_PATTERNS:
        text = pattern.sub(replacement, text)
    return text[:MAX_TEXT_LENGTH]


def dump_json(value: object, **_: object) -> str:
    """Return a line as JSON."""
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


SHARED_PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso"),
]


def build_formatter(secret: str) -> logging.Formatter:
    """Return the formatter of every line. *secret* is the key with which member ids are hashed."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=SHARED_PROCESSORS,
        use_get_message=False,  # pass the template and its values separately
        pass_foreign_args=True,
        processors=[
            clean_event,
            clean_errors,
            partial(clean_fields, secret),
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(serializer=dump_json),
        ],
    )


def configure_structlog() -> None:
    """Make structlog's loggers use the same handlers. Modules that use a library with such loggers call this."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED_PROCESSORS,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
