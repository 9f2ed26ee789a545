"""Posts, as the platform that they come from sends, reads and takes them down."""

from __future__ import annotations

from dataclasses import asdict

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.scopes import Scope, read_write_scopes
from monitoring.clock import now
from recommendations.api import openapi
from recommendations.api import serializers as s
from recommendations.api.upserts import upsert_item_response, upsert_items_response
from recommendations.services.content import posts, publish


class PostsView(APIView):
    """Posts in bulk."""

    scopes = read_write_scopes(Scope.POSTS_READ, Scope.POSTS_WRITE)

    @openapi.describe_endpoint(
        400,
        responses={200: s.ItemResultsOut, 207: s.ItemResultsOut},
        request=s.PostsBody,
        operation_id="send_posts",
        summary="Make or change posts",
        tags=["posts"],
    )
    def post(self, request: Request) -> Response:
        """
        Make or change up to 1000 posts; 207 when some were refused. A field that is left out stays as it is.

        Sending the same again changes nothing. A post that says something new is embedded within seconds.
        """
        return upsert_items_response("posts", request)


class PostView(APIView):
    """One post."""

    scopes = read_write_scopes(Scope.POSTS_READ, Scope.POSTS_WRITE)

    @openapi.describe_endpoint(
        404, responses={200: s.StoredPostOut}, operation_id="post", summary="A post as it is kept", tags=["posts"]
    )
    def get(self, request: Request, post_id: str) -> Response:
        """Return all that is kept of the post. For the platform: no viewer's privacy is heeded here."""
        return Response(asdict(posts.read_post(post_id=post_id)))

    @openapi.describe_endpoint(
        400,
        responses={200: s.ItemResultOut, 201: s.ItemResultOut},
        request=s.PostIn(partial=True),
        operation_id="send_post",
        summary="Make or change a post",
        tags=["posts"],
    )
    def put(self, request: Request, post_id: str) -> Response:
        """Make the post (201) or change the fields that are given (200)."""
        return upsert_item_response("posts", request, post_id)

    @openapi.describe_endpoint(
        404, responses={204: None}, operation_id="take_down_post", summary="Take a post down", tags=["posts"]
    )
    def delete(self, request: Request, post_id: str) -> Response:
        """Show the post to nobody from the next request on. Its row stays; the job erase_posts erases it."""
        publish.remove_posts(post_ids=[posts.get_post_pk(post_id)], now=now())
        return Response(status=204)
