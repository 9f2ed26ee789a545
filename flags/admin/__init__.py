"""The admin of flags, one module per kind of object. Every change goes through `flags.services.change`."""

from flags.admin import changes, experiments, flags, plans, segments

__all__ = ["changes", "experiments", "flags", "plans", "segments"]
