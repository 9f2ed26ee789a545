"""The endpoint that mints member tokens for a server of the platform."""

from __future__ import annotations

from datetime import UTC, datetime

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.response import Response

from access import tokens
from access.callers import Caller
from access.inputs import Request
from access.limited_fields import LimitedListField
from access.problems import Problem
from access.scopes import MEMBER_SCOPES, Scope, single_scope
from access.typed_fields import TypedField
from access.views import APIView, takes
from monitoring.clock import now
from values.types import whole_number_from


class TokenIn(serializers.Serializer):
    """The member, scopes and lifetime of a token."""

    member_id = serializers.CharField(
        max_length=tokens.MAX_MEMBER_ID_LENGTH, help_text="The platform's id of the member."
    )
    scopes = LimitedListField(
        child=serializers.ChoiceField(sorted(MEMBER_SCOPES)),
        min_length=1,
        max_length=len(MEMBER_SCOPES),
        help_text="Scopes of the token. They cover this member's data only.",
    )
    ttl_seconds = TypedField(
        whole_number_from(1, tokens.MAX_TTL_SECONDS), default=900, help_text="Lifetime of the token, in seconds."
    )


class TokenOut(serializers.Serializer):
    """A token. It is not stored and cannot be read again."""

    token = serializers.CharField(help_text="Send it in the header Authorization: Bearer …")
    member_id = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    expires_at = serializers.DateTimeField()


class TokensView(APIView):
    """Member tokens."""

    scopes = single_scope(Scope.TOKENS_MINT)

    @extend_schema(
        operation_id="mint_token",
        tags=["access"],
        summary="Mint a short-lived token for a member",
        responses={201: TokenOut, (400, "application/problem+json"): Problem},
    )
    @takes(body=TokenIn())
    def post(self, request: Request) -> Response:
        """Return a token that reads and writes this member's data only. Revoking the key revokes the token."""
        fields, issued_at = request.inputs.body, now()
        key_prefix = request.auth.id if isinstance(request.auth, Caller) else None
        token = tokens.mint_token(
            member_id=fields["member_id"],
            scopes=fields["scopes"],
            ttl_seconds=fields["ttl_seconds"],
            now=issued_at,
            key_prefix=key_prefix,
        )
        expires_at = datetime.fromtimestamp(int(issued_at.timestamp()) + fields["ttl_seconds"], UTC)
        content = {"member_id": fields["member_id"], "scopes": sorted(set(fields["scopes"])), "expires_at": expires_at}
        return Response({"token": token} | content, status=201, headers={"Cache-Control": "no-store"})
