"""The flags' pages in the admin, a file for each kind of thing. Whatever they change goes through the one writer."""

from flags.admin import changes, experiments, flags, plans, segments

__all__ = ["changes", "experiments", "flags", "plans", "segments"]
