"""Why a change of flags is refused. Wrong values are `rest_framework.serializers.ValidationError`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.exceptions import APIException


class UnknownKeyError(APIException):
    """There is nothing of this key."""

    status_code = 404
    default_code = "not-found"

    def __init__(self, subject: str, key: str) -> None:
        super().__init__(f"There is no {subject} {key!r}.", self.default_code)


class AlreadyExistsError(APIException):
    """There is something of this key already."""

    status_code = 409
    default_code = "exists"

    def __init__(self, subject: str, key: str) -> None:
        super().__init__(f"There is a {subject} {key!r} already.", self.default_code)


class VersionConflictError(APIException):
    """Somebody else changed it since it was read."""

    status_code = 412
    default_code = "version-conflict"

    def __init__(self, key: str, version: int) -> None:
        super().__init__(
            f"{key} was changed meanwhile: it has version {version} now. Read it again.", self.default_code
        )


class RefusedError(APIException):
    """It may not be done, or not now; the message says why."""

    status_code = 409
    default_code = "refused"


class ForbiddenError(APIException):
    """This person may not do it."""

    status_code = 403
    default_code = "permission-denied"


def error_lines(detail: Any, place: str = "") -> list[str]:
    """Return each error of a validation on a line of its own, with its field."""
    if isinstance(detail, Mapping):
        return [line for name, inner in detail.items() for line in error_lines(inner, f"{place} {name}".strip())]
    if isinstance(detail, list):
        return [line for inner in detail for line in error_lines(inner, place)]
    return [f"{place}: {detail}" if place else str(detail)]
