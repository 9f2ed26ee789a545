"""Every page of the admin opens, and its actions work."""

import re
from dataclasses import asdict
from datetime import timedelta
from uuid import uuid4

import numpy as np
import pytest
from django.apps import apps
from django.contrib import admin
from django.urls import reverse

from monitoring.clock import now
from recommendations import models as m
from recommendations.admin.evaluations import place_points, place_score
from recommendations.admin.policy_form import SETTING_GROUPS
from recommendations.collaborative.nearest import PostCounts, pack_nearest
from recommendations.contracts import Policy, Visibility
from recommendations.services import wiring
from recommendations.services.serving.recommend import recommend
from tests import factories
from tests.admin_forms import submit_page

pytestmark = pytest.mark.django_db


@pytest.fixture
def rows(redis_url):
    """Create one row of every model."""
    then = now() - timedelta(days=1)
    ann = m.Member.objects.create(external_id="ann", created_at=then, changed_at=then)
    bob = m.Member.objects.create(external_id="bob", created_at=then, changed_at=then)
    post = m.Post.objects.create(external_id="p1", author=bob, text="<b>bread</b>", created_at=then, changed_at=then)
    vector = np.eye(1, 8, dtype="<f4")
    packed, one = vector.tobytes(), np.ones(1, "<f4").tobytes()
    job = m.Job.objects.create(kind="batch_feeds", created_at=then, total=2, failed=1)
    trained = m.TrainedModel.objects.create(kind="item_weights", created_at=then, metrics={"ndcg10": 0.25})
    served = m.FeedRequest.objects.create(
        id=uuid4(),
        member=ann,
        feed="discovery",
        engine="plain",
        variant="control",
        policy_version=1,
        post_ids=np.array([post.pk, 99], "<i8").tobytes(),
        part_names=["taste", "recency"],
        parts=np.array([[0.5, 0.25], [0.125, 0]], "<f4").tobytes(),
        origins=np.array([1, 3], "<u2").tobytes(),
        created_at=then,
    )
    return [
        ann,
        post,
        m.PrivacySettings.objects.create(member=ann, changed_at=then),
        m.Relationship.objects.create(source=ann, target=bob, kind="follow", created_at=then),
        m.PostEmbedding.objects.create(post=post, embedding_model="tiny", dimension=8, vector=packed, changed_at=then),
        m.PostStats.objects.create(post=post, summed_at=then, changed_at=then),
        m.Interaction.objects.create(
            event_id="e", member=ann, post=post, kind="like", occurred_at=then, received_at=then
        ),
        m.SeenPost.objects.create(member=ann, post=post, seen_at=then),
        m.SeenReport.objects.create(post_id=post.pk),
        m.NegativeFeedback.objects.create(
            member=ann, target="author", target_key="2", post=post, event_id="e", created_at=then
        ),
        m.Undo.objects.create(member=ann, event_id="u", undoes_event_id="e", received_at=then),
        m.DampedEngagement.objects.create(member=ann, author=bob, day=then, given=12, counted=5, changed_at=then),
        m.AuthorCrowd.objects.create(author=bob, day=then, newcomers=50, others=2, share=0.2, changed_at=then),
        m.CrowdNewcomer.objects.create(author=bob, day=then, member=ann, share=0.2, changed_at=then),
        m.RegionStats.objects.create(post=post, region="DE", summed_at=then, changed_at=then),
        m.ServedPage.objects.create(
            member=ann, request_id=uuid4(), offset=0, post_ids=np.array([post.pk, 99], "<i8").tobytes(), created_at=then
        ),
        served,
        m.FeedInputs.objects.create(request=served, packed_inputs=b"packed", created_at=then),
        m.FeedHour.objects.create(hour=then, feed="discovery", engine="plain", variant="control"),
        m.InterestProfile.objects.create(
            member=ann,
            embedding_model="tiny",
            dimension=8,
            positive=packed,
            positive_mass=one,
            negative=b"",
            negative_mass=b"",
            reference_at=then,
            changed_at=then,
        ),
        m.RankingPolicy.objects.get_or_create(variant="control", version=1)[0],
        job,
        m.JobFile.objects.create(job=job, member=ann, content=b"packed", created_at=then),
        m.ErasedPost.objects.create(post_id=99, erased_at=then),
        m.ErasureReceipt.objects.create(
            member_hash="0" * 24, member_number=99, requested_by="key ab", requested_at=then, counts={"Post": 3}
        ),
        m.JobChunk.objects.create(job=job, number=0, item_ids=[ann.pk], leased_until=then),
        m.JobFailure.objects.create(job=job, item_id=ann.pk, problem="E", failed_at=then),
        m.EmbeddingModel.objects.create(
            space="content", name="tiny", embedder="tiny", dimension=8, created_at=then, changed_at=then
        ),
        m.EmbeddingFailure.objects.create(
            post=post, space="content", embedding_model="tiny", error="E", changed_at=then
        ),
        m.Evaluation.objects.create(
            split="last-one",
            case_count=2,
            member_count=2,
            quality_score=0.5,
            best_peer="EASE",
            report={
                "systems": [
                    {
                        "name": "discovery",
                        "figures": {"ndcg": {"value": 0.125, "low": 0.1, "high": 0.15}},
                        "differences": {"ndcg": {"value": -0.25, "low": -0.3, "high": -0.2}},
                    },
                    {"name": "EASE", "figures": {"coverage": {"value": 0.375, "low": None}}, "differences": {}},
                ]
            },
            seconds=1,
            created_at=then,
        ),
        m.ReactionHistory.objects.create(
            member=ann,
            reactions=np.array([post.pk, -98], "<i8").tobytes(),
            reacted_at=np.array([0.0, 60.0], "<f8").tobytes(),
        ),
        m.HistoryChange.objects.create(before=b"", after=np.array([post.pk], "<i8").tobytes()),
        m.CoLikes.objects.create(
            post_id=post.pk,
            like_count=2,
            target_ids=np.array([98], "<i8").tobytes(),
            nearest=pack_nearest(
                PostCounts(2, np.array([98]), np.array([2], np.int32), np.array([60], np.int32)), np.array([2])
            ),
            changed_at=then,
        ),
        m.ImportCheckpoint.objects.create(kind="posts", sha256="0" * 64, started_at=then),
        trained,
        m.TrainedModelBlock.objects.create(model=trained, name="weights", position=0, data=b"packed"),
        m.ChangeLogEntry.objects.latest("pk"),
        m.ChangeLogMark.objects.create(position=1, recorded_at=then),
        m.ChangeLogTruncation.objects.get(),
    ]


