"""Tokens for members, minted for a server of the platform."""

from __future__ import annotations

from datetime import UTC, datetime

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access import tokens
from access.callers import Caller
from access.errors import BadRequestError
from access.problems import Problem
from access.scopes import MEMBER_SCOPES, Scope, single_scope
from monitoring.clock import now


class TokenIn(serializers.Serializer):
    """Whom a token is for, and what it may do."""

    member_id = serializers.CharField(
        max_length=tokens.MAX_MEMBER_ID_LENGTH, help_text="The platform's own id of the member."
    )
    scopes = serializers.ListField(
        child=serializers.ChoiceField(sorted(MEMBER_SCOPES)),
        min_length=1,
        max_length=len(MEMBER_SCOPES),
        help_text="What the token may do, with this member's data alone.",
    )
    ttl_seconds = serializers.IntegerField(
        min_value=1, max_value=tokens.MAX_TTL_SECONDS, default=900, help_text="How long it lives."
    )


class TokenOut(serializers.Serializer):
    """A token. It cannot be had again, and need not be: ask for another."""

    token = serializers.CharField(help_text="For the header Authorization: Bearer …")
    member_id = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    expires_at = serializers.DateTimeField()


class TokensView(APIView):
    """Tokens of members."""

    scopes = single_scope(Scope.TOKENS_MINT)

    @extend_schema(
        operation_id="mint_token",
        tags=["access"],
        summary="Make a short-lived token for a member",
        request=TokenIn,
        responses={201: TokenOut, (400, "application/problem+json"): Problem},
    )
    def post(self, request: Request) -> Response:
        """Return a token that reads and writes this member's data only. It ends with its key, if that is revoked."""
        body = TokenIn(data=request.data)
        body.is_valid(raise_exception=True)
        asked, moment = body.validated_data, now()
        minted_by = request.auth.id if isinstance(request.auth, Caller) else None
        try:
            token = tokens.mint_token(
                member_id=asked["member"],
                scopes=asked["scopes"],
                ttl_seconds=asked["ttl_seconds"],
                now=moment,
                key_prefix=minted_by,
            )
        except BadRequestError as error:
            raise serializers.ValidationError({error.field: [str(error)]}) from None
        ends = datetime.fromtimestamp(int(moment.timestamp()) + asked["ttl_seconds"], UTC)
        answer = {"member": asked["member"], "scopes": sorted(set(asked["scopes"])), "expires_at": ends}
        return Response({"token": token} | answer, status=201, headers={"Cache-Control": "no-store"})
