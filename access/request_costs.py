"""
The cost of a request in quota units: one, plus one for every `ITEMS_PER_UNIT` items that its body lists.

The rate limits count units, so a request that does the work of many counts as many. The rule needs no knowledge of the
endpoint: a new bulk route is counted like the others. A view may have `items_per_unit` for items that cost more or less
(None if it counts them itself), and `extra_cost(request)` for work that the body does not list. A GraphQL request costs
the same as the REST requests that do its work (`recommendations/graphql_api/cost.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from access.inputs import Request

ITEMS_PER_UNIT = 10
"""Items of a list that count as one request. 1,000 events take eight times as long as one (200 and 25 ms on two busy
cores), and a worker learns from each of them later."""
WHOLE_TABLE_COST = 100
"""Extra cost of a job that names no items, such as a feed for every member: that of a bulk request of 1,000."""
FILE_COST = 10
"""Extra cost of a file with everything about a member (up to tens of thousands of rows), or of a candidate pack."""
MAX_VECTOR_LENGTH = 4096
"""Numbers in a vector, which counts as one item."""
METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


def request_cost(request: Request, view: Any) -> int:
    """Return the cost of the request in units, at least 1. Raises `APIException` for a body that cannot be parsed."""
    extra: int = view.extra_cost(request) if hasattr(view, "extra_cost") else 0
    items_per_unit = getattr(view, "items_per_unit", ITEMS_PER_UNIT)
    if request.method not in METHODS_WITH_BODY or items_per_unit is None:
        return 1 + extra
    return 1 + extra + request.inputs.item_count // items_per_unit


def count_items(value: object) -> int:
    """Return the number of items in the outermost lists of a JSON value. Lists within items are not counted."""
    if isinstance(value, Mapping):
        return sum(map(count_items, value.values()))
    return count_list(value) if isinstance(value, list) else 0


def count_list(items: Sequence[object]) -> int:
    """Return the number of items in a list: its length, or 0 for the numbers of one vector."""
    is_vector = len(items) <= MAX_VECTOR_LENGTH and all(isinstance(item, int | float) for item in items)
    return 0 if is_vector else len(items)
