"""Vectors that the platform makes, and search in the spaces that they span."""

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
    """Return whom a search is for: it says so in the query, or with a vector in the body."""
    if request.method == "GET":
        return viewer_ids_in_query(request)
    return [request.data.get("viewer")] if isinstance(request.data, dict) else []


class SearchView(APIView):
    """Posts near a text, a post or a vector, in a space where texts and pictures meet."""

    scopes = single_scope(Scope.FEEDS_READ)
    requested_member_ids = staticmethod(get_search_viewer_ids)

    @openapi.describe_endpoint(
        400,
        404,
        409,
        responses={200: s.PageOut},
        parameters=[s.SearchQuery],
        operation_id="search",
        summary="Posts near a text or a post, in any modality",
        tags=["feeds"],
    )
    def get(self, request: Request) -> Response:
        """Return the nearest posts that the viewer may see: pictures for a text, texts for a picture."""
        started = perf_counter()
        asked = parse_query_parameters(s.SearchQuery, request)
        page = search(viewer_id=asked.pop("viewer"), post_id=asked.pop("post"), now=now(), **asked)
        return Response(responses.serialize_page(page, 1000 * (perf_counter() - started)))

    @openapi.describe_endpoint(
        400,
        404,
        409,
        responses={200: s.PageOut},
        request=s.SearchBody,
        operation_id="search_by_vector",
        summary="Posts near a vector of the platform's own",
        tags=["feeds"],
    )
    def post(self, request: Request) -> Response:
        """Return the nearest posts that the viewer may see."""
        started = perf_counter()
        body = s.SearchBody(data=request.data)
        body.is_valid(raise_exception=True)
        asked = dict(body.validated_data)
        page = search(viewer_id=asked.pop("viewer"), now=now(), **asked)
        return Response(responses.serialize_page(page, 1000 * (perf_counter() - started)))


class VectorsView(APIView):
    """Vectors that the platform makes, such as those of pictures."""

    scopes = single_scope(Scope.POSTS_WRITE)

    @openapi.describe_endpoint(
        400,
        404,
        responses={200: s.StoredVectorsOut},
        request=s.VectorsBody,
        operation_id="store_vectors",
        summary="Keep vectors of posts, made by the platform's own model",
        tags=["posts"],
    )
    def put(self, request: Request, space: str) -> Response:
        """Keep up to 1000 vectors; the first model of a space serves at once. Of a bad lot nothing is kept."""
        body = s.VectorsBody(data=request.data)
        body.is_valid(raise_exception=True)
        items = body.validated_data["vectors"]
        if len({len(item["vector"]) for item in items}) > 1:
            raise Problem("The vectors differ in length.", status=400, code="invalid-vectors", pointer="/vectors")
        vectors = np.array([item["vector"] for item in items], np.float32)
        ids = [item["post_id"] for item in items]
        try:
            unknown = store_vectors(
                space=space, model=body.validated_data["model"], post_ids=ids, vectors=vectors, now=now()
            )
        except VectorError as error:
            raise Problem(str(error), status=400, code="invalid-vectors", pointer="/vectors") from error
        return Response({"kept": len(ids) - len(unknown), "unknown_post_ids": unknown})


class PicturesView(APIView):
    """Pictures that a model here looks at."""

    scopes = single_scope(Scope.POSTS_WRITE)

    @openapi.describe_endpoint(
        400,
        404,
        409,
        responses={200: s.StoredVectorsOut},
        request=s.PicturesBody,
        operation_id="store_pictures",
        summary="Give posts the vectors of their pictures",
        tags=["posts"],
    )
    def put(self, request: Request, space: str) -> Response:
        """Look at up to 20 pictures, by the model of IMAGE_EMBEDDER; only vectors are kept, and of a bad lot none."""
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
        return Response({"kept": len(ids) - len(unknown), "unknown_post_ids": unknown})