def test_every_model_has_list_and_detail_pages(admin_client, rows):
    assert {type(row) for row in rows} == set(apps.get_app_config("recommendations").get_models())
    for row in rows:
        name = f"admin:recommendations_{row._meta.model_name}"
        for url in (
            reverse(f"{name}_changelist"),
            reverse(f"{name}_changelist") + ("?q=a" if admin.site.get_model_admin(type(row)).search_fields else ""),
            reverse(f"{name}_change", args=[row.pk]),
        ):
            assert admin_client.get(url).status_code == 200, url


def test_the_page_of_a_history_names_the_posts_and_the_reactions(admin_client, rows):
    history = m.ReactionHistory.objects.get()
    page = admin_client.get(reverse("admin:recommendations_reactionhistory_change", args=[history.pk])).content.decode()
    text = re.sub(r"<[^>]+>", " ", page)
    assert re.search(r"98\s+rejection\s+1970-01-01 00:01\s+p1\s+like\s+1970-01-01 00:00", text)


def test_the_page_of_co_likes_shows_the_nearest_posts(admin_client, rows):
    row = m.CoLikes.objects.get()
    page = admin_client.get(reverse("admin:recommendations_colikes_change", args=[row.pk])).content.decode()
    assert re.search(r"98\s+2\s+0\.167\s+0\.083", re.sub(r"<[^>]+>", " ", page))


