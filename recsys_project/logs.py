"""
Logs: one JSON object a line. A line has the fields of `FIELDS` and no others, whoever wrote it.

What may be a person's never reaches a line, by what it is made of and not by looking for it: ids of members are
hashed, a library's message is its template without the values, an error is its type and the places in our code that
it went through, without what it says. What is left is looked through for addresses, keys and words in quotes all the
same. See docs/logs.md.
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
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from monitoring.log_ids import hash_log_id, utc_day
from recsys_project.environment import ROOT

LogLine = MutableMapping[str, Any]

OWN_PACKAGES = ("recsys_project", "recommendations", "flags", "access", "monitoring", "wasm", "django_structlog")
TRUSTED_LOGGERS = ("celery", "kombu", "granian", "_granian", "redbeat", "tornado.general")
"""Libraries whose messages are about processes, and hold nothing that a caller sent."""
EVENT_NAME = re.compile(r"[a-z][a-z0-9_]{2,60}")
HASHED_FIELDS = frozenset({"member_id"})
ID_FIELDS = frozenset({"request_id", "task_id", "parent_task_id", "child_task_id"})
ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")
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
    "component": "a component of the pipeline: a source, filter, scorer …",
    "count": "a number of items",
    "embedding_model": "an embedding model",
    "embedding_models": "several embedding models",
    "engine": "an engine",
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
    "value": "a metric value",
}
"""Every field that a line may have, with its meaning."""

SAFE_ERRORS = (
    RedisConnectionError,
    RedisTimeoutError,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
    WorkerLostError,
)
"""Errors whose text is of processes and addresses only. What others say may quote a row, a file or a request."""
SAFE_MODULES = frozenset({"wasm.errors"})
"""Of all errors of these modules, the same is true."""
MAX_FRAMES, MAX_CAUSES, MAX_TEXT_LENGTH = 25, 5, 300

HIDDEN = "***"
SECRET_PATTERNS = (
    (re.compile(r"(://)[^/\s@]*@"), rf"\1{HIDDEN}@"),  # user and password of an address
    (re.compile(r"[^\s@<>'\"]+@[^\s@<>'\"]+\.[A-Za-z]{2,}"), HIDDEN),  # mail
    (re.compile(r"(?i)\b(bearer|basic|token|apikey|api-key)\s+\S+"), rf"\1 {HIDDEN}"),
    (re.compile(r"\b[A-Za-z0-9_\-+/=.]{40,}"), HIDDEN),  # keys and tokens
    (re.compile(r"'[^']*'|\"[^\"]*\""), HIDDEN),  # quoted values
)


def clean_event(_logger: object, _method: str, line: LogLine) -> LogLine:
    """Let our own words stand; of a library's message keep the template, and nothing at all if it has none."""
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
    """Put the error that is being told of into the line, without what it says: that may be anything."""
    given = line.pop("exc_info", None)
    line.pop("stack_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given if isinstance(given, BaseException) else None
    if error is not None:
        line["errors"] = [describe_error(one) for one in islice(error_chain(error), MAX_CAUSES)]
    return line


def error_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then what caused it, and so on."""
    following: BaseException | None = error
    while following is not None:
        yield following
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)


def describe_error(error: BaseException) -> dict[str, object]:
    """Return an error's type, what it says if that can hold nothing of anybody, and the places it went through."""
    frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    places = [f"{frame.name} {shorten_path(frame.filename)}:{frame.lineno}" for frame in frames]
    kind = type(error)
    is_safe = isinstance(error, SAFE_ERRORS) or kind.__module__ in SAFE_MODULES
    said = {"message": scrub_text(str(error))} if is_safe else {}
    return {"type": f"{kind.__module__}.{kind.__qualname__}", **said, "frames": places[-MAX_FRAMES:]}


def shorten_path(file: str) -> str:
    """Return where a file of code is, without where this copy of it is."""
    for folder in ("site-packages/", f"{ROOT}/"):
        file = file.split(folder)[-1]
    return file


def clean_fields(secret: str, _logger: object, _method: str, line: LogLine) -> LogLine:
    """Keep the fields that a line may have, with members hashed; name those that are dropped."""
    day = utc_day(line["_record"].created)
    kept: LogLine = {name: line[name] for name in ("timestamp", "level", "event") if name in line}
    dropped: list[str] = []
    for name, value in line.items():
        if name in kept:
            continue
        if name in HASHED_FIELDS:
            kept[name] = hash_log_id(secret, value, day)
        elif name in ID_FIELDS:
            kept[name] = value if ID_PATTERN.fullmatch(str(value)) else HIDDEN
        elif name in FIELDS:
            kept[name] = clean_value(value) if name != "errors" else value
        elif not name.startswith("_"):
            dropped.append(name)
        else:
            kept[name] = value  # the formatter's own
    if dropped:
        kept["dropped"] = sorted(name if EVENT_NAME.fullmatch(name) else HIDDEN for name in dropped)
    return kept


def clean_value(value: object) -> object:
    """Return a field's value as it may stand: figures, short words, and lists of them."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [clean_value(one) for one in value[:20]]
    return scrub_text(str(value))


def scrub_text(text: str) -> str:
    """Return a text without what looks like an address, a key, or a value in quotes."""
    for pattern, instead in SECRET_PATTERNS:
        text = pattern.sub(instead, text)
    return text[:MAX_TEXT_LENGTH]


def dump_json(value: object, **_: object) -> str:
    """Return a line as JSON."""
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def logging_settings(level: str, secret: str) -> dict[str, Any]:
    """
    Return Django's LOGGING, and let structlog's own loggers end in the same place.

    *secret* is what members' ids are hashed with.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "use_get_message": False,  # the template, and its values beside it
                "pass_foreign_args": True,
                "processors": [
                    clean_event,
                    clean_errors,
                    partial(clean_fields, secret),
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.JSONRenderer(serializer=dump_json),
                ],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # These would tell of the same request or task a second time.
            "django.server": {"level": "ERROR"},
            "django.request": {"level": "ERROR"},
            "celery.app.trace": {"level": "CRITICAL"},
            "celery.worker.strategy": {"level": "WARNING"},
        },
    }
