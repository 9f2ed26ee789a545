"""Posts, for the platform that owns them: create, update, read and remove."""

from __future__ import annotations

from dataclasses import asdict

from rest_framework.response import Response

from access.inputs import Request
from access.scopes import Scope, read_write_scopes
from access.views import APIView, takes
from monitoring.clock import now
from recommendations.api import openapi
from recommendations.api import serializers as s
from recommendations.api.upserts import parse_item, parse_items, upsert_item_response, upsert_items_response
from recommendations.services.content import posts, publish


class PostsView(APIView):
    """The collection of posts."""

    scopes = read_write_scopes(Scope.POSTS_READ, Scope.POSTS_WRITE)

    @openapi.describe_endpoint(
        400,
        responses={200: s.ItemResultsOut, 207: s.ItemResultsOut},
        request=s.PostsBody,
        operation_id="upsert_posts",
        summary="Create or update posts",
        tags=["posts"],
    )
    @takes(body=parse_items("posts"))
    def post(self, request: Request) -> Response:
        """
        Create or update up to 1000 posts. Status 207 if some were rejected. Omitted fields keep their value.

        Sending the same posts again changes nothing. A post with a new text is embedded within seconds.
        """
        return upsert_items_response("posts", request)


class PostView(APIView):
    """One post."""

    scopes = read_write_scopes(Scope.POSTS_READ, Scope.POSTS_WRITE)

    @openapi.describe_endpoint(
        404, responses={200: s.StoredPostOut}, operation_id="read_post", summary="Read a post", tags=["posts"]
    )
    def get(self, request: Request, post_id: str) -> Response:
        """Return all stored fields of the post. For the platform: no viewer's visibility rules apply."""
        return Response(asdict(posts.read_post(post_id=post_id)))

    @openapi.describe_endpoint(
        400,
        responses={200: s.ItemResultOut, 201: s.ItemResultOut},
        request=s.PostIn(partial=True),
        operation_id="upsert_post",
        summary="Create or update a post",
        tags=["posts"],
    )
    @takes(body=parse_item)
    def put(self, request: Request, post_id: str) -> Response:
        """Create the post (201), or update the given fields (200)."""
        return upsert_item_response("posts", request, post_id)

    @openapi.describe_endpoint(
        404, responses={204: None}, operation_id="remove_post", summary="Remove a post", tags=["posts"]
    )
    def delete(self, request: Request, post_id: str) -> Response:
        """Remove the post from every feed, from the next request on. The row stays; an erase_posts job deletes it."""
        publish.remove_posts(post_ids=[posts.get_post_pk(post_id)], now=now())
        return Response(status=204)
