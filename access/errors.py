"""Errors of the access services. Each entry point converts them to its own format."""


class AccessError(Exception):
    """An operation on keys or tokens that cannot be done."""


class BadCredentialError(AccessError):
    """An invalid key or token. The message never contains it."""


class UnknownKeyError(AccessError):
    """There is no key with this prefix."""


class BadRequestError(AccessError):
    """An invalid value of *field*."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