def test_a_feed_request_page_decodes_the_slate(admin_client, rows):
    request = m.FeedRequest.objects.get()
    page = admin_client.get(reverse("admin:recommendations_feedrequest_change", args=[request.pk])).content.decode()
    for text in ("p1", "0.7500", "(deleted: 99)", "nearest"):
        assert text in page


def test_an_evaluation_page_shows_figures_with_intervals_and_the_trend(admin_client, rows):
    evaluation = m.Evaluation.objects.get()
    page = admin_client.get(reverse("admin:recommendations_evaluation_change", args=[evaluation.pk])).content.decode()
    for text in ("0.125 [0.100; 0.150]", "0.375", "-0.250 [-0.300; -0.200]", f"{evaluation.created_at:%Y-%m-%d}: 0.50"):
        assert text in page
    assert "<polyline" in page
    m.Evaluation.objects.update(quality_score=None, report={"systems": []})
    page = admin_client.get(reverse("admin:recommendations_evaluation_change", args=[evaluation.pk])).content.decode()
    assert "There is no score yet." in page


def test_the_trend_goes_up_with_the_score():
    heights = [place_score(score) for score in (0.0, 0.5, 1.0)]
    assert heights == sorted(heights, reverse=True)
    assert [x for x, _, _ in place_points([("a", 0.1), ("b", 0.2), ("c", 0.3)])] == [40, 335, 630]


def test_the_text_of_a_post_is_escaped(admin_client, rows):
    page = admin_client.get(reverse("admin:recommendations_post_changelist")).content.decode()
    assert "&lt;b&gt;bread" in page
    assert "<b>bread" not in page


def run_action(client, model, action, rows):
    url = reverse(f"admin:recommendations_{model}_changelist")
    response = client.post(url, {"action": action, "_selected_action": [row.pk for row in rows]})
    assert response.status_code == 302, response.content


def test_posts_are_removed_and_restored(admin_client, rows):
    post = m.Post.objects.get()
    run_action(admin_client, "post", "remove", [post])
    changed = m.Post.objects.get()
    assert changed.removed_at
    assert changed.changed_at > post.changed_at
    run_action(admin_client, "post", "restore", [post])
    assert m.Post.objects.get().removed_at is None


def test_members_are_deactivated_and_activated(admin_client, rows):
    ann = m.Member.objects.get(external_id="ann")
    run_action(admin_client, "member", "deactivate", [ann])
    assert not m.Member.objects.get(external_id="ann").is_active
    run_action(admin_client, "member", "activate", [ann])
    assert m.Member.objects.get(external_id="ann").is_active


def test_saving_a_post_sets_changed_at_and_sensitivity(admin_client, rows):
    post = m.Post.objects.get()
    form = {
        "external_id": "p1",
        "author": post.author_id,
        "text": "x",
        "media": "[]",
        "kind": "text",
        "language": "",
        "tags": "[]",
        "created_at_0": "2026-01-01",
        "created_at_1": "00:00:00",
        "visibility": Visibility.PRIVATE.value,
        "safety_labels": '{"nudity": 0.9}',
    }
    response = submit_page(admin_client, reverse("admin:recommendations_post_change", args=[post.pk]), form)
    assert response.status_code == 302, response.context["errors"]
    changed = m.Post.objects.get()
    assert (changed.visibility, changed.sensitivity) == (Visibility.PRIVATE, 2)
    assert changed.changed_at > post.changed_at


@pytest.mark.parametrize("model", ["member", "post", "relationship"])
def test_a_new_row_is_created_now_by_default(admin_client, model):
    before = now()
    form = admin_client.get(reverse(f"admin:recommendations_{model}_add")).context["adminform"].form
    assert before <= form.initial["created_at"] <= now()


@pytest.fixture
def readers(fresh_wiring):
    """Create three members with cached slates and privacy settings, and a post."""
    then = now() - timedelta(days=1)
    readers = [factories.member(name, at=then) for name in ("ann", "bob", "cay")]
    factories.post(factories.member("author", at=then), at=then)
    for reader in readers:
        recommend(member_id=reader.external_id, now=now())
    assert members_with_slates() == {"ann", "bob", "cay"}
    return readers


