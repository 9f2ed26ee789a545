"""The flags' pages in the admin, a file for each kind of thing. Whatever they change goes through the one writer."""

from flags.admin import experiments, flags, plans, records, segments

__all__ = ["experiments", "flags", "plans", "records", "segments"]
