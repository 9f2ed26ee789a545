"""Search in embedding spaces, and upload of vectors and pictures."""

from __future__ import annotations

from collections import Counter
from operator import itemgetter
from time import perf_counter

import numpy as np
from rest_framework.response import Response

from access.inputs import Request
from access.scopes import Scope, single_scope
from access.views import APIView, takes
from monitoring.clock import now
from recommendations.api import openapi, responses
from recommendations.api import serializers as s
from recommendations.api.item_lists import ParsedItems, parse_items
from recommendations.api.problems import Problem
from recommendations.embedders.registry import EmbedderError
from recommendations.ports import ImageError, VectorError
from recommendations.services.serving.search import search
from recommendations.services.vectors.embedding_models import find_dimension, store_vectors
from recommendations.services.vectors.pictures import store_pictures


class SearchView(APIView):
    """Search for posts by text, post or vector. Texts and pictures share a space, so one finds the other."""

    scopes = single_scope(Scope.FEEDS_READ)

    @openapi.describe_endpoint(
        400,
        404,
        409,
        responses={200: s.PageOut},
        parameters=openapi.LANGUAGE_HEADERS,
        operation_id="search",
        summary="Search posts by text or by a post",
        tags=["feeds"],
    )
    @takes(query=s.SearchQuery(), member_ids=lambda inputs: [inputs.query["viewer_id"]])
    def get(self, request: Request) -> Response:
        """Return the most similar posts that the viewer may see. A text finds pictures, and a picture finds texts."""
        started = perf_counter()
        page = search(now=now(), **request.inputs.query)
        return responses.page_response(request, page, 1000 * (perf_counter() - started))

    @openapi.describe_endpoint(
        400,
        404,
        409,
        responses={200: s.PageOut},
        parameters=openapi.LANGUAGE_HEADERS,
        operation_id="search_by_vector",
        summary="Search posts by a vector",
        tags=["feeds"],
    )
    @takes(body=s.SearchBody(), member_ids=lambda inputs: [inputs.body["viewer_id"]])
    def post(self, request: Request) -> Response:
        """Return the most similar posts that the viewer may see."""
        started = perf_counter()
        page = search(now=now(), **request.inputs.body)
        return responses.page_response(request, page, 1000 * (perf_counter() - started))


class VectorsView(APIView):
    """Vectors that the platform computes, such as vectors of pictures."""

    scopes = single_scope(Scope.POSTS_WRITE)

    @openapi.describe_endpoint(
        400,
        404,
        responses={200: s.StoredVectorsOut, 207: s.StoredVectorsOut},
        request=s.VectorsBody,
        operation_id="store_vectors",
        summary="Store vectors of posts from the platform's own embedding model",
        tags=["posts"],
    )
    @takes(body=s.UncheckedVectors().run_validation)
    def put(self, request: Request, space: str) -> Response:
        """
        Store up to 1000 vectors. Status 207 if some were rejected. A space's first embedding model is active at once.

        Vectors of a new model whose length is not that of most of them are rejected.
        """
        body = request.inputs.body
        items = parse_items(body, "vectors", s.VectorItem())
        reject_other_lengths(items, find_dimension(space, body["embedding_model"]))
        ids = [item["post_id"] for item in items.valid.values()]
        vectors = np.array([item["vector"] for item in items.valid.values()], np.float64)
        try:
            unknown = (
                store_vectors(space=space, model=body["embedding_model"], post_ids=ids, vectors=vectors, now=now())
                if ids
                else []
            )
        except VectorError as error:
            raise Problem(str(error), status=400, code="invalid-vectors", pointer="/vectors") from error
        return stored_response(items, unknown)


def reject_other_lengths(items: ParsedItems, dimension: int | None) -> None:
    """Reject the vectors that have not *dimension* numbers; None: as many as most of them."""
    lengths = {index: len(item["vector"]) for index, item in items.valid.items()}
    expected = dimension or max(Counter(lengths.values()).items(), key=itemgetter(1), default=(0, 0))[0]
    for index, length in lengths.items():
        if length != expected:
            items.reject(index, f"The vector has {length} numbers, and those of its embedding model have {expected}.")


def stored_response(items: ParsedItems, unknown_post_ids: list[str]) -> Response:
    """Return the number of stored vectors, the ids without a post, and the rejected items."""
    stored = len(items.valid) - len(unknown_post_ids)
    content = {"stored": stored, "unknown_post_ids": unknown_post_ids, "rejected": items.list_rejections()}
    return Response(content, status=items.status)


class PicturesView(APIView):
    """Pictures to embed with the service's own embedding model."""

    scopes = single_scope(Scope.POSTS_WRITE)
    items_per_unit = 1
    """A picture takes longer to decode and embed than a feed."""

    @openapi.describe_endpoint(
        400,
        404,
        409,
        responses={200: s.StoredVectorsOut, 207: s.StoredVectorsOut},
        request=s.PicturesBody,
        operation_id="store_pictures",
        summary="Store the vectors of posts' pictures",
        tags=["posts"],
    )
    @takes(body=s.UncheckedPictures().run_validation)
    def put(self, request: Request, space: str) -> Response:
        """Embed up to 20 pictures with IMAGE_EMBEDDER; only vectors are stored. Status 207 if some were rejected."""
        items = parse_items(request.inputs.body, "pictures", s.PictureItem())
        try:
            unknown = store_readable(space, items)
        except EmbedderError as error:
            raise Problem(str(error), status=409, code="no-image-embedder") from error
        except (ImageError, VectorError) as error:
            raise Problem(str(error), status=400, code="invalid-pictures", pointer="/pictures") from error
        return stored_response(items, unknown)


def store_readable(space: str, items: ParsedItems) -> list[str]:
    """
    Store the vectors of the pictures, and reject those that cannot be read. Return the unknown post ids.

    The headers of all pictures are read before the pixels of one, so that this takes at most three rounds.
    """
    while True:
        ids = [item["post_id"] for item in items.valid.values()]
        pictures = [item["image"] for item in items.valid.values()]
        try:
            return store_pictures(space=space, post_ids=ids, pictures=pictures, now=now())
        except ImageError as error:
            if not error.problems:
                raise
            indexes = list(items.valid)
            for position, problem in error.problems.items():
                items.reject(indexes[position], problem)