def members_with_slates():
    """Return the ids of the members with a cached slate."""
    cache = wiring.slate_cache()
    return {member.external_id for member in m.Member.objects.all() if cache.get(member.pk, "discovery") is not None}


@pytest.fixture
def submit(admin_client, django_capture_on_commit_callbacks):
    """Return a function that submits a form of the admin, which must accept it."""

    def submit(name, form, *args):
        with django_capture_on_commit_callbacks(execute=True):
            response = submit_page(admin_client, reverse(f"admin:recommendations_{name}", args=args), form)
        assert response.status_code == 302, response.context["errors"]

    return submit


PRIVACY_FORM = {
    "is_private": "on",
    "is_personalized": "on",
    "sensitivity": "0",
    "muted_words": "[]",
    "muted_tags": "[]",
    "interest_tags": '["art"]',
}


def test_saving_a_member_with_its_privacy_settings_marks_both_as_changed(readers, submit):
    ann = readers[0]
    inline = {f"privacy-0-{name}": value for name, value in PRIVACY_FORM.items()}
    form = {
        "external_id": "ann",
        "languages": "[]",
        "is_active": "on",
        "created_at_0": "2026-01-01",
        "created_at_1": "00:00:00",
        "privacy-TOTAL_FORMS": "1",
        "privacy-INITIAL_FORMS": "1",
        "privacy-0-member": ann.pk,
    }
    submit("member_change", form | inline, ann.pk)
    changed = m.Member.objects.get(pk=ann.pk)
    assert changed.privacy.is_private
    assert changed.changed_at > ann.changed_at and changed.privacy.changed_at > ann.privacy.changed_at
    assert members_with_slates() == {"bob", "cay"}


def test_saving_privacy_settings_marks_them_as_changed(readers, submit):
    ann = readers[0]
    submit("privacysettings_change", PRIVACY_FORM | {"member": ann.pk}, ann.pk)
    changed = m.Member.objects.get(pk=ann.pk)
    assert changed.privacy.is_private and changed.privacy.changed_at > ann.privacy.changed_at
    assert members_with_slates() == {"bob", "cay"}


def test_a_new_or_deleted_relationship_invalidates_the_slates_of_both_members(
    readers, submit, admin_client, django_capture_on_commit_callbacks
):
    ann, bob, _ = readers
    form = {
        "source": ann.pk,
        "target": bob.pk,
        "kind": "block",
        "created_at_0": "2026-01-01",
        "created_at_1": "00:00:00",
    }
    submit("relationship_add", form)
    relationship = m.Relationship.objects.get()
    assert (relationship.source, relationship.target) == (ann, bob)
    assert members_with_slates() == {"cay"}
    for reader in readers:
        recommend(member_id=reader.external_id, now=now())
    assert members_with_slates() == {"ann", "bob", "cay"}
    selection = {"action": "delete_selected", "_selected_action": [relationship.pk], "post": "yes"}
    with django_capture_on_commit_callbacks(execute=True):
        admin_client.post(reverse("admin:recommendations_relationship_changelist"), selection)
    assert not m.Relationship.objects.exists()
    assert members_with_slates() == {"cay"}


def test_vectors_that_do_not_fit_their_dimension_are_reported_as_damaged(admin_client, rows):
    m.PostEmbedding.objects.update(dimension=9)
    pk = m.PostEmbedding.objects.get().pk
    page = admin_client.get(reverse("admin:recommendations_postembedding_change", args=[pk])).content.decode()
    assert "damaged: 8 numbers do not form rows of 9" in page


def test_jobs_are_cancelled_and_retried(admin_client, rows):
    job = m.Job.objects.get()
    run_action(admin_client, "job", "cancel", [job])
    assert m.Job.objects.get().state == "cancelled"
    run_action(admin_client, "job", "retry", [job])
    assert m.Job.objects.get().state == "running"


