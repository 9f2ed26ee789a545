"""Fields of requests whose size is checked before their content."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class LimitedListField(serializers.ListField):
    """
    A list of at most *max_length* items. The items of a longer list are not validated.

    DRF validates every item first and the length after that: a list of a million strings would take seconds.
    """

    def __init__(self, *, max_length: int, **options: Any) -> None:
        super().__init__(max_length=max_length, **options)
        self._max_length = max_length

    def to_internal_value(self, data: Any) -> list[Any]:
        """Return the validated items. Raises `ValidationError`."""
        if isinstance(data, list | tuple) and len(data) > self._max_length:
            self.fail("max_length", max_length=self._max_length)
        items: list[Any] = super().to_internal_value(data)
        return items
