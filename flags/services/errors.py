"""Errors with which a change of flags is refused. Invalid values raise `rest_framework.serializers.ValidationError`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.exceptions import APIException


class UnknownKeyError(APIException):
    """No row has this key."""

    status_code = 404
    default_code = "not-found"

    def __init__(self, subject: str, key: str) -> None:
        super().__init__(f"There is no {subject} {key!r}.", self.default_code)


class AlreadyExistsError(APIException):
    """A row with this key exists already."""

    status_code = 409
    default_code = "already-exists"

    def __init__(self, subject: str, key: str) -> None:
        super().__init__(f"A {subject} {key!r} exists already. Choose another key, or change it.", self.default_code)


class VersionConflictError(APIException):
    """The flag changed since the caller read it."""

    status_code = 412
    default_code = "version-conflict"

    def __init__(self, key: str, version: int) -> None:
        super().__init__(
            f"{key} was changed meanwhile: it now has version {version}. Read it again and repeat the change.",
            self.default_code,
        )


class ChangedMeanwhileError(APIException):
    """The object changed since the form with the change was opened."""

    status_code = 412
    default_code = "version-conflict"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"{key} was changed after this page was opened. Nothing was saved. "
            "Open the page again, and repeat the change.",
            self.default_code,
        )


class RefusedError(APIException):
    """The action is not possible in the current state; the message gives the reason."""

    status_code = 409
    default_code = "refused"


class ForbiddenError(APIException):
    """The user lacks the permission."""

    status_code = 403
    default_code = "permission-denied"


def error_lines(detail: Any, place: str = "") -> list[str]:
    """Return each validation error as one line with its field."""
    if isinstance(detail, Mapping):
        return [line for name, inner in detail.items() for line in error_lines(inner, f"{place} {name}".strip())]
    if isinstance(detail, list):
        return [line for inner in detail for line in error_lines(inner, place)]
    return [f"{place}: {detail}" if place else str(detail)]