def test_failed_items_are_retried_alone(admin_client, rows):
    m.JobChunk.objects.all().delete()
    m.Job.objects.update(state="done", total=3, failed=2)
    failures = [
        m.JobFailure.objects.get(),
        m.JobFailure(job=m.Job.objects.get(), item_id=9, problem="F", failed_at=now()),
    ]
    failures[1].save(force_insert=True)
    run_action(admin_client, "jobfailure", "retry", failures[1:])
    assert m.JobChunk.objects.get().item_ids == [9]
    assert m.JobFailure.objects.get() == failures[0] and m.Job.objects.get().failed == 1


def test_an_old_policy_version_is_copied_and_activated(admin_client, rows):
    policy = m.RankingPolicy.objects.get(variant="control", version=1)
    run_action(admin_client, "rankingpolicy", "copy_as_active", [policy])
    active = m.RankingPolicy.objects.get(variant="control", is_active=True)
    assert (active.version, active.settings) == (2, policy.settings)
    run_action(admin_client, "rankingpolicy", "activate", [policy])
    assert m.RankingPolicy.objects.get(variant="control", is_active=True) == policy


def test_two_versions_of_a_variant_are_not_activated_together(admin_client, rows):
    first = m.RankingPolicy.objects.get(variant="control", version=1)
    second = m.RankingPolicy.objects.create(variant="control", version=2)
    run_action(admin_client, "rankingpolicy", "activate", [first, second])
    assert m.RankingPolicy.objects.get(variant="control", is_active=True) == first
    page = admin_client.get(reverse("admin:recommendations_rankingpolicy_changelist")).content.decode()
    assert "Select one version per variant." in page


def test_a_version_with_a_value_that_is_out_of_range_now_is_not_copied(admin_client, rows):
    """None of the selected versions is copied."""
    policy = m.RankingPolicy.objects.get(variant="control", version=1)
    old = m.RankingPolicy.objects.create(variant="control", version=2)
    m.RankingPolicy.objects.filter(pk=old.pk).update(settings=old.settings | {"taste": 11.0})
    run_action(admin_client, "rankingpolicy", "copy_as_active", [policy, old])
    assert m.RankingPolicy.objects.filter(variant="control").count() == 2
    assert m.RankingPolicy.objects.get(variant="control", is_active=True) == policy
    page = admin_client.get(reverse("admin:recommendations_rankingpolicy_changelist")).content.decode()
    assert "taste" in page and "10" in page


def test_saving_the_page_of_a_policy_version_changes_nothing(admin_client, rows):
    policy = m.RankingPolicy.objects.get(variant="control", version=1)
    url = reverse("admin:recommendations_rankingpolicy_change", args=[policy.pk])
    assert admin_client.post(url, policy_form(note="x")).status_code == 403
    saved = m.RankingPolicy.objects.get(pk=policy.pk)
    assert (saved.variant, saved.settings, saved.note) == (policy.variant, policy.settings, policy.note)
    assert not m.RankingPolicy.objects.filter(variant="bold").exists()


def test_a_new_policy_version_stores_every_setting(admin_client):
    admin_client.post(reverse("admin:recommendations_rankingpolicy_add"), policy_form(taste=3.0))
    stored = m.RankingPolicy.objects.get(variant="bold")
    assert stored.settings == asdict(Policy(taste=3.0)) and not stored.is_active


def policy_form(**values):
    """Return the submitted form of a new policy: the default settings, except for *values*."""
    return {"variant": "bold", "note": "", "started_from": ""} | asdict(Policy()) | values


def test_every_setting_has_one_place_in_the_form_with_its_range(admin_client):
    names = [name for group in SETTING_GROUPS.values() for name in group]
    assert sorted(names) == sorted(asdict(Policy()))
    page = admin_client.get(reverse("admin:recommendations_rankingpolicy_add")).content.decode()
    for group in SETTING_GROUPS:
        assert group in page
    assert "From 0 to 10; the default is 1." in page and "Recency half-life (hours)" in page


