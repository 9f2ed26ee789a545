"""
Errors with which a change of flags is refused.

Their messages are in the language of the page, and in English where programs read them (`recsys_project.languages`).
They are no errors of Django REST Framework, which a command in an emergency does not load. Its exception handler
converts them (`recommendations/api/exception_handler.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext


class FlagError(Exception):
    """A change or a request that is refused; the message gives the reason."""

    status_code = 400
    code = "refused"

    @property
    def detail(self) -> Any:
        """The message, or the messages by field."""
        return str(self)


class InvalidChangeError(FlagError):
    """Values are invalid."""

    code = "invalid-request"

    def __init__(self, detail: Mapping[str, Any] | Sequence[Any]) -> None:
        super().__init__("; ".join(error_lines(detail)))
        self._detail = detail

    @property
    def detail(self) -> Any:
        """The messages by field, as serializers have them."""
        return self._detail


class UnknownKeyError(FlagError):
    """No row has this key."""

    status_code = 404
    code = "not-found"

    def __init__(self, subject: str, key: str) -> None:
        super().__init__(gettext("There is no {subject} {key}.").format(subject=gettext(subject), key=repr(key)))


class AlreadyExistsError(FlagError):
    """A row with this key exists already."""

    status_code = 409
    code = "already-exists"

    def __init__(self, subject: str, key: str) -> None:
        super().__init__(
            gettext("A {subject} {key} exists already. Choose another key, or change it.").format(
                subject=gettext(subject), key=repr(key)
            )
        )


class VersionConflictError(FlagError):
    """The flag changed since the caller read it."""

    status_code = 412
    code = "version-conflict"

    def __init__(self, key: str, version: int) -> None:
        super().__init__(
            gettext(
                "{key} was changed meanwhile: it now has version {version}. Read it again and repeat the change."
            ).format(key=key, version=version)
        )


class ChangedMeanwhileError(FlagError):
    """The object changed since the form with the change was opened."""

    status_code = 412
    code = "version-conflict"

    def __init__(self, key: str) -> None:
        super().__init__(
            gettext(
                "{key} was changed after this page was opened. Nothing was saved. "
                "Open the page again, and repeat the change."
            ).format(key=key)
        )


class RefusedError(FlagError):
    """The action is not possible in the current state; the message gives the reason."""

    status_code = 409


class ForbiddenError(FlagError):
    """The user lacks the permission."""

    status_code = 403
    code = "permission-denied"


def error_lines(detail: Any, place: str = "") -> list[str]:
    """Return each validation error as one line with its field."""
    if isinstance(detail, Mapping):
        return [line for name, inner in detail.items() for line in error_lines(inner, f"{place} {name}".strip())]
    if isinstance(detail, list | tuple):
        return [line for inner in detail for line in error_lines(inner, place)]
    return [f"{place}: {detail}" if place else str(detail)]
