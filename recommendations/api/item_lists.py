"""Lists in a body whose items are validated one by one, so that an invalid item does not reject the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from drf_standardized_errors.formatter import flatten_errors
from rest_framework.exceptions import ValidationError
from rest_framework.fields import Field

from access.problems import problem_body
from recommendations.api import problems


@dataclass
class ParsedItems:
    """The valid items of a list by their position in it, and a rejection for each of the others."""

    name: str
    """Of the list, for pointers."""
    valid: dict[int, Any] = field(default_factory=dict)
    rejections: dict[int, dict[str, Any]] = field(default_factory=dict)

    def reject(self, index: int, detail: str, errors: list[dict[str, str]] | None = None) -> None:
        """Reject the item at *index*."""
        self.valid.pop(index, None)
        errors = errors or [{"detail": detail, "code": "invalid", "pointer": f"/{self.name}/{index}"}]
        problem = problem_body(status=400, code="invalid-item", detail=detail, errors=errors)
        self.rejections[index] = {"index": index, "problem": problem}

    @property
    def status(self) -> int:
        """The status of the response: 207 if some items were rejected."""
        return 207 if self.rejections else 200

    def list_rejections(self) -> list[dict[str, Any]]:
        """Return the rejections, in the order of the list."""
        return [self.rejections[index] for index in sorted(self.rejections)]


def parse_items(body: Mapping[str, Any], name: str, item: Field[Any, Any, Any, Any]) -> ParsedItems:
    """Return the items that *body* lists under *name*, each validated by *item*."""
    parsed = ParsedItems(name)
    for index, content in enumerate(body[name]):
        try:
            parsed.valid[index] = item.run_validation(content)
        except ValidationError as error:
            errors = problems.build_error_items(flatten_errors(error.detail, f"{name}/{index}"), in_body=True)
            parsed.reject(index, " ".join(row["detail"] for row in errors), errors)
    return parsed
