"""Django's settings of logs. `recsys_project.logs` formats the lines; most commands write none, and do not load it."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any

from django.utils.module_loading import import_string


class JsonFormatter(logging.Formatter):
    """Formats with `recsys_project.logs`, which is loaded for the first line."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self._secret = secret

    @cached_property
    def _formatter(self) -> logging.Formatter:
        formatter: logging.Formatter = import_string("recsys_project.logs.build_formatter")(self._secret)
        return formatter

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line of JSON."""
        return self._formatter.format(record)


def logging_settings(level: str, secret: str) -> dict[str, Any]:
    """Return Django's LOGGING. *secret* is the key with which member ids are hashed."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter, "secret": secret}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # These would log the same request or task a second time.
            "django.server": {"level": "ERROR"},
            "django.request": {"level": "ERROR"},
            "celery.app.trace": {"level": "CRITICAL"},
            "celery.worker.strategy": {"level": "WARNING"},
        },
    }
