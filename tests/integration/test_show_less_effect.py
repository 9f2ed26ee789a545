"""The metric of show less observes each negative feedback once, a day later."""

from datetime import timedelta
from uuid import uuid4

import numpy as np
import pytest
from prometheus_client import REGISTRY

from recommendations.models import NegativeFeedback, ServedPage
from recommendations.services.measuring import show_less_effect
from tests import factories
from tests.factories import NOW

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def observed_effects():
    return [
        REGISTRY.get_sample_value(f"recsys_show_less_effect_ratio_{suffix}", {"target": "topic"}) or 0
        for suffix in ("count", "sum")
    ]


def page(viewer, posts, at):
    ids = np.array([post.pk for post in posts], "<i8").tobytes()
    ServedPage.objects.create(member=viewer, request_id=uuid4(), offset=0, post_ids=ids, created_at=at)


def test_negative_feedback_is_measured_once_after_a_day():
    viewer, author = factories.member(), factories.member()
    war, bread = factories.post(author, tags=["war"]), factories.post(author, tags=["bread"])
    page(viewer, [war, bread], NOW - timedelta(minutes=1))
    NegativeFeedback.objects.create(
        member=viewer, target="topic", target_key="war", post=war, event_id="e", created_at=NOW
    )
    count, total = observed_effects()
    assert show_less_effect.measure_show_less(now=NOW + timedelta(hours=12)) == 0
    assert show_less_effect.measure_show_less(now=NOW + DAY + timedelta(minutes=30)) == 0, "no page was served since"
    page(viewer, [war, bread, bread, bread], NOW + timedelta(hours=1))
    assert show_less_effect.measure_show_less(now=NOW + DAY + timedelta(minutes=30)) == 1
    assert show_less_effect.measure_show_less(now=NOW + DAY + timedelta(minutes=90)) == 0
    assert observed_effects() == [count + 1, total + 0.5]
