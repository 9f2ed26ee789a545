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

MOST_COST = 10_000
"""A page of a hundred with every field costs a fifth of it. Changes which questions are answered."""
LONGEST, USUAL = 100, 20
PAGED = "first"


class CostRule(ValidationRule):
    """Adds up a question and refuses it above `MOST_COST`."""

    def enter_operation_definition(self, node: OperationDefinitionNode, *_: Any) -> None:
        """Look at each operation of the document: any of them may be the one that is run."""
        if self.cost_of(node.selection_set, 1, frozenset()) > MOST_COST:
            message = f"The question costs more than {MOST_COST:,}: ask for shorter pages or fewer fields."
            self.report_error(GraphQLError(message, node, extensions={"code": "too-costly"}))

    def cost_of(self, selected: SelectionSetNode | None, times: int, within: frozenset[str]) -> int:
        """Return what these fields cost, *times* each; a fragment within itself (refused elsewhere) counts once."""
        cost = 0
        for node in selected.selections if selected else ():
            if isinstance(node, FieldNode):
                cost += times + self.cost_of(node.selection_set, times * length_of(node), within)
            elif isinstance(node, InlineFragmentNode):
                cost += self.cost_of(node.selection_set, times, within)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in within:
                fragment = self.context.get_fragment(node.name.value)
                cost += self.cost_of(fragment.selection_set if fragment else None, times, within | {node.name.value})
            if cost > MOST_COST:
                break
        return cost


def length_of(node: FieldNode) -> int:
    """Return how long the page of a field is; 1 for one that has no pages."""
    given = next((argument.value for argument in node.arguments or () if argument.name.value == PAGED), None)
    if given is None:
        return USUAL if node.name.value.endswith(("Feed", "feed", "Posts", "Search")) else 1
    return max(1, min(int(given.value), LONGEST)) if isinstance(given, IntValueNode) else LONGEST


class CostLimiter(AddValidationRules):
    """The rule as an extension of the schema."""

    def __init__(self) -> None:
        super().__init__([CostRule])