def test_a_new_version_starts_from_the_one_that_is_named(admin_client, rows):
    first = m.RankingPolicy.objects.get(variant="control", version=1)
    other = m.RankingPolicy.objects.create(variant="bold", settings=asdict(Policy(taste=4.5)))
    url = reverse("admin:recommendations_rankingpolicy_add")
    assert admin_client.get(url).context["adminform"].form.initial["started_from"] == str(first)
    initial = admin_client.get(f"{url}?from={other.pk}").context["adminform"].form.initial
    assert (initial["variant"], initial["taste"], initial["started_from"]) == ("bold", 4.5, "bold v1")
    m.RankingPolicy.objects.update(is_active=False)
    assert admin_client.get(f"{url}?from=x").context["adminform"].form.initial["taste"] == Policy().taste


def test_a_new_version_is_used_at_once_only_with_a_reason_and_after_the_version_it_started_from(admin_client, rows):
    url = reverse("admin:recommendations_rankingpolicy_add")
    control = policy_form(variant="control", activate="on", started_from="control v1", taste=2.0)
    page = admin_client.post(url, control)
    assert "Give the reason" in str(page.context["adminform"].form.errors["note"])
    assert admin_client.post(url, control | {"note": "more taste"}).status_code == 302
    assert m.RankingPolicy.objects.get(variant="control", is_active=True).settings["taste"] == 2.0
    page = admin_client.post(url, control | {"note": "an older form"})
    assert "Feeds use control v2" in str(page.context["adminform"].form.non_field_errors())
    assert m.RankingPolicy.objects.filter(variant="control").count() == 2
    assert admin_client.post(url, policy_form(variant="Not a slug", activate="on")).status_code == 200
    assert admin_client.post(url, policy_form(activate="on", note="first of its variant")).status_code == 302
    assert m.RankingPolicy.objects.get(variant="bold").is_active


def test_the_policy_page_shows_the_changed_settings(admin_client, rows):
    first = m.RankingPolicy.objects.get(variant="control", version=1)
    changed = first.settings | {"taste": 7.25, "max_interests": 2}
    second = m.RankingPolicy.objects.create(variant="control", version=2, settings=changed, note="<b>bold</b>")
    text = admin_client.get(reverse("admin:recommendations_rankingpolicy_change", args=[second.pk])).content.decode()
    cells = re.findall(r'<td class="px-2">([^<]*)</td>', text)
    assert cells.count("taste") == 2, "compared with the previous and the active version"
    assert "7.25" in cells and "max_interests" in cells and "recency" not in cells
    text = admin_client.get(reverse("admin:recommendations_rankingpolicy_change", args=[first.pk])).content.decode()
    assert "This is the first version of the variant." in text
    listed = admin_client.get(reverse("admin:recommendations_rankingpolicy_changelist")).content.decode()
    assert "taste, max_interests" in listed or "max_interests, taste" in listed
    third = m.RankingPolicy.objects.create(variant="control", version=3, settings=changed)
    text = admin_client.get(reverse("admin:recommendations_rankingpolicy_change", args=[third.pk])).content.decode()
    assert "No differences to control v2." in text
    assert admin_client.get(reverse("admin:recommendations_rankingpolicy_add")).status_code == 200


def test_rows_of_the_service_are_read_only(admin_client, rows):
    for row in rows:
        page = admin.site.get_model_admin(type(row))
        name = f"admin:recommendations_{row._meta.model_name}"
        delete = admin_client.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"})
        assert delete.status_code == (302 if isinstance(row, m.Relationship) else 403)
        if "ReadOnly" in type(page).__mro__[1].__name__:
            assert admin_client.post(reverse(f"{name}_change", args=[row.pk]), {}).status_code == 403


def test_an_embedding_failure_is_retried(admin_client, rows):
    failure = next(row for row in rows if isinstance(row, m.EmbeddingFailure))
    admin_client.post(
        reverse("admin:recommendations_embeddingfailure_changelist"),
        {"action": "retry", "_selected_action": [failure.pk]},
    )
    failure.refresh_from_db()
    assert failure.retry_at is not None
