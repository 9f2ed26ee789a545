"""OpenAPI descriptions of the authentication methods and of the scope that each endpoint requires."""

from __future__ import annotations

from typing import Any

from drf_spectacular.authentication import SessionScheme
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema


class KeyOrTokenScheme(OpenApiAuthenticationExtension):
    """An API key or a member token."""

    target_class = "access.authentication.KeyOrToken"
    name = "bearer"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "An API key (rk_…) or a member token (JWT)",
            "description": "Each endpoint names the scope that the key or token needs.",
        }

    def get_security_requirement(self, auto_schema: AutoSchema) -> dict[str, list[Any]]:
        scope = getattr(auto_schema.view, "scopes", {}).get(auto_schema.method)
        return {self.name: [str(scope)] if scope else []}  # type: ignore[dict-item]


class StaffSessionScheme(SessionScheme):
    """The session of the admin."""

    target_class = "access.authentication.StaffSession"
