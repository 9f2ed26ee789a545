"""Posts, as the platform that they come from sends, reads and takes them down."""

from __future__ import annotations

from dataclasses import asdict

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.scopes import Scope, reading_and_writing
from monitoring.clock import now
from recommendations.api import schema
from recommendations.api import serializers as s
from recommendations.api.taking_in import answer, answer_one
from recommendations.services.content import posts, publish


class PostsView(APIView):
    """Posts in bulk."""

    scopes = reading_and_writing(Scope.POSTS_READ, Scope.POSTS_WRITE)

    @schema.address(
        400,
        answers={200: s.OutcomesOut, 207: s.OutcomesOut},
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
        return answer("posts", request)


class PostView(APIView):
    """One post."""

    scopes = reading_and_writing(Scope.POSTS_READ, Scope.POSTS_WRITE)

    @schema.address(
        404, answers={200: s.PostRecordOut}, operation_id="post", summary="A post as it is kept", tags=["posts"]
    )
    def get(self, request: Request, post_id: str) -> Response:
        """Return all that is kept of the post. For the platform: no viewer's privacy is heeded here."""
        return Response(asdict(posts.read_post(post_id=post_id)))

    @schema.address(
        400,
        answers={200: s.OutcomeOut, 201: s.OutcomeOut},
        request=s.PostItem(partial=True),
        operation_id="send_post",
        summary="Make or change a post",
        tags=["posts"],
    )
    def put(self, request: Request, post_id: str) -> Response:
        """Make the post (201) or change the fields that are given (200)."""
        return answer_one("posts", request, post_id)

    @schema.address(404, answers={204: None}, operation_id="take_down_post", summary="Take a post down", tags=["posts"])
    def delete(self, request: Request, post_id: str) -> Response:
        """Show the post to nobody from the next request on. Its row stays; the job erase_posts erases it."""
        publish.remove_posts(post_ids=[posts.pk_of(post_id)], now=now())
        return Response(status=204)
