"""The base of the API's views, and the declaration of what an operation takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.http import HttpRequest
from drf_spectacular.utils import extend_schema
from rest_framework import views
from rest_framework.serializers import Serializer

from access.inputs import Inputs, Operation, Request

NO_INPUTS = Operation()
F = TypeVar("F", bound=Callable[..., Any])


def takes(
    *,
    query: Serializer[Any] | None = None,
    body: Serializer[Any] | Callable[[Any], Any] | None = None,
    member_ids: Callable[[Inputs], Iterable[object]] | None = None,
) -> Callable[[F], F]:
    """
    Return a decorator that declares the inputs of a method of a view; see `Operation`.

    The method reads them from `request.inputs`. The OpenAPI schema gets the query, and the body if it is a serializer.
    """

    def declare(method: F) -> F:
        described = extend_schema(parameters=[query])(method) if query else method
        if isinstance(body, Serializer):
            described = extend_schema(request=body)(described)
        parse_body = body.run_validation if isinstance(body, Serializer) else body
        described.operation = Operation(query, parse_body, member_ids)  # type: ignore[attr-defined]
        return described

    return declare


class APIView(views.APIView):
    """DRF's view with requests whose inputs are parsed once, as the method declares with `takes`."""

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """Return the request with its inputs. A HEAD request has those of GET."""
        operation = getattr(getattr(self, (request.method or "").lower(), None), "operation", NO_INPUTS)
        api_request = Request(
            request,
            authenticators=self.get_authenticators(),
            negotiator=self.get_content_negotiator(),
            parser_context=self.get_parser_context(request),
        )
        api_request.inputs = Inputs(request, kwargs, operation)
        return api_request

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Check the content type before the credentials, and the credentials before the inputs are read."""
        request.inputs.require_known_content_type()
        super().initial(request, *args, **kwargs)
        # A method that the view does not have gets a 405, and OPTIONS is about every method.
        if request.method != "OPTIONS" and hasattr(self, (request.method or "").lower()):
            request.inputs.refuse_undeclared_query()
