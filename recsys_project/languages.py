"""The language of a page: that of the language switch (a cookie), else that of the browser, else English."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase
from django.utils import translation
from django.utils.cache import patch_vary_headers

ALWAYS_ENGLISH = (
    "/api/", "/ofrep/", "/graphql", "/docs/", "/livez", "/readyz", "/workersz", "/metrics", "/alertmanager",
)  # fmt: skip
"""
The beginnings of the paths that programs and their developers read. Their problems and descriptions are in English.
The reasons of recommendations have a language of their own (`access.languages`).
"""


class LanguageMiddleware:
    """
    Translates pages. Differs from Django's LocaleMiddleware in two ways.

    The language ends with the request: Django's stays active in the thread and would translate what runs there next.
    Requests of programs are not translated.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(ALWAYS_ENGLISH):
            return self.get_response(request)
        language = translation.get_language_from_request(request)
        with translation.override(language):
            response = self.get_response(request)
        response.headers.setdefault("Content-Language", language)
        patch_vary_headers(response, ("Accept-Language", "Cookie"))
        return response
