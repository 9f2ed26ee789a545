"""Read what Redis holds: a copy of its memory, a dump or a backup must not show whose data it is or what it says."""

import os
from collections.abc import Iterator
from uuid import UUID

import numpy as np
import pytest
import redis

from access import keys
from monitoring.clock import now
from recommendations.contracts import Visibility
from recommendations.models import FeedRequest, PostEmbedding
from recommendations.services import wiring, work
from recommendations.services.learning import interact, learn
from recommendations.services.members import preferences
from recommendations.services.serving import records
from recommendations.services.serving.recommend import recommend
from recommendations.services.serving.search import search
from recommendations.services.vectors.embedding import embed_posts
from tests import factories

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fresh_wiring")]

MEMBER, POST_ID, SECRET = "Zq7781-maja-holm", "Zq7782-of-maja", "Zq7783 kidney operation"
POST_PK = 0x5A71_7784
"""A primary key whose packed bytes are found by chance in one of 10^9 values."""


def stored() -> Iterator[tuple[str, bytes]]:
    """Yield every key of both databases with all bytes that Redis holds for it."""
    for url in (os.environ["REDIS_URL"], os.environ["CACHE_REDIS_URL"]):
        with redis.Redis.from_url(url) as client:
            for key in client.scan_iter():
                read = {
                    b"string": lambda key: [client.get(key)],
                    b"list": lambda key: client.lrange(key, 0, -1),
                    b"set": lambda key: client.smembers(key),
                    b"hash": lambda key: [part for pair in client.hgetall(key).items() for part in pair],
                    b"zset": lambda key: client.zrange(key, 0, -1),
                    b"stream": lambda key: [repr(client.xrange(key)).encode()],
                }[client.type(key)]
                yield key.decode(errors="replace"), key + b"\0" + b"\0".join(read(key))


def find_marks(vector: np.ndarray) -> dict[str, str]:
    """Return each mark that Redis holds, with the key where it was found."""
    marks = {
        "id of the member": MEMBER.encode(),
        "id of the post": POST_ID.encode(),
        "text": b"kidney",
        "post, packed in 8 bytes": POST_PK.to_bytes(8, "little"),
        "post, packed in 4 bytes": POST_PK.to_bytes(4, "little"),
        "vector": vector.astype("<f4").tobytes(),
        "vector, as half precision": vector.astype("<f2").tobytes(),
    }
    return {name: key for key, content in stored() for name, mark in marks.items() if mark in content}


@pytest.fixture
def maja():
    """Return a member with a private post, interactions, feeds, a search, served pages, jobs and API requests."""
    member, author = factories.member(MEMBER), factories.member("author")
    factories.post(member, POST_ID, id=POST_PK, text=SECRET, visibility=Visibility.PRIVATE)
    for number in range(12):
        factories.post(author, f"p{number}", text=f"apples and pears {number}")
    embed_posts(embedder=wiring.embedder(), now=factories.NOW)
    return member


def test_no_key_and_no_value_in_redis_shows_a_members_data(maja, client):
    vector = np.frombuffer(PostEmbedding.objects.get(post_id=POST_PK).vector, "<f4")
    wiring.post_vector_cache().put({POST_PK: vector}, factories.NOW.timestamp())
    _, secret = keys.create(name="a test", scopes=["feeds:read", "interactions:write"], now=now())
    for _ in range(3):
        client.get(f"/api/v1/members/{MEMBER}/feed", headers={"Authorization": f"Bearer {secret}"})
        client.get(f"/api/v1/members/{MEMBER}/feed", headers={"Authorization": "Bearer rk_x"})
    interact.record_events(events=[interact.Event("Zq-e", MEMBER, POST_ID, "like")], now=factories.NOW)
    learn.learn_interactions(member_ids=[maja.pk], now=factories.NOW)
    page = recommend(member_id=MEMBER, now=factories.NOW)
    search(viewer_id=MEMBER, text=SECRET, space="content", limit=5, now=factories.NOW)
    records.queue_records(records.page_record(UUID(int=1), maja.pk, 0, [POST_PK] * 3, factories.NOW.timestamp()))
    assert page.picks and not find_marks(vector), "while the records wait"
    assert wiring.record_queue().push(b"") > 1, "records do wait"
    records.record_served(now=factories.NOW)
    work.submit_job(kind="member_feed", params={"member_ids": [MEMBER]}, now=factories.NOW)
    assert not find_marks(vector), "after a worker has written them"
    kinds = {key.split(":")[1] for key, _ in stored()}
    assert {"served", "slates", "neighbors", "vectors", "usage", "limits"} <= kinds, "the stores are not empty"
    assert len(wiring.served_history().fatigue(maja.pk, factories.NOW.timestamp(), 3600).ids), "and can be read"


def test_an_opt_out_leaves_nothing_served_in_redis(maja):
    recommend(member_id=MEMBER, now=factories.NOW)
    records.record_served(now=factories.NOW)
    assert any(key == f"recsys:served:{maja.pk}" for key, _ in stored())
    preferences.set_preferences(member_id=MEMBER, changes={"is_personalized": False}, now=factories.NOW)
    recommend(member_id=MEMBER, now=factories.NOW)
    records.record_served(now=factories.NOW)
    assert FeedRequest.objects.filter(member=maja).count() == 2, "the second page was served and recorded, too"
    assert not any(key == f"recsys:served:{maja.pk}" for key, _ in stored())
