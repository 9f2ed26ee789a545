"""
The limits of a GraphQL document, and the cost of its operation. Both are computed before validation and execution.

`read_operation` visits every selection of a document once: what a fragment adds is computed once and multiplied where
the fragment is spread. So its time grows with the length of the document, whatever the document asks for.

Two costs are different. The *response cost* limits the size of a response: one per field, multiplied by the lengths of
the pages around it. A page length is the argument `first`: the literal value, the default if omitted, the maximum for a
variable. The *units* count against the rate limit: each field of the root costs what the REST request that does the
same work costs (`access/request_costs.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import GraphQLError, parse
from graphql.language import (
    DocumentNode,
    FieldNode,
    FloatValueNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
)

from access.request_costs import ITEMS_PER_UNIT, WHOLE_TABLE_COST, count_list
from recommendations.api.serializers import MAX_ITEMS
from recommendations.services.work import MAX_JOB_ITEMS

MAX_LENGTH, MAX_TOKENS = 20_000, 2_000
"""Characters and tokens of a document: several times the largest query for a page of a feed."""
MAX_ALIASES, MAX_DEPTH, MAX_COST = 10, 10, 10_000
"""Aliases, nested fields and response cost of an operation. A page of 100 with every field costs 2,000."""
MAX_NESTING = 50
"""Fields and fragments within each other. It bounds the recursion of `SelectionMeter`."""
MAX_PAGE_LENGTH = 100
PAGE_LENGTH_ARGUMENT = "first"
DEFAULT_PAGE_LENGTHS = {
    "discoveryFeed": 20,
    "wasmDiscoveryFeed": 20,
    "feed": 20,
    "followRequests": 20,
    "similarPosts": 10,
    "crossModalSearch": 10,
}
"""The fields with pages and the lengths of their default pages, as the schema declares them (a test compares)."""
MAX_PAGE_DIGITS = 9
LIST_LIMITS = {"memberIds": MAX_JOB_ITEMS, "vector": 4096}
"""Maximum length of a list by the argument's name. Other lists have at most `MAX_ITEMS` items."""
JOB_FIELD, JOB_ITEMS_ARGUMENT = "batchDiscoveryFeeds", "memberIds"


@dataclass(frozen=True, slots=True)
class Weight:
    """What a selection adds to an operation."""

    response_cost: int = 0
    aliases: int = 0
    depth: int = 0
    """Levels of fields with selections."""

    def __add__(self, other: Weight) -> Weight:
        return Weight(
            self.response_cost + other.response_cost, self.aliases + other.aliases, max(self.depth, other.depth)
        )


@dataclass(frozen=True, slots=True)
class Operation:
    """The operation of a request, within the limits."""

    document: DocumentNode
    units: int
    """The cost of the fields in units of the rate limit, at least 1."""
    is_mutation: bool
    is_introspection: bool
    """Whether the operation reads only the schema, so that its result is always the same."""


def read_operation(query: str, variables: Mapping[str, Any], name: str | None) -> Operation:
    """
    Return the operation *name* of the document *query*, or its only operation.

    Raises `GraphQLError` for a document that is above a limit, has no such operation or is no GraphQL.
    """
    if len(query) > MAX_LENGTH:
        raise GraphQLError(f"The query has {len(query):,} characters. Send at most {MAX_LENGTH:,}.")
    document = parse(query, max_tokens=MAX_TOKENS)
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    meter = SelectionMeter(fragments)
    for operation in operations:
        check_limits(operation, meter.measure(operation.selection_set))
    operation = find_operation(operations, name)
    given = default_values(operation) | dict(variables)
    fields = list(root_fields(operation.selection_set, fragments))
    return Operation(
        document,
        max(1, sum(field_units(field, given) for field in fields)),
        operation.operation is OperationType.MUTATION,
        all(is_introspection(field) for field in fields),
    )


def find_operation(operations: Iterable[OperationDefinitionNode], name: str | None) -> OperationDefinitionNode:
    """Return the operation with this name, or the only one if *name* is None. Raises `GraphQLError`."""
    found = [node for node in operations if name is None or (node.name and node.name.value == name)]
    if not found:
        raise GraphQLError("The query has no operation." if name is None else f"The query has no operation {name!r}.")
    if len(found) > 1:
        raise GraphQLError("The query has several operations. Name one of them in operationName.")
    if found[0].operation is OperationType.SUBSCRIPTION:
        raise GraphQLError("Subscriptions are not supported. Send a query or a mutation.", found[0])
    return found[0]


def check_limits(operation: OperationDefinitionNode, weight: Weight) -> None:
    """Raise `GraphQLError` for an operation above a limit."""
    if weight.depth > MAX_DEPTH:
        raise GraphQLError(f"The query is deeper than {MAX_DEPTH} levels.", operation)
    if weight.aliases > MAX_ALIASES:
        raise GraphQLError(f"The query has {weight.aliases:,} aliases. Send at most {MAX_ALIASES}.", operation)
    if weight.response_cost > MAX_COST:
        message = f"The query costs more than {MAX_COST:,}. Request shorter pages or fewer fields."
        raise GraphQLError(message, operation, extensions={"code": "too-costly"})


