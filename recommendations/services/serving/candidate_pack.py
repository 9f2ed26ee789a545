"""
Candidate packs: posts that one member may see, to be ranked on the member's device by interests that never leave it.

The candidates are those of the non-personalized feed, so building a pack reads nothing that the member did. It reads
what privacy needs (relationships, mutes, settings), and the posts pass the final check. A pack is not a served page:
it is neither cached nor recorded, and the event client reports which of its posts the member saw.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from recommendations.contracts import (
    NON_PERSONALIZED,
    TAGS_PER_POST,
    Candidates,
    Float32Array,
    Int64Array,
    PostView,
    Query,
    UInt16Array,
)
from recommendations.pipeline.run import TASTE_PARTS, compute_parts, policy_weights
from recommendations.pipeline.stages import Trace
from recommendations.services import wiring
from recommendations.services.serving.pack_format import (
    CandidatePack,
    PackedPost,
    PackHeader,
    encode_pack,
    quantize,
)
from recommendations.services.serving.preview import rank_unserved
from recommendations.services.serving.query import NO_FILTERS, assign_engine, get_viewer
from recommendations.services.serving.ranking import CONTROL_ENGINE
from recommendations.services.serving.recommend import build_filtered_query

PACK_SIZE = 200
"""Maximum number of posts in a pack. Changes the answer."""
LIFETIME = timedelta(minutes=5)
"""How long a pack is valid: as long, a post that was removed or hidden may stay on a device. Changes the answer."""
TEXT_LENGTH = 100
"""Characters of a post's text in a pack."""
DEVICE_PARTS = (*TASTE_PARTS, "topic")
"""The score parts that the device computes from its profile. The others are columns of the pack."""


def create_pack(*, member_id: str, now: datetime) -> bytes:
    """Return a signed candidate pack for the member. Raises a `ServiceError`."""
    return encode_pack(build_pack(member_id=member_id, now=now), wiring.signer())


def public_keys() -> list[dict[str, str]]:
    """Return the public keys that verify packs, as JSON Web Keys, newest first."""
    return wiring.signer().public_keys()


@wiring.pin_embedding_models
def build_pack(*, member_id: str, now: datetime) -> CandidatePack:
    """Return up to `PACK_SIZE` posts of the member's non-personalized feed as a pack. Raises a `ServiceError`."""
    assignment = assign_engine(member_id)
    viewer = get_viewer(now, member_id=member_id)
    query = build_filtered_query(viewer, assignment, NON_PERSONALIZED, NO_FILTERS, now)
    query = replace(query, size=PACK_SIZE)
    checked = rank_unserved(query, viewer, assignment, limit=PACK_SIZE).checked
    post_ids = np.array(checked.post_ids, np.int64)
    names, columns = score_columns(query, post_ids)
    return CandidatePack(
        PackHeader(
            member_id=viewer.external_id,
            created_at=now,
            expires_at=now + LIFETIME,
            embedding_model=wiring.embedder().name,
            dimension=wiring.embedder().dimension,
            variant=query.variant,
            policy_version=query.policy_version,
            weights=part_weights(query, (*DEVICE_PARTS, *names)),
            diversity=query.policy.diversity,
            author_cap=query.policy.author_cap,
            columns=names,
            posts=tuple(pack_post(checked.views[id]) for id in checked.post_ids),
        ),
        columns,
        quantize(wiring.engines()[CONTROL_ENGINE].vectors(wiring.catalogue().rows_of(post_ids))),
    )


def score_columns(query: Query, post_ids: Int64Array) -> tuple[tuple[str, ...], Float32Array]:
    """Return the names of the non-personalized feed's score parts, and the parts (n, c) before their weights."""
    no_origins: UInt16Array = np.zeros(len(post_ids), np.uint16)
    candidates = wiring.catalogue().load_facts(Candidates.unknown(post_ids, no_origins), query.now)
    scorers = wiring.feed_pipeline(NON_PERSONALIZED, "").scorers
    return tuple(scorer.name for scorer in scorers), compute_parts(scorers, query, candidates, Trace())


def part_weights(query: Query, names: tuple[str, ...]) -> dict[str, float]:
    """Return the policy's weight of each score part."""
    return dict(zip(names, policy_weights(query, names).tolist(), strict=True))


def pack_post(view: PostView) -> PackedPost:
    """Return what a pack has of a post."""
    return PackedPost(view.id, view.author_id, view.kind, tuple(view.tags[:TAGS_PER_POST]), view.text[:TEXT_LENGTH])
