"""
The cost of a GraphQL query: one per field, multiplied by the page lengths around it. Costly queries are not executed.

The length of a page is its argument `first`: the literal value, the default if omitted, the maximum for a variable.
"""

from __future__ import annotations

from typing import Any

from graphql import GraphQLError
from graphql.language import (
    FieldNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
)
from graphql.validation import ValidationRule

MAX_COST = 10_000
"""Maximum cost of a query. A page of 100 with every field costs a fifth of it."""
MAX_PAGE_LENGTH, DEFAULT_PAGE_LENGTH = 100, 20
PAGE_LENGTH_ARGUMENT = "first"


class CostRule(ValidationRule):
    """Reject a document with an operation that costs more than `MAX_COST`."""

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
        """Check each operation of the document, because any of them may be executed."""
        if self.compute_cost(node.selection_set, 1, frozenset()) > MAX_COST:
            message = f"The query costs more than {MAX_COST:,}. Request shorter pages or fewer fields."
            self.report_error(GraphQLError(message, node, extensions={"code": "too-costly"}))

    def compute_cost(
        self, selection_set: SelectionSetNode | None, multiplier: int, fragment_names: frozenset[str]
    ) -> int:
        """
        Return the cost of a selection set, with *multiplier* per field.

        *fragment_names* are the fragments around it: a recursive fragment (rejected by another rule) counts once.
        """
        cost = 0
        for node in selection_set.selections if selection_set else ():
            if isinstance(node, FieldNode):
                cost += multiplier + self.compute_cost(
                    node.selection_set, multiplier * read_page_length(node), fragment_names
                )
            elif isinstance(node, InlineFragmentNode):
                cost += self.compute_cost(node.selection_set, multiplier, fragment_names)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in fragment_names:
                fragment = self.context.get_fragment(node.name.value)
                cost += self.compute_cost(
                    fragment.selection_set if fragment else None, multiplier, fragment_names | {node.name.value}
                )
            if cost > MAX_COST:
                break
        return cost


def read_page_length(node: FieldNode) -> int:
    """Return the page length of a field, or 1 for a field without pages."""
    value = next(
        (argument.value for argument in node.arguments or () if argument.name.value == PAGE_LENGTH_ARGUMENT), None
    )
    if value is None:
        return DEFAULT_PAGE_LENGTH if node.name.value.endswith(("Feed", "feed", "Posts", "Search")) else 1
    return max(1, min(int(value.value), MAX_PAGE_LENGTH)) if isinstance(value, IntValueNode) else MAX_PAGE_LENGTH