class SelectionMeter:
    """Measures selections. Each fragment is measured once. Raises `GraphQLError` for fragments that form a cycle."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._weights: dict[str, Weight] = {}
        self._open: set[str] = set()
        """The fragments that are being measured."""

    def measure(self, selection_set: SelectionSetNode | None, nesting: int = 0) -> Weight:
        """Return the weight of all selections of the set; *nesting* fields and fragments are around it."""
        if nesting > MAX_NESTING:
            raise GraphQLError(f"The query has more than {MAX_NESTING} fields and fragments within each other.")
        total = Weight()
        for node in selection_set.selections if selection_set else ():
            total += self.measure_selection(node, nesting + 1)
        return total

    def measure_selection(self, node: SelectionNode, nesting: int) -> Weight:
        """Return the weight of a field, an inline fragment or a spread."""
        if isinstance(node, FragmentSpreadNode):
            return self.measure_fragment(node, nesting)
        assert isinstance(node, FieldNode | InlineFragmentNode)
        inner = self.measure(node.selection_set, nesting)
        if isinstance(node, InlineFragmentNode):
            return inner
        # graphql-core limits the depth of introspection: the usual query of tools is deeper than any other.
        depth = inner.depth + 1 if node.selection_set and not is_introspection(node) else 0
        aliases = inner.aliases + (node.alias is not None)
        return Weight(1 + read_page_length(node) * inner.response_cost, aliases, depth)

    def measure_fragment(self, spread: FragmentSpreadNode, nesting: int) -> Weight:
        """Return the weight of the fragment, or none for an unknown fragment: the validation reports it."""
        name = spread.name.value
        if name in self._open:
            raise GraphQLError(f"The fragment {name} contains itself.", spread)
        if name not in self._weights and name in self._fragments:
            self._open.add(name)
            self._weights[name] = self.measure(self._fragments[name].selection_set, nesting)
            self._open.remove(name)
        return self._weights.get(name, Weight())


def is_introspection(field: FieldNode) -> bool:
    """Return whether the field reads the schema."""
    return field.name.value.startswith("__")


def read_page_length(node: FieldNode) -> int:
    """Return the page length of a field, or 1 for a field without pages."""
    value = next(
        (argument.value for argument in node.arguments or () if argument.name.value == PAGE_LENGTH_ARGUMENT), None
    )
    if value is None:
        return DEFAULT_PAGE_LENGTHS.get(node.name.value, 1)
    if not isinstance(value, IntValueNode) or len(value.value) > MAX_PAGE_DIGITS:
        return MAX_PAGE_LENGTH
    return max(1, min(int(value.value), MAX_PAGE_LENGTH))


def root_fields(
    selection_set: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> Iterator[FieldNode]:
    """Yield the fields that will be executed: one for each name in the response. A fragment is read once."""
    todo: list[SelectionNode] = list(selection_set.selections)
    names: set[str] = set()
    read_fragments: set[str] = set()
    while todo:
        node = todo.pop()
        if isinstance(node, FieldNode):
            name = (node.alias or node.name).value
            if name not in names:
                yield node
            names.add(name)
        elif isinstance(node, InlineFragmentNode):
            todo += node.selection_set.selections
        elif isinstance(node, FragmentSpreadNode) and node.name.value not in read_fragments:
            read_fragments.add(node.name.value)
            if fragment := fragments.get(node.name.value):
                todo += fragment.selection_set.selections


def default_values(operation: OperationDefinitionNode) -> dict[str, Any]:
    """Return the default values of the operation's variables, as nodes."""
    return {node.variable.name.value: node.default_value for node in operation.variable_definitions or ()}


def field_units(field: FieldNode, variables: Mapping[str, Any]) -> int:
    """Return the units of a field of the root, by the lists in its arguments. Raises `GraphQLError` for a long list."""
    items = {node.name.value: count_argument(node.name.value, node.value, variables) for node in field.arguments or ()}
    units = 1 + sum(items.values()) // ITEMS_PER_UNIT
    if field.name.value == JOB_FIELD and not items.get(JOB_ITEMS_ARGUMENT):
        units += WHOLE_TABLE_COST
    return 0 if is_introspection(field) else units


def count_argument(name: str, value: object, variables: Mapping[str, Any]) -> int:
    """
    Return the items in the outermost lists of an argument's value, a node of the document or the value of a variable.

    Raises `GraphQLError` for a list above its limit, before anything reads its items.
    """
    if isinstance(value, VariableNode):
        # A default value contains no variables.
        return count_argument(name, variables.get(value.name.value), {})
    if isinstance(value, ObjectValueNode):
        return sum(count_argument(node.name.value, node.value, variables) for node in value.fields)
    if isinstance(value, dict):
        return sum(count_argument(key, item, variables) for key, item in value.items())
    items: Any = value.values if isinstance(value, ListValueNode) else value
    if not isinstance(items, list | tuple):
        return 0
    if len(items) > (limit := LIST_LIMITS.get(name, MAX_ITEMS)):
        message = f"{name} has {len(items):,} items. Send at most {limit:,}."
        raise GraphQLError(message, extensions={"code": "invalid-request", "pointer": f"/{name}"})
    return count_list([number_or_node(item) for item in items])


def number_or_node(item: object) -> object:
    """Return 0 for a number that is written in the document, so that a vector is recognized, else the item."""
    return 0 if isinstance(item, IntValueNode | FloatValueNode) else item
