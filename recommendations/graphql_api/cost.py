"""
What a question costs: a unit for each field, as often as its page is long. One that costs too much is not begun.

A page's length is its argument `first`: as written, its default if left out, the longest there is if it is a variable.
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
from strawberry.extensions import AddValidationRules

MAX_COST = 10_000
"""A page of a hundred with every field costs a fifth of it. Changes which questions are answered."""
MAX_PAGE_LENGTH, DEFAULT_PAGE_LENGTH = 100, 20
PAGE_LENGTH_ARGUMENT = "first"


class CostRule(ValidationRule):
    """Adds up a question and refuses it above `MOST_COST`."""

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
        """Look at each operation of the document: any of them may be the one that is run."""
        if self.compute_cost(node.selection_set, 1, frozenset()) > MAX_COST:
            message = f"The question costs more than {MAX_COST:,}: ask for shorter pages or fewer fields."
            self.report_error(GraphQLError(message, node, extensions={"code": "too-costly"}))

    def compute_cost(
        self, selection_set: SelectionSetNode | None, multiplier: int, fragment_names: frozenset[str]
    ) -> int:
        """Return what these fields cost, *times* each; a fragment within itself (refused elsewhere) counts once."""
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
    """Return how long the page of a field is; 1 for one that has no pages."""
    given = next(
        (argument.value for argument in node.arguments or () if argument.name.value == PAGE_LENGTH_ARGUMENT), None
    )
    if given is None:
        return DEFAULT_PAGE_LENGTH if node.name.value.endswith(("Feed", "feed", "Posts", "Search")) else 1
    return max(1, min(int(given.value), MAX_PAGE_LENGTH)) if isinstance(given, IntValueNode) else MAX_PAGE_LENGTH


class CostLimiter(AddValidationRules):
    """The rule as an extension of the schema."""

    def __init__(self) -> None:
        super().__init__([CostRule])
