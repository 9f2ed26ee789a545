"""The address of the OpenAPI schema."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.http import HttpResponse
from django.middleware.gzip import re_accepts_gzip
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.views import SpectacularAPIView
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from access.conditional_requests import client_has_current

HEADERS = {"Vary": "Accept, Accept-Encoding", "Cache-Control": "public, no-cache"}


@dataclass(frozen=True, slots=True)
class RenderedSchema:
    """The schema in one media type."""

    content: bytes
    compressed: bytes
    etag: str
    """The same for both, so it is sent as a weak one."""


class SchemaView(SpectacularAPIView):
    """
    The OpenAPI schema. It changes only with the release, so a process generates and compresses it once.

    Anyone may request it. Generating it takes two hundred times as long as a health check.
    """

    def get(self, request: Request, *_: Any, **__: Any) -> HttpResponse:
        """Return the schema, or a 304 if the client has it."""
        renderer = request.accepted_renderer
        schema = render_schema(type(renderer))
        headers = HEADERS | {"ETag": f"W/{schema.etag}"}
        if client_has_current(request, schema.etag):
            return HttpResponse(status=304, headers=headers)
        headers["Content-Disposition"] = f'inline; filename="{self._get_filename(request, None)}"'
        is_compressed = bool(re_accepts_gzip.search(request.headers.get("Accept-Encoding", "")))
        if is_compressed:
            headers["Content-Encoding"] = "gzip"
        content = schema.compressed if is_compressed else schema.content
        return HttpResponse(content, content_type=renderer.media_type, headers=headers)


@cache
def render_schema(renderer: type[BaseRenderer]) -> RenderedSchema:
    """Return the schema as this renderer writes it."""
    schema = SchemaGenerator().get_schema(request=None, public=True)
    content = renderer().render(schema, renderer.media_type, {})
    return RenderedSchema(content, gzip.compress(content), f'"{hashlib.sha256(content).hexdigest()[:32]}"')
