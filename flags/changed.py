"""The signal that a change of flags sends, which the snapshot of this process receives if there is one."""

from django.dispatch import Signal

flags_changed = Signal()
