"""A validation rule for the values that are written in a query. `view.parse_request` checks the variables."""

from __future__ import annotations

from typing import Any

from graphql import GraphQLError
from graphql.language import StringValueNode
from graphql.validation import ValidationRule

from recommendations.storable_text import storage_problem


class StorableTextRule(ValidationRule):
    """Reject a document with a string that no database can store."""

    def enter_string_value(self, node: StringValueNode, *_: Any) -> None:
        """Check one string of the document."""
        if problem := storage_problem(node.value):
            self.report_error(GraphQLError(f"A string of the query {problem}.", node))
