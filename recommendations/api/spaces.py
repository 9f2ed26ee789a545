"""Search in embedding spaces, and upload of vectors and pictures."""

from __future__ import annotations

from time import perf_counter

import numpy as np
from rest_framework.response import Response

from access.inputs import Request
from access.scopes import Scope, single_scope
from access.views import APIView, takes
from monitoring.clock import now
from recommendations.api import openapi, responses
from recommendations.api import serializers as s
from recommendations.api.problems import Problem
from recommendations.embedders.registry import EmbedderError
from recommendations.ports import ImageError, VectorError
from recommendations.services.serving.search import search
from recommendations.services.vectors.embedding_models import store_vectors
from recommendations.services.vectors.pictures import store_pictures


class SearchView(APIView):
    """Search for posts by text, post or vector. Texts and pictures share a space, so one finds the other."""

    scopes = single_scope(Scope.FEEDS_READ)

    @openapi.describe_endpoint(
        400,
        404,
        409,
        responses={200: s.PageOut},
        operation_id="search",
        summary="Search posts by text or by a post",
        tags=["feeds"],
    )
    @takes(query=s.SearchQuery(), member_ids=lambda inputs: [inputs.query["viewer_id"]])
    def get(self, request: Request) -> Response:
        """Return the most similar posts that the viewer may see. A text finds pictures, and a picture finds texts."""
        started = perf_counter()
        page = search(now=now(), **request.inputs.query)
        return Response(responses.serialize_page(page, 1000 * (perf_counter() - started)))

    @openapi.describe_endpoint(
        400,
        404,
        409,
        responses={200: s.PageOut},
        operation_id="search_by_vector",
        summary="Search posts by a vector",
        tags=["feeds"],
    )
    @takes(body=s.SearchBody(), member_ids=lambda inputs: [inputs.body["viewer_id"]])
    def post(self, request: Request) -> Response:
        """Return the most similar posts that the viewer may see."""
        started = perf_counter()
        page = search(now=now(), **request.inputs.body)
        return Response(responses.serialize_page(page, 1000 * (perf_counter() - started)))


class VectorsView(APIView):
    """Vectors that the platform computes, such as vectors of pictures."""

    scopes = single_scope(Scope.POSTS_WRITE)

    @openapi.describe_endpoint(
        400,
        404,
        responses={200: s.StoredVectorsOut},
        operation_id="store_vectors",
        summary="Store vectors of posts from the platform's own embedding model",
        tags=["posts"],
    )
    @takes(body=s.VectorsBody())
    def put(self, request: Request, space: str) -> Response:
        """Store up to 1000 vectors, or none if one is invalid. A space's first embedding model is active at once."""
        items = request.inputs.body["vectors"]
        if len({len(item["vector"]) for item in items}) > 1:
            raise Problem("The vectors differ in length.", status=400, code="invalid-vectors", pointer="/vectors")
        vectors = np.array([item["vector"] for item in items], np.float64)
        ids = [item["post_id"] for item in items]
        try:
            unknown = store_vectors(
                space=space,
                model=request.inputs.body["embedding_model"],
                post_ids=ids,
                vectors=vectors,
                now=now(),
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
        operation_id="store_pictures",
        summary="Store the vectors of posts' pictures",
        tags=["posts"],
    )
    @takes(body=s.PicturesBody())
    def put(self, request: Request, space: str) -> Response:
        """Embed up to 20 pictures with IMAGE_EMBEDDER. Only the vectors are stored, or none if a picture is invalid."""
        items = request.inputs.body["pictures"]
        ids = [item["post_id"] for item in items]
        try:
            unknown = store_pictures(space=space, post_ids=ids, pictures=[item["image"] for item in items], now=now())
        except EmbedderError as error:
            raise Problem(str(error), status=409, code="no-image-embedder") from error
        except (ImageError, VectorError) as error:
            raise Problem(str(error), status=400, code="invalid-pictures", pointer="/pictures") from error
        return Response({"stored": len(ids) - len(unknown), "unknown_post_ids": unknown})
