"""Search in embedding spaces, and upload of vectors and pictures."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter

import numpy as np
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.permissions import viewer_ids_in_query
from access.scopes import Scope, single_scope
from monitoring.clock import now
from recommendations.api import openapi, responses
from recommendations.api import serializers as s
from recommendations.api.problems import Problem
from recommendations.api.query_parameters import parse_query_parameters
from recommendations.embedders.registry import EmbedderError
from recommendations.ports import ImageError, VectorError
from recommendations.services.serving.search import search
from recommendations.services.vectors.embedding_models import store_vectors
from recommendations.services.vectors.pictures import store_pictures


def get_search_viewer_ids(request: Request) -> Iterable[object]:
    """Return the viewer of a search: from the query string of a GET, from the body of a POST."""
    if request.method == "GET":
        return viewer_ids_in_query(request)
    return [request.data.get("viewer_id")] if isinstance(request.data, dict) else []


class SearchView(APIView):
    """Search for posts by text, post or vector. Texts and pictures share a space, so one finds the other."""

    scopes = single_scope(Scope.FEEDS_READ)
    requested_member_ids = staticmethod(get_search_viewer_ids)

    @openapi.describe_endpoint(
        400,
        404,
        409,
        responses={200: s.PageOut},
        parameters=[s.SearchQuery],
        operation_id="search",
        summary="Search posts by text or by a post",
        tags=["feeds"],
    )
    def get(self, request: Request) -> Response:
        """Return the most similar posts that the viewer may see. A text finds pictures, and a picture finds texts."""
        started = perf_counter()
        page = search(now=now(), **parse_query_parameters(s.SearchQuery, request))
        return Response(responses.serialize_page(page, 1000 * (perf_counter() - started)))

    @openapi.describe_endpoint(
        400,
        404,
        409,
        responses={200: s.PageOut},
        request=s.SearchBody,
        operation_id="search_by_vector",
        summary="Search posts by a vector",
        tags=["feeds"],
    )
    def post(self, request: Request) -> Response:
        """Return the most similar posts that the viewer may see."""
        started = perf_counter()
        body = s.SearchBody(data=request.data)
        body.is_valid(raise_exception=True)
        page = search(now=now(), **body.validated_data)
        return Response(responses.serialize_page(page, 1000 * (perf_counter() - started)))


class VectorsView(APIView):
    """Vectors that the platform computes, such as vectors of pictures."""

    scopes = single_scope(Scope.POSTS_WRITE)

    @openapi.describe_endpoint(
        400,
        404,
        responses={200: s.StoredVectorsOut},
        request=s.VectorsBody,
        operation_id="store_vectors",
        summary="Store vectors of posts from the platform's own embedding model",
        tags=["posts"],
    )
    def put(self, request: Request, space: str) -> Response:
        """Store up to 1000 vectors, or none if one is invalid. A space's first embedding model is active at once."""
        body = s.VectorsBody(data=request.data)
        body.is_valid(raise_exception=True)
        items = body.validated_data["vectors"]
        if len({len(item["vector"]) for item in items}) > 1:
            raise Problem("The vectors differ in length.", status=400, code="invalid-vectors", pointer="/vectors")
        vectors = np.array([item["vector"] for item in items], np.float64)
        ids = [item["post_id"] for item in items]
        try:
            unknown = store_vectors(
                space=space, model=body.validated_data["embedding_model"], post_ids=ids, vectors=vectors, now=now()
            )
        except VectorError as error:
            raise Problem(str(error), status=400, code="invalid-vectors", pointer="/vectors") from error
        return Response({"stored": len(ids) - len(unknown), "unknown_post_ids": unknown})


class PicturesView(APIView):
    """Pictures to embed with the service's own embedding model."""

    scopes = single_scope(Scope.POSTS_WRITE)
    items_per_unit = 1
    """A picture takes longer to decode and embed than a feed."""

    @openapi.describe_endpoint(
        400,
        404,
        409,
        responses={200: s.StoredVectorsOut},
        request=s.PicturesBody,
        operation_id="store_pictures",
        summary="Store the vectors of posts' pictures",
        tags=["posts"],
    )
    def put(self, request: Request, space: str) -> Response:
        """Embed up to 20 pictures with IMAGE_EMBEDDER. Only the vectors are stored, or none if a picture is invalid."""
        body = s.PicturesBody(data=request.data)
        body.is_valid(raise_exception=True)
        items = body.validated_data["pictures"]
        ids = [item["post_id"] for item in items]
        try:
            unknown = store_pictures(space=space, post_ids=ids, pictures=[item["image"] for item in items], now=now())
        except EmbedderError as error:
            raise Problem(str(error), status=409, code="no-image-embedder") from error
        except (ImageError, VectorError) as error:
            raise Problem(str(error), status=400, code="invalid-pictures", pointer="/pictures") from error
        return Response({"stored": len(ids) - len(unknown), "unknown_post_ids": unknown})
