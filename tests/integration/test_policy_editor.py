"""The preview of the form for a new policy: how its values would change feeds, for those who may read feeds."""

from dataclasses import asdict, replace
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse

from recommendations.contracts import Policy
from recommendations.models import FeedRequest, RankingPolicy
from recommendations.services import policies
from recommendations.services.serving import policy_preview
from recommendations.services.serving.policy_preview import describe_movement, preview_policy
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]
BY_AGE = replace(
    Policy(), recency=10, taste=0, popularity=0, few_likes_popularity=0, diversity=0, exploration=0, exploration_share=0
)
OLDEST_FIRST = replace(BY_AGE, recency=0, popularity=10)


@pytest.fixture
def ann():
    """Create Ann, who liked a post last, and posts whose popularity grows with their age."""
    ann = factories.member("ann")
    for number in range(6):
        created_at = NOW - timedelta(hours=number + 1)
        post = factories.post(factories.member(), f"p{number}", text=f"<i>bread</i> {number}", created_at=created_at)
        factories.popularity(post, float(number))
    factories.embed_all_posts()
    factories.interaction(ann, post, "view")
    policies.put_policy(variant="newest", settings=asdict(BY_AGE), note="", version=0)
    return ann


def ids(picks):
    return [pick.post.id for pick in picks]


def submitted(policy, **values):
    return {"variant": "newest", "note": "", "preview_members": ""} | asdict(policy) | values


def test_both_orders_are_shown_with_what_moved(ann):
    [preview] = preview_policy(OLDEST_FIRST, variant="newest", member_ids=["ann"], now=NOW)
    before, after = ids(preview.served), ids([row.pick for row in preview.previewed])
    assert before[0] == "p0" and after != before
    assert {row.pick.post.id: row.movement for row in preview.previewed} == {
        post_id: describe_movement(before.index(post_id), rank) for rank, post_id in enumerate(after)
    }
    assert not FeedRequest.objects.exists()


def test_a_movement_is_described_in_words():
    assert [describe_movement(*ranks) for ranks in ((None, 0), (1, 1), (3, 1), (0, 2))] == ["new", "", "up 2", "down 2"]


def test_without_a_choice_the_members_who_acted_last_are_shown(ann):
    [preview] = preview_policy(BY_AGE, variant="newest", member_ids=[], now=NOW)
    assert preview.member_id == "ann"
    ann.is_active = False
    ann.save()
    assert policy_preview.find_recent_members() == []


def test_the_page_shows_feeds_differences_and_problems(ann, admin_client):
    url = reverse("admin:recommendations_rankingpolicy_preview")
    page = admin_client.post(url, submitted(OLDEST_FIRST, preview_members="ann, nobody, a\0b")).content.decode()
    assert "&lt;i&gt;bread&lt;/i&gt; 0" in page and "<i>bread" not in page
    assert "<tr><td>Recency</td><td>10.0</td><td>0.0</td></tr>" in page
    assert "There is no member &#x27;nobody&#x27;" in page and page.count('class="problem"') == 2, "no id has a NUL"
    page = admin_client.post(url, submitted(BY_AGE)).content.decode()
    assert "No setting differs" in page and "<h3>ann</h3>" in page
    page = admin_client.post(url, submitted(BY_AGE, taste=11, variant="")).content.decode()
    assert "Taste: " in page and "Variant: This field is required." in page and "<h3>" not in page
    page = admin_client.post(url, submitted(Policy(), variant="not-stored")).content.decode()
    assert "No setting differs" in page


def test_only_who_may_read_feeds_and_write_policies_may_preview(ann, client):
    url = reverse("admin:recommendations_rankingpolicy_preview")
    for role, status in (("Viewer", 403), ("Editor", 403), ("Releaser", 200)):
        client.force_login(factories.staff(role))
        assert client.post(url, submitted(BY_AGE)).status_code == status, role


def test_the_form_is_for_new_versions_and_a_stored_one_lists_its_settings(ann, admin_client):
    page = admin_client.get(reverse("admin:recommendations_rankingpolicy_add")).content.decode()
    assert 'class="policy-preview"' in page
    stored = RankingPolicy.objects.get(variant="newest")
    page = admin_client.get(reverse("admin:recommendations_rankingpolicy_change", args=[stored.pk])).content.decode()
    assert 'class="policy-preview"' not in page
    assert f"?from={stored.pk}" in page and "Recency half-life (hours)" in page


@pytest.mark.parametrize("settings", [[1], {"taste": 11}])
def test_a_row_refuses_settings_that_are_no_policy(settings):
    with pytest.raises(ValidationError):
        RankingPolicy(variant="bold", settings=settings).full_clean()
