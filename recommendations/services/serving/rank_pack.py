"""
Ranks a candidate pack by a profile of a device. This defines the order that `candidate-pack.js` computes in a browser.

It uses the engine, the scorer and the reranker of the feeds. A test compares the bytes with those of a browser.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recommendations.contracts import (
    EMPTY_IDS,
    NON_PERSONALIZED,
    UNKNOWN,
    Affinity,
    Candidates,
    Float32Array,
    Int32Array,
    Int64Array,
    Interests,
    Policy,
    Query,
    ScoredCandidates,
)
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.pipeline.rerankers.ordering import Diversity
from recommendations.pipeline.scorers.score_parts import TopicAffinity
from recommendations.services import wiring
from recommendations.services.serving.pack_format import CandidatePack, PackError, decode_pack

MEMORY_LIMIT_BYTES = 64 << 20
MAX_POSTS, MAX_TAGS = 200, 500
"""Maximum number of liked and of disliked posts, and of tags, in a profile."""
Number = Annotated[float, Field(allow_inf_nan=False)]


class Model(BaseModel):
    """A model that rejects unknown fields, so that a misspelled field is not silently lost."""

    model_config = ConfigDict(extra="forbid")


class DeviceInterest(Model):
    """One interest: the vector of a post, or several of a profile file, of any length."""

    vector: list[Number]
    weight: Annotated[float, Field(ge=0, le=10)] = 1.0


class DeviceProfile(Model):
    """The interests that a device keeps."""

    format: Literal["recsys-device-profile"]
    version: Literal[1]
    embedding_model: str
    likes: list[DeviceInterest] = Field(default=[], max_length=MAX_POSTS)
    dislikes: list[DeviceInterest] = Field(default=[], max_length=MAX_POSTS)
    tags: dict[str, Annotated[float, Field(ge=-1, le=1)]] = Field(default={}, max_length=MAX_TAGS)


@dataclass(frozen=True)
class RankedPack:
    """The posts of a pack in order, and their scores. Every array but the order is in the order of the pack."""

    order: Int32Array  # (n,) positions in the pack
    scores: Float32Array  # (n,)
    part_names: tuple[str, ...]
    parts: Float32Array  # (n, p)


def rank_pack_file(pack_file: bytes, profile_json: str) -> list[tuple[str, float]]:
    """
    Return the ids of a pack's posts with their scores, in the order of a device with this profile.

    Raises `PackError`.
    """
    pack = decode_pack(pack_file, wiring.signer())
    try:
        ranked = rank_pack(pack, DeviceProfile.model_validate_json(profile_json))
    except ValidationError as error:
        raise PackError(f"The profile is invalid: {error}") from error
    return [(pack.header.posts[position].id, float(ranked.scores[position])) for position in ranked.order]


def rank_pack(pack: CandidatePack, profile: DeviceProfile) -> RankedPack:
    """
    Return the posts of *pack* in the order of *profile*: by score, then varied as the discovery feed is.

    Posts with equal scores stay in the order of the pack. Raises `PackError` if the profile is for other vectors.
    """
    header, n = pack.header, len(pack.header.posts)
    if profile.embedding_model != header.embedding_model:
        raise PackError(f"The profile is for {profile.embedding_model!r}, the pack for {header.embedding_model!r}.")
    rows = np.arange(n, dtype=np.int32)
    engine = WasmEngine(header.dimension, memory_limit_bytes=MEMORY_LIMIT_BYTES)
    engine.put(rows, rows.astype(np.int64), pack.vectors.astype(np.float32))
    tag_numbers = number_words(tag for post in header.posts for tag in post.tags)
    query = build_query(pack, profile, tag_numbers)
    candidates = build_candidates(pack, tag_numbers)
    columns = np.column_stack([TopicAffinity()(query, candidates), pack.columns])
    weights = np.array(list(header.weights.values()), np.float32)
    scores, parts = engine.score(rows, query.interests, columns, weights)
    by_score = np.lexsort((rows, -scores))
    scored = ScoredCandidates(candidates, scores, tuple(header.weights), parts)
    varied = Diversity(engine)(query, scored.take(by_score))
    return RankedPack(by_score[varied].astype(np.int32), scores, scored.part_names, parts)


def number_words(words: Iterable[str]) -> dict[str, int]:
    """Return a number for each word, by its first occurrence."""
    return {word: number for number, word in enumerate(dict.fromkeys(words))}


def build_query(pack: CandidatePack, profile: DeviceProfile, tag_numbers: Mapping[str, int]) -> Query:
    """Return the query that ranks *pack*: the profile's interests and the pack's policy."""
    header = pack.header
    weights = {tag_numbers[tag]: weight for tag, weight in profile.tags.items() if tag in tag_numbers}
    tag_ids = np.array(sorted(weights), np.int64) if weights else EMPTY_IDS
    return Query(
        request_id=UUID(int=0),
        viewer_id=UNKNOWN,
        feed=NON_PERSONALIZED,
        size=len(header.posts),
        now=header.created_at.timestamp(),
        policy=Policy.from_stored({**header.weights, "diversity": header.diversity, "author_cap": header.author_cap}),
        variant=header.variant,
        policy_version=header.policy_version,
        interests=Interests(
            *stack_interests(profile.likes, header.dimension), *stack_interests(profile.dislikes, header.dimension)
        ),
        topic_affinity=Affinity(tag_ids, np.array([weights[id] for id in tag_ids.tolist()], np.float32)),
    )


def stack_interests(interests: Sequence[DeviceInterest], dimension: int) -> tuple[Float32Array, Float32Array]:
    """Return the vectors (k, d) and the weights (k,). Raises `PackError` for a vector of another length."""
    if any(len(interest.vector) != dimension for interest in interests):
        raise PackError(f"A vector of the profile does not have {dimension} numbers.")
    vectors = np.array([interest.vector for interest in interests], np.float32).reshape(-1, dimension)
    return vectors, np.array([interest.weight for interest in interests], np.float32)


def build_candidates(pack: CandidatePack, tag_numbers: Mapping[str, int]) -> Candidates:
    """Return the pack's posts as candidates whose ids are their positions, with their authors and tags."""
    posts = pack.header.posts
    positions: Int64Array = np.arange(len(posts), dtype=np.int64)
    author_numbers = number_words(post.author_id for post in posts)
    tag_ids = np.full((len(posts), max((len(post.tags) for post in posts), default=0) + 1), UNKNOWN, np.int32)
    for position, post in enumerate(posts):
        tag_ids[position, : len(post.tags)] = [tag_numbers[tag] for tag in post.tags]
    return Candidates.unknown(positions, np.zeros(len(posts), np.uint16)).take(
        slice(None),
        rows=positions.astype(np.int32),
        author_ids=np.array([author_numbers[post.author_id] for post in posts], np.int64),
        tag_ids=tag_ids,
    )
