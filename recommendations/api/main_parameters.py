"""The main parameters of the feeds, as a page for everybody and as JSON."""

from __future__ import annotations

from dataclasses import asdict

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import override
from django.views.decorators.http import require_safe
from rest_framework import serializers
from rest_framework.response import Response

from access.inputs import Request
from access.languages import choose_language
from access.scopes import Scope, single_scope
from access.typed_fields import TypedField
from access.views import APIView, takes
from recommendations.api import openapi, responses
from recommendations.services.errors import UnknownPolicy
from recommendations.services.explaining.main_parameters import describe_main_parameters
from values.types import whole_number_from


class MainParametersQuery(serializers.Serializer):
    """Query parameters of the main parameters."""

    variant = serializers.SlugField(
        max_length=64, required=False, default="", help_text="An earlier version of this variant. Default: all active."
    )
    version = TypedField(whole_number_from(0, 2**31 - 1), required=False, default=0)


class WeighedSignalOut(serializers.Serializer):
    """A signal of a feed, and how much it weighs."""

    name = serializers.CharField(help_text="The name of the score part in explanations.")
    title = serializers.CharField()
    text = serializers.CharField(help_text="What the signal does.")
    change = serializers.CharField(help_text="How a person changes it. Empty: it is the same for all.")
    sentence = serializers.CharField(help_text="The reason that a pick shows for it. Empty: none.")
    is_personal = serializers.BooleanField(help_text="Whether it uses what the member did or chose.")
    weight = serializers.FloatField()
    share = serializers.FloatField(help_text="The weight as a share of the feed's weights, 0 to 1.")


class FeedParametersOut(serializers.Serializer):
    """What decides about a feed."""

    feed = serializers.CharField()
    title = serializers.CharField()
    text = serializers.CharField()
    sources = serializers.ListField(child=serializers.CharField(), help_text="Where its posts come from.")
    signals = WeighedSignalOut(many=True, help_text="Heaviest first.")
    order = serializers.ListField(child=serializers.CharField(), help_text="What changes the order after the score.")
    filters = serializers.ListField(child=serializers.CharField(), help_text="Why a post is not shown.")


class PolicyParametersOut(serializers.Serializer):
    """The feeds of the members who get one variant."""

    variant = serializers.CharField()
    version = serializers.IntegerField()
    since = serializers.DateTimeField(allow_null=True)
    feeds = FeedParametersOut(many=True)


class InteractionWeightOut(serializers.Serializer):
    """How much one kind of interaction counts in what is learned."""

    kind = serializers.CharField()
    weight = serializers.FloatField()
    share = serializers.FloatField()
    needs_adult = serializers.BooleanField(help_text="Whether it counts only for members known to be adults.")


class PolicyVersionOut(serializers.Serializer):
    """A version of a policy."""

    variant = serializers.CharField()
    version = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    is_active = serializers.BooleanField()


class MainParametersOut(serializers.Serializer):
    """The main parameters of all feeds."""

    version = serializers.CharField(help_text="A hash of the content: it changes with each change.")
    policies = PolicyParametersOut(many=True)
    interactions = InteractionWeightOut(many=True)
    history = PolicyVersionOut(many=True, help_text="The newest versions of policies, newest first.")


class MainParametersView(APIView):
    """The main parameters of the feeds."""

    scopes = single_scope(Scope.FEEDS_READ)

    @openapi.describe_endpoint(
        400,
        404,
        responses={200: MainParametersOut},
        parameters=openapi.LANGUAGE_HEADERS,
        operation_id="read_main_parameters",
        summary="Read what decides about each feed",
        tags=["policies"],
    )
    @takes(query=MainParametersQuery(), member_ids=lambda inputs: ())
    def get(self, request: Request) -> Response:
        """Return what each signal does, how much it weighs, and how a person changes it, in plain language."""
        language = choose_language(request.headers.get("Accept-Language", ""), ())
        with override(language):
            content = asdict(describe_main_parameters(**request.inputs.query))
        return Response(content, headers=responses.language_headers(language))


@require_safe
def main_parameters_page(request: HttpRequest, variant: str = "", version: int = 0) -> HttpResponse:
    """Return the page. Anybody may read it: it says nothing about a member."""
    try:
        parameters = describe_main_parameters(variant=variant, version=version)
    except UnknownPolicy as error:
        return HttpResponse(str(error), status=404, content_type="text/plain; charset=utf-8")
    context = {"parameters": parameters, "is_earlier": bool(variant)}
    return render(request, "recommendations/main_parameters.html", context)
