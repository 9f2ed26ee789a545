"""The discovery feed is never empty while a post may be served, whatever was seen and whichever components fail."""

from contextlib import ExitStack
from unittest.mock import patch

import pytest
from django.conf import settings as config
from django.db import transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.engines.plain import PlainEngine
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.models import Post, SeenPost
from recommendations.pipeline.rerankers.ordering import Diversity
from recommendations.pipeline.scorers.score_parts import Recency
from recommendations.pipeline.sources.nearest import Nearest
from recommendations.pipeline.sources.popular import Trending
from recommendations.ports import EngineError
from recommendations.services import wiring
from recommendations.services.content.publish import remove_posts
from recommendations.services.serving.recommend import recommend
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

POSTS = 12
FAILING_METHODS = (
    (WasmEngine, "score"),
    (PlainEngine, "score"),
    (WasmEngine, "put"),
    (WasmEngine, "nearest"),
    (Nearest, "__call__"),
    (Trending, "__call__"),
    (Diversity, "__call__"),
)
"""Components that may fail in any combination, in addition to Redis. `Recency` fails only with a cached slate."""


def fail(*_args, **_kwargs):
    raise EngineError("injected")


@settings(max_examples=60)
@given(
    seen=st.sets(st.integers(0, POSTS - 1)),
    removed=st.sets(st.integers(0, POSTS - 1)),
    failures=st.sets(st.sampled_from(FAILING_METHODS)),
    read_before=st.booleans(),
    recency_fails=st.booleans(),
    redis_is_down=st.booleans(),
)
def test_a_feed_is_empty_only_if_nothing_may_be_shown(
    seen, removed, failures, read_before, recency_fails, redis_is_down
):
    with transaction.atomic(), ExitStack() as stack:
        wiring.reset_parts()
        wiring.slate_cache()._client.flushdb()
        viewer, author = factories.member("viewer"), factories.member()
        posts = factories.posts(author, POSTS)
        factories.embed_all_posts()
        if read_before:
            recommend(member_id="viewer", now=NOW)
        SeenPost.objects.bulk_create([SeenPost(member=viewer, post=posts[i], seen_at=NOW) for i in seen])
        remove_posts(post_ids=[posts[i].pk for i in removed], now=NOW)
        servable = {post.external_id for i, post in enumerate(posts) if i not in seen | removed}
        for component, name in failures:
            stack.enter_context(patch.object(component, name, fail))
        if redis_is_down:
            without_redis = config.ENV.model_copy(update={"cache_redis_url": "redis://127.0.0.1:1/0"})
            stack.enter_context(patch.object(config, "ENV", without_redis))
            wiring.reset_parts()
        elif recency_fails and read_before and servable:
            stack.enter_context(patch.object(Recency, "__call__", fail))
        served = {pick.post.id for pick in recommend(member_id="viewer", limit=100, now=NOW).picks}
        assert served <= servable and bool(served) == bool(servable)
        assert Post.objects.count() == POSTS
        transaction.set_rollback(True)
