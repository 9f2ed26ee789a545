"""What is refused, and why. Doors turn each into their own form."""


class AccessError(Exception):
    """Something about keys and tokens was asked for that cannot be done."""


class BadCredentialError(AccessError):
    """A key or token that does not let its bearer in. The message never repeats it."""


class UnknownKeyError(AccessError):
    """No key has this prefix."""


class BadRequestError(AccessError):
    """A value cannot be used; *field* says which."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
