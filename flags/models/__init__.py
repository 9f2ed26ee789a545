"""The rows of flags and experiments."""

from flags.models.flags import Flag

__all__ = ["Flag"]
