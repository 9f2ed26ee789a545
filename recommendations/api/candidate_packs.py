"""Candidate packs for ranking on a device, and the keys that verify them."""

from __future__ import annotations

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.response import Response

from access.inputs import Request
from access.request_costs import FILE_COST
from access.scopes import Scope, single_scope
from access.views import APIView, takes
from monitoring.clock import now
from recommendations.api import openapi
from recommendations.services.serving.candidate_pack import create_pack, public_keys

MEDIA_TYPE = "application/octet-stream"


class PackKeyOut(serializers.Serializer):
    """A public key as a JSON Web Key (RFC 8037)."""

    kty = serializers.CharField(help_text="OKP.")
    crv = serializers.CharField(help_text="Ed25519.")
    x = serializers.CharField(help_text="The key, in base64url.")
    kid = serializers.CharField(help_text="The id of the key, which the header of a pack names.")
    alg = serializers.CharField(help_text="EdDSA.")
    use = serializers.CharField(help_text="sig.")


class PackKeysOut(serializers.Serializer):
    """The public keys that verify packs, newest first: a JSON Web Key Set (RFC 7517)."""

    keys = PackKeyOut(many=True)


class CandidatePackView(APIView):
    """The candidate pack of one member."""

    scopes = single_scope(Scope.FEEDS_READ)

    def extra_cost(self, request: Request) -> int:
        """Return the extra cost of a pack, which has as many posts as ten pages of a feed."""
        return FILE_COST

    @openapi.describe_endpoint(
        400,
        404,
        409,
        responses={(200, MEDIA_TYPE): OpenApiTypes.BINARY},  # type: ignore[dict-item]
        operation_id="read_candidate_pack",
        summary="Read posts that a device ranks itself",
        tags=["feeds"],
    )
    @takes()
    def get(self, request: Request, member_id: str) -> HttpResponse:
        """
        Return up to 200 posts that the member may see, as a signed file of at most 100 KB.

        docs/on-device.md describes the file. The device ranks the posts by interests that it does not send.
        """
        return HttpResponse(create_pack(member_id=member_id, now=now()), content_type=MEDIA_TYPE)


class PackKeysView(APIView):
    """The public keys of candidate packs."""

    scopes = single_scope(Scope.FEEDS_READ)

    @openapi.describe_endpoint(
        400,
        responses={200: PackKeysOut},
        operation_id="list_candidate_pack_keys",
        summary="Read the public keys that verify candidate packs",
        tags=["feeds"],
    )
    @takes(member_ids=lambda inputs: ())
    def get(self, request: Request) -> Response:
        """Return a JSON Web Key Set. The keys are no secret."""
        return Response({"keys": public_keys()})
