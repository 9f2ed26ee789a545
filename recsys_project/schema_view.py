"""
The OpenAPI schema and the page that shows it.

Both change only with the release, and anyone may request them. So a process renders and compresses each of them once:
to generate the schema takes two hundred times as long as a health check.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.http import HttpResponse
from django.middleware.gzip import re_accepts_gzip
from django.template.loader import render_to_string
from django.urls import reverse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from access.conditional_requests import client_has_current


@dataclass(frozen=True, slots=True)
class Document:
    """A document that does not change while the process runs."""

    content_type: str
    content: bytes
    compressed: bytes
    etag: str
    """The same for both forms, so it is sent as a weak one."""


def build_document(content_type: str, content: bytes) -> Document:
    """Return the document with its compressed form and its ETag."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return Document(content_type, content, gzip.compress(content), etag)


def document_response(request: Request, document: Document, **headers: str) -> HttpResponse:
    """Return the document in a form that the client accepts, or a 304 if the client has it."""
    headers |= {"ETag": f"W/{document.etag}", "Vary": "Accept, Accept-Encoding", "Cache-Control": "public, no-cache"}
    if client_has_current(request, document.etag):
        return HttpResponse(status=304, headers=headers)
    if re_accepts_gzip.search(request.headers.get("Accept-Encoding", "")):
        headers["Content-Encoding"] = "gzip"
    content = document.compressed if "Content-Encoding" in headers else document.content
    return HttpResponse(content, content_type=document.content_type, headers=headers)


class SchemaView(SpectacularAPIView):
    """The OpenAPI schema."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *_: Any, **__: Any) -> HttpResponse:
        """Return the schema as YAML or JSON."""
        name = self._get_filename(request, None)  # type: ignore[no-untyped-call]
        schema = render_schema(type(request.accepted_renderer))  # type: ignore[arg-type]
        return document_response(request, schema, **{"Content-Disposition": f'inline; filename="{name}"'})


@cache
def render_schema(renderer: type[BaseRenderer]) -> Document:
    """Return the schema as this renderer writes it."""
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    content = bytes(renderer().render(schema, renderer.media_type, {}))  # type: ignore[arg-type]
    return build_document(str(renderer.media_type), content)


class DocsView(SpectacularSwaggerView):
    """The page that shows the schema. Its script is a document of its own: no page has an inline script."""

    template_name = "access/api_docs.html"
    page: Document | None = None
    """The page as this process has rendered it."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *_: Any, **__: Any) -> HttpResponse:
        """Return the page."""
        cls = type(self)
        if cls.page is None:
            cls.page = self.render_page(super().get(request).data)  # type: ignore[no-untyped-call]
        return document_response(request, cls.page)

    def render_page(self, context: dict[str, Any]) -> Document:
        """Return the document. *context* are the values of the templates."""
        html = render_to_string(self.template_name, context | {"script_url": reverse("docs-script")})
        return build_document("text/html; charset=utf-8", html.encode())

    def _get_schema_url(self, request: Request) -> str:
        """Return the URL of the schema, without the parameters of whoever requests the page first."""
        return reverse("schema")


class DocsScriptView(DocsView):
    """The script of the page that shows the schema."""

    page = None

    def render_page(self, context: dict[str, Any]) -> Document:
        """Return the document. *context* are the values of the templates."""
        return build_document(
            "text/javascript; charset=utf-8", render_to_string(self.template_name_js, context).encode()
        )
