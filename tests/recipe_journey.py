"""
What must work once CONTRIBUTING's recipes have been followed.

`tests/architecture/test_recipes.py` runs these tests in a copy of the repository.
"""

import json
from datetime import timedelta
from io import StringIO

import numpy as np
import pytest
from django.core.management import call_command
from django.urls import reverse

from recommendations.contracts import Origin
from recommendations.models import FeedRequest, Post, RankingPolicy
from recommendations.services import wiring, work
from recommendations.services.explaining.explain import explain
from recommendations.services.explaining.replay import replay
from recommendations.services.serving import records
from recommendations.services.serving.query import EngineAssignment
from recommendations.services.serving.recommend import recommend
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@pytest.fixture(params=["plain", "wasm_simd", "traced"])
def engine(request, monkeypatch, settings):
    """Serve every member with one engine, and store the inputs of every request."""
    monkeypatch.setattr(settings.ENV, "replay_share", 1.0)
    assignment = EngineAssignment(request.param, "control")
    monkeypatch.setattr("recommendations.services.serving.recommend.assign_engine", lambda _: assignment)
    return request.param


@pytest.fixture
def untagged(engine):
    """Return a post without tags, among 60 with one, on the platform of a viewer `ann`."""
    factories.member("ann")
    for n in range(12):
        factories.posts(factories.member(f"author-{n}"), 5, tags=[f"t{n % 4}"])
    post = factories.post(factories.member("other"), "untagged", tags=[])
    factories.embed_all_posts()
    return post


def serve(**options):
    page = recommend(member_id="ann", now=NOW, **options)
    records.record_served(now=NOW)
    return page


def test_a_fresh_page_has_the_new_source_part_and_filter(untagged, engine):
    page = serve(explain=True, limit=50)
    assert (page.engine, page.fallback) == (engine, "")
    assert any(Origin.LONG_READS in pick.sources or "long_reads" in pick.sources for pick in page.picks)
    assert all("tagged" in pick.parts for pick in page.picks)
    assert "untagged" not in [pick.post.id for pick in page.picks]


def test_a_cached_page_has_the_same_sources_and_reasons(untagged):
    fresh, cached = serve(limit=50), serve(limit=50)
    assert [pick.sources for pick in cached.picks] == [pick.sources for pick in fresh.picks]
    assert [pick.reasons for pick in cached.picks] == [pick.reasons for pick in fresh.picks]


def test_the_final_check_runs_the_new_filter_on_current_facts(untagged):
    first = serve(limit=50).picks[0].post.id
    Post.objects.filter(external_id=first).update(tags=[], changed_at=NOW + timedelta(seconds=1))
    assert first not in [pick.post.id for pick in serve(limit=50).picks]


def test_explanations_have_the_new_sentence_and_part(untagged):
    page = serve(limit=50)
    dropped = explain(request_id=page.request_id, post_id="untagged", viewer_id="ann", now=NOW)
    assert (dropped.status, dropped.filter, dropped.sentence) == ("filtered", "is_tagged", "It has no tags.")
    shown = explain(request_id=page.request_id, post_id=page.picks[0].post.id, viewer_id="ann", now=NOW)
    assert shown.parts["tagged"] == pytest.approx(0.1)
    assert np.float32(shown.score) == np.sum(np.array(list(shown.parts.values()), np.float32), dtype=np.float32)


def test_a_replay_gives_the_same_bytes(untagged, engine):
    page = serve(limit=50)
    result = replay(request_id=page.request_id)
    assert (result.engine, result.is_identical) == (engine, True)


def test_the_api_and_the_admin_show_the_new_components(untagged, admin_client, client, settings, monkeypatch):
    monkeypatch.setattr(settings.ENV, "api_open", True)
    body = client.get("/api/v1/members/ann/feed?explain=true&limit=5").json()
    assert all("tagged" in str(pick["parts"]) for pick in body["picks"])
    records.record_served(now=NOW)
    row = FeedRequest.objects.get()
    for model, pk in ((FeedRequest, row.pk), (RankingPolicy, RankingPolicy.objects.first().pk)):
        name = f"admin:recommendations_{model._meta.model_name}"
        for page in (reverse(f"{name}_changelist"), reverse(f"{name}_change", args=[pk])):
            assert admin_client.get(page).status_code == 200
    assert b"tagged" in admin_client.get(reverse("admin:recommendations_feedrequest_change", args=[row.pk])).content


def test_every_engine_has_a_breaker():
    assert set(wiring.breakers()) == {"plain", "wasm_simd", "traced"}


def test_a_job_of_the_new_kind_is_submitted_processed_and_shown(client, admin_client, settings, monkeypatch):
    """REST and the command submit it. REST, GraphQL and the admin show it."""
    monkeypatch.setattr(settings.ENV, "api_open", True)
    ann, bob = factories.member("ann"), factories.member("bob")
    factories.follow(ann, bob)
    post = factories.post(bob, tags=["t"])
    submitted = client.post("/api/v1/jobs", {"kind": "following_feeds"}, content_type="application/json")
    assert submitted.status_code == 202, submitted.content
    job_id = submitted.json()["id"]
    assert work.process_chunk(job_id=job_id, number=0, now=NOW)
    assert wiring.slate_cache().get(ann.pk, "following").post_ids.tolist() == [post.pk]

    (job,) = client.get("/api/v1/jobs?kind=following_feeds").json()["jobs"]
    assert (job["id"], job["state"], job["done"], job["failed"]) == (job_id, "done", 2, 0)
    body = json.dumps({"query": f'{{ job(id: "{job_id}") {{ kind state done }} }}'})
    answer = client.post("/graphql", body, content_type="application/json").json()
    assert answer["data"]["job"] == {"kind": "following_feeds", "state": "done", "done": 2}
    list_page = admin_client.get(reverse("admin:recommendations_job_changelist"), {"kind__exact": "following_feeds"})
    job_page = admin_client.get(reverse("admin:recommendations_job_change", args=[job_id]))
    for page in (list_page, job_page):
        assert page.status_code == 200
        assert job_id in page.content.decode() and "following feeds for all members" in page.content.decode()
    out = StringIO()
    call_command("submit_job", "following_feeds", "--params", '{"member_ids": ["ann"]}', stdout=out)
    assert "following_feeds, queued" in out.getvalue()


def test_an_item_of_a_job_that_fails_is_reported_and_the_others_are_processed(monkeypatch):
    members = [factories.member(name) for name in ("ann", "bob")]
    rebuild = "recommendations.services.extensions.jobs.rebuild_slate"
    monkeypatch.setattr(rebuild, lambda pk, feed, now: 1 / (pk - members[0].pk))
    job = work.submit_job(kind="following_feeds", params={}, now=NOW)
    work.process_chunk(job_id=job.id, number=0, now=NOW)
    job = work.read_job(job_id=job.id)
    assert (job.done, job.failed, job.errors[0]["item_id"]) == (1, 1, members[0].pk)


def test_the_wiring_creates_the_new_store():
    wiring.click_counts().add(1)
    assert (wiring.click_counts().count(1), wiring.click_counts().count(2)) == (1, 0)
