"""URLs of the REST API and of the explorer."""

from typing import Never

from django.urls import path, re_path, register_converter
from django.urls.converters import StringConverter
from django.views.generic import RedirectView
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound

from access.inputs import Request
from access.views import APIView
from recommendations.api.candidate_packs import CandidatePackView, PackKeysView
from recommendations.api.demo_pictures import demo_picture
from recommendations.api.erasures import ErasuresView, ErasureView
from recommendations.api.explorer import explorer_page, graphql_console_page, on_device_page
from recommendations.api.feeds import ExplainView, FeedView, SimilarView
from recommendations.api.interactions import InteractionsView, SeenView
from recommendations.api.jobs import JobEventsView, JobFailuresView, JobResultView, JobRetryView, JobsView, JobView
from recommendations.api.main_parameters import MainParametersView, main_parameters_page
from recommendations.api.members import (
    FollowRequestsView,
    FollowRequestView,
    MembersView,
    MemberView,
    PreferencesView,
    ProfileResetView,
    RelationshipView,
    ShowLessEffectsView,
)
from recommendations.api.policies import PolicyDetailView, PolicyListView
from recommendations.api.posts import PostsView, PostView
from recommendations.api.previews import FeedPreviewView
from recommendations.api.product import ProductReportView, product_page
from recommendations.api.profile_files import ProfileFileView
from recommendations.api.spaces import PicturesView, SearchView, VectorsView
from values.types import Id, read


@extend_schema(exclude=True)
class NotFoundView(APIView):
    """Return a problem instead of an HTML page for an unknown URL."""

    def initial(self, request: Request, *args: object, **kwargs: object) -> Never:  # type: ignore[override]
        raise NotFound


class IdConverter(StringConverter):
    """An id in a URL, which may contain a slash. Nothing is found under a text that is no id (`values.types.Id`)."""

    regex = r".+"

    def to_python(self, value: str) -> str:
        """Return the id. Raises `ValueError`, so that the URL does not exist."""
        return str(read(Id, value))


register_converter(IdConverter, "id")

# Django tries the patterns in order, so the most frequent come first.
urlpatterns = [
    path("api/v1/members/<id:member_id>/feed", FeedView.as_view(), name="api-feed"),
    path("api/v1/interactions", InteractionsView.as_view(), name="api-interactions"),
    path("", RedirectView.as_view(pattern_name="explorer")),
    path("explore/", explorer_page, name="explorer"),
    path(
        "explore/remote-pictures/",
        explorer_page,
        {"has_remote_pictures": True},
        name="explorer-remote-pictures",
    ),
    path("explore/graphql/", graphql_console_page, name="graphql-console"),
    path("explore/on-device/", on_device_page, name="on-device"),
    path("demo/pictures/<slug:name>/<int:number>.svg", demo_picture, name="demo-picture"),
    path("main-parameters/", main_parameters_page, name="main-parameters"),
    path("main-parameters/<slug:variant>/<int:version>/", main_parameters_page, name="main-parameters-version"),
    path("api/v1/main-parameters", MainParametersView.as_view(), name="api-main-parameters"),
    path("api/v1/members", MembersView.as_view(), name="api-members"),
    path("api/v1/members/<id:member_id>/seen", SeenView.as_view(), name="api-seen"),
    path("api/v1/members/<id:member_id>/preferences", PreferencesView.as_view(), name="api-preferences"),
    path(
        "api/v1/members/<id:member_id>/relationships/<slug:kind>/<id:target_id>",
        RelationshipView.as_view(),
        name="api-relationship",
    ),
    path("api/v1/members/<id:member_id>/follow-requests", FollowRequestsView.as_view(), name="api-follow-requests"),
    path(
        "api/v1/members/<id:member_id>/follow-requests/<id:requester_id>",
        FollowRequestView.as_view(),
        name="api-follow-request",
    ),
    path("api/v1/members/<id:member_id>/candidate-pack", CandidatePackView.as_view(), name="api-candidate-pack"),
    path("api/v1/candidate-pack-keys", PackKeysView.as_view(), name="api-candidate-pack-keys"),
    path("api/v1/members/<id:member_id>/profile", ProfileFileView.as_view(), name="api-profile"),
    path("api/v1/members/<id:member_id>/reset", ProfileResetView.as_view(), name="api-reset"),
    path(
        "api/v1/members/<id:member_id>/show-less-effects", ShowLessEffectsView.as_view(), name="api-show-less-effects"
    ),
    # After the other URLs of a member, because an id may contain a slash.
    path("api/v1/members/<id:member_id>", MemberView.as_view(), name="api-member"),
    path("api/v1/posts/<id:post_id>/similar", SimilarView.as_view(), name="api-similar"),
    path("api/v1/posts", PostsView.as_view(), name="api-posts"),
    path("api/v1/posts/<id:post_id>", PostView.as_view(), name="api-post"),
    path("api/v1/requests/<uuid:request_id>/explain/<id:post_id>", ExplainView.as_view(), name="api-explain"),
    path("api/v1/feed-preview", FeedPreviewView.as_view(), name="api-feed-preview"),
    path("api/v1/search", SearchView.as_view(), name="api-search"),
    path("api/v1/spaces/<slug:space>/pictures", PicturesView.as_view(), name="api-pictures"),
    path("api/v1/spaces/<slug:space>/vectors", VectorsView.as_view(), name="api-vectors"),
    path("api/v1/jobs", JobsView.as_view(), name="api-jobs"),
    path("api/v1/jobs/<uuid:job_id>", JobView.as_view(), name="api-job"),
    path("api/v1/jobs/<uuid:job_id>/events", JobEventsView.as_view(), name="api-job-events"),
    path("api/v1/jobs/<uuid:job_id>/failures", JobFailuresView.as_view(), name="api-job-failures"),
    path("api/v1/jobs/<uuid:job_id>/result", JobResultView.as_view(), name="api-job-result"),
    path("api/v1/jobs/<uuid:job_id>/retry", JobRetryView.as_view(), name="api-job-retry"),
    path("api/v1/erasures", ErasuresView.as_view(), name="api-erasures"),
    path("api/v1/erasures/<uuid:erasure_id>", ErasureView.as_view(), name="api-erasure"),
    path("product/", product_page, name="product"),
    path("product/<int:days>/", product_page, name="product-days"),
    path("api/v1/product-report", ProductReportView.as_view(), name="api-product-report"),
    path("api/v1/policies", PolicyListView.as_view(), name="api-policies"),
    path("api/v1/policies/<slug:variant>", PolicyDetailView.as_view(), name="api-policy"),
]

not_found_urlpatterns = [
    # /api/docs without a trailing slash is left to Django's redirect.
    re_path(r"^api/(?!docs$|schema$)", NotFoundView.as_view()),
]
"""Comes after the patterns of every app."""
