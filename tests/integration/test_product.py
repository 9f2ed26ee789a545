"""The product report: each figure against a count by hand, its limits, and who may read it."""

import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from monitoring.clock import now
from recommendations import models as m
from recommendations import roles
from recommendations.api.product import build_context
from recommendations.contracts import Sensitivity, Visibility
from recommendations.services.measuring import product
from tests import factories

pytestmark = pytest.mark.django_db
END = datetime(2026, 3, 10, 12, tzinfo=UTC)
MOMENT = END + timedelta(minutes=20)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def fresh_reports(monkeypatch):
    monkeypatch.setattr(product.report_cache, "_reports", {})


@pytest.fixture
def members():
    return [factories.member(f"m{n}", at=END - 90 * DAY, languages=["de" if n < 10 else "fr"]) for n in range(12)]


@pytest.fixture
def posts():
    author = factories.member("author", at=END - 90 * DAY, is_private=False)
    return [factories.post(author, f"p{n}", at=END - 60 * DAY) for n in range(4)]


def serve(member, posts, at, *, variant="control", origins=(1,), reasons=(1,)):
    """Store a slate of these posts and its page, and return the request's id."""
    ids = np.array([post.pk for post in posts], "<i8").tobytes()
    request = m.FeedRequest.objects.create(
        id=uuid4(), member=member, feed="discovery", engine="plain", variant=variant, policy_version=1, post_ids=ids,
        parts=b"", origins=np.resize(np.array(origins, "<u2"), len(posts)).tobytes(),
        reasons=np.resize(np.array(reasons, "<u2"), len(posts)).tobytes(), created_at=at,
    )  # fmt: skip
    m.ServedPage.objects.create(member=member, request_id=request.pk, offset=0, post_ids=ids, created_at=at)
    return request.pk


def add_hour(hour, served, engaged):
    m.FeedHour.objects.create(
        hour=hour, feed="discovery", engine="plain", variant="control", served_count=served, engagement_count=engaged
    )


def figures(report):
    return {figure.key: figure for figure in report.figures}


def measure(days=1):
    return product.measure_product(days=days, now=MOMENT)


def test_the_engagement_rate_is_that_of_the_hours_of_each_period():
    for hour, served, engaged in (
        (END, 100, 100),
        (END - HOUR, 100, 10),
        (END - DAY, 100, 20),
        (END - 25 * HOUR, 50, 1),
    ):
        add_hour(hour, served, engaged)
    rate = figures(measure())["engagement_rate"]
    assert (rate.value, rate.previous, rate.unit) == (15.0, 2.0, "%")
    two_days = measure(days=2)
    assert [(row.served_count, row.engagement_rate) for row in two_days.by_day] == [(50, 2.0), (200, 15.0)]
    assert two_days.by_day[0].starts_at == END - 2 * DAY
    assert figures(two_days)["engagement_rate"].previous is None


def test_coverage_gini_and_novelty_are_those_of_the_sampled_pages(members, posts):
    for member in members:
        serve(member, posts[:2], END - HOUR)
    serve(members[0], posts[:1], END - 2 * HOUR)
    m.PostStats.objects.create(post=posts[0], positive_count=6, summed_at=END, changed_at=END)
    found = figures(report := measure())
    assert (report.page_count, report.member_count) == (13, 12)
    assert found["coverage"].value == 50.0
    counts = np.array([0, 0, 12, 13])
    gini = np.abs(counts[:, None] - counts).sum() / (2 * 4 * 25)
    assert found["gini"].value == round(float(gini), 3)
    active = 13
    bits = (13 * -np.log2(7 / (active + 1)) + 12 * -np.log2(1 / (active + 1))) / 25
    assert found["novelty"].value == round(float(bits), 3)
    assert found["coverage"].previous is None


def test_no_more_pages_are_read_than_allowed_and_each_day_counts(members, posts, monkeypatch):
    monkeypatch.setattr(product, "MAX_PAGES", 24)
    for day in (0, 1):
        for member in members:
            serve(member, posts[:1], END - DAY * day - HOUR)
            serve(member, posts[1:2], END - DAY * day - 2 * HOUR)
    report = measure(days=2)
    assert report.page_count == 24
    assert figures(report)["coverage"].value == 25.0, "only the newest pages of each day"


def test_figures_about_fewer_members_than_the_limit_are_left_out(members, posts):
    for member in members[: product.MIN_MEMBERS - 1]:
        request = serve(member, posts, END - HOUR)
        factories.interaction(member, posts[0], at=END - HOUR, request_id=request)
        feedback(member, posts[0], END - HOUR)
    add_hour(END - HOUR, 36, 9)
    report = measure()
    assert report.member_count is None
    values = {key: figure.value for key, figure in figures(report).items()}
    assert values.pop("engagement_rate") == 25.0
    assert set(values.values()) == {None}
    assert (report.sources, report.reasons, report.feedback_by_target) == ({}, {}, {})
    assert not report.segments and not report.top_posts and not report.rising_posts and not report.feedback_effect
    assert {row.negative_feedback_count for row in report.by_day} == {None}


def feedback(member, post, at, target="topic", key="art"):
    return m.NegativeFeedback.objects.create(
        member=member, target=target, target_key=key, post=post, event_id=str(uuid4()), created_at=at
    )


def test_new_posts_count_once_they_were_served_often_enough(posts):
    author = posts[0].author
    for n, served in enumerate((0, 19, 20, 300)):
        post = factories.post(author, f"new{n}", at=END, created_at=END - HOUR)
        if served:
            m.PostStats.objects.create(post=post, served_count=served, summed_at=END, changed_at=END)
    factories.post(author, "hidden", at=END, created_at=END - HOUR, visibility=Visibility.PRIVATE)
    factories.post(author, "removed", at=END, created_at=END - HOUR, removed_at=END)
    assert figures(measure())["new_posts_reached"].value == 50.0


def test_the_cold_start_share_counts_posts_of_members_with_little_history(members, posts):
    vector = np.ones((1, 8), "<f4").tobytes()
    for member in members:
        serve(member, posts[:2] if member in members[:4] else posts[:1], END - HOUR)
    for member in members[4:]:
        m.InterestProfile.objects.create(
            member=member, embedding_model="tiny", dimension=8, positive=vector, positive_mass=b"", negative=b"",
            negative_mass=b"", interaction_count=5, reference_at=END, changed_at=END,
        )  # fmt: skip
    m.InterestProfile.objects.filter(member=members[4]).update(interaction_count=4)
    assert figures(measure())["cold_start_share"].value == round(100 * 9 / 16, 3)


def test_shares_of_sources_and_reasons_count_the_served_picks(members, posts):
    for member in members:
        request = serve(member, posts, END - HOUR, origins=(0b1, 0b101, 0b100, 0b100), reasons=(0b1, 0b1, 0b1, 0b0))
    last = m.ServedPage.objects.get(request_id=request)
    last.post_ids = np.array([posts[0].pk], "<i8").tobytes()
    last.save()
    m.FeedRequest.objects.filter(member=members[0]).update(origins=b"", reasons=b"")
    report = measure()
    total = 11 * 4 + 1
    assert report.sources == {
        "trending": round(100 * 30 / total, 1),
        "nearest": round(100 * 21 / total, 1),
    }
    assert report.reasons == {"taste": round(100 * 31 / total, 1)}


def test_segments_are_the_variants_and_languages_with_enough_members(members, posts):
    for number, member in enumerate(members):
        request = serve(member, posts, END - HOUR, variant="bold" if number < 11 else "shy")
        if number < 3:
            for _ in range(2):
                factories.interaction(member, posts[0], at=END - HOUR, request_id=request)
    serve(members[0], posts, END - HOUR)
    m.FeedRequest.objects.latest("created_at")
    found = {(row.kind, row.name): row for row in measure().segments}
    assert set(found) == {("variant", "bold"), ("language", "de")}
    bold = found["variant", "bold"]
    assert (bold.member_count, bold.served_count, bold.cold_start_share) == (11, 44, 100.0)
    assert bold.engagement_rate == round(100 * 3 / 44, 3), "each post of a request counts once"
    assert found["language", "de"].served_count == 44


def test_pages_without_a_request_or_of_members_without_a_language_are_in_no_such_segment(members, posts):
    m.Member.objects.update(languages=[])
    ids = np.array([post.pk for post in posts], "<i8").tobytes()
    for member in members:
        m.ServedPage.objects.create(member=member, request_id=uuid4(), offset=0, post_ids=ids, created_at=END - HOUR)
    report = measure()
    assert (report.member_count, report.segments, report.sources) == (12, [], {})


def test_an_engagement_that_names_the_request_of_another_member_does_not_count(members, posts):
    requests = [serve(member, posts, END - HOUR) for member in members]
    factories.interaction(members[0], posts[0], at=END - HOUR, request_id=requests[1])
    assert {row.engagement_rate for row in measure().segments} == {0.0}


def test_pages_before_the_oldest_engagement_that_was_read_do_not_lower_the_rate(members, posts, monkeypatch):
    monkeypatch.setattr(product, "MAX_INTERACTIONS", 2)
    for member in members:
        serve(member, posts[:1], END - 5 * HOUR)
    late = [serve(member, posts[:1], END - HOUR) for member in members]
    factories.interaction(members[2], posts[0], at=END - 4 * HOUR)
    for number in (0, 1):
        factories.interaction(members[number], posts[0], at=END - HOUR, request_id=late[number])
    rate = next(row for row in measure().segments if row.kind == "variant").engagement_rate
    assert rate == round(100 * 2 / 12, 3)


def test_top_and_rising_posts_are_public_and_have_enough_members(members, posts):
    steady, rising, private, few = posts
    m.Post.objects.filter(pk=private.pk).update(visibility=Visibility.PRIVATE)
    closed = factories.post(factories.member("closed", at=END, is_private=True), "closed", at=END - 60 * DAY)
    for member in members:
        factories.interaction(member, steady, at=END - DAY - HOUR)
    for member in members[:3]:
        factories.interaction(member, rising, at=END - DAY - HOUR)
    for member in members:
        for post in (steady, private, closed):
            factories.interaction(member, post, at=END - HOUR)
    for member in members[:11]:
        factories.interaction(member, rising, "click", at=END - HOUR)
        factories.interaction(member, rising, at=END - HOUR)
    for member in members[:9]:
        factories.interaction(member, few, at=END - HOUR)
    factories.interaction(members[11], rising, "view", at=END - HOUR)
    report = measure()
    assert [(row.post_id, row.member_count, row.previous_member_count) for row in report.top_posts] == [
        (steady.external_id, 12, 12),
        (rising.external_id, 11, 3),
    ]
    assert [row.post_id for row in report.rising_posts] == [rising.external_id]


def test_negative_feedback_is_counted_by_day_and_target_with_its_effect(members, posts):
    add_hour(END - HOUR, 3_000, 0)
    art, other = posts[0], posts[1]
    m.Post.objects.filter(pk=art.pk).update(tags=["art"])
    for member in members:
        serve(member, [art, other], END - 5 * HOUR)
        feedback(member, art, END - 4 * HOUR)
        serve(member, [other, posts[2], posts[3], art], END - HOUR)
    feedback(members[0], art, END - 30 * HOUR, "post", str(art.pk))
    report = measure()
    assert report.feedback_by_target == {"topic": 12}
    assert [row.negative_feedback_count for row in report.by_day] == [12]
    assert figures(report)["negative_feedback_rate"].value == 4.0
    assert report.feedback_effect == product.FeedbackEffect(12, 50.0, 25.0)


def test_a_report_of_an_empty_platform_has_no_values():
    report = measure(days=28)
    assert {figure.value for figure in report.figures} == {None}
    assert len(report.by_day) == 28 and report.page_count == 0


def test_the_gini_coefficient_of_equal_counts_is_zero_and_of_one_post_close_to_one():
    assert product.compute_gini(np.full(5, 3.0), 5) == pytest.approx(0)
    assert product.compute_gini(np.array([7.0]), 1_000) == pytest.approx(0.999)
    assert product.compute_gini(np.array([]), 9) is None


def test_the_number_of_statements_does_not_depend_on_the_pages(members, posts, django_assert_max_num_queries):
    for member in members * 5:
        serve(member, posts, END - HOUR)
    with django_assert_max_num_queries(75):
        measure()


def test_a_report_is_kept_for_a_minute():
    first = product.report_cache.get(days=1, now=MOMENT)
    add_hour(END - HOUR, 100, 50)
    assert product.report_cache.get(days=1, now=MOMENT + timedelta(seconds=59)) is first
    assert figures(product.report_cache.get(days=1, now=MOMENT + timedelta(seconds=60)))["engagement_rate"].value == 50


def staff_client(client, *permissions):
    client.force_login(factories.staff(*permissions))
    return client


def test_the_api_returns_the_report(client, redis_url):
    add_hour(now().replace(minute=0, second=0, microsecond=0) - HOUR, 200, 30)
    body = staff_client(client, "Viewer").get("/api/v1/product-report?days=1").json()
    assert body["figures"][0] == body["figures"][0] | {"key": "engagement_rate", "value": 15.0, "previous": None}
    assert body["days"] == 1 and len(body["by_day"]) == 1 and body["member_count"] is None
    assert client.get("/api/v1/product-report").json()["days"] == 7


@pytest.mark.parametrize("days", ["0", "29", "x", "1.5"])
def test_the_api_refuses_other_numbers_of_days(client, days, redis_url):
    response = staff_client(client, "Viewer").get(f"/api/v1/product-report?days={days}")
    assert response.status_code == 400 and "days" in response.content.decode()


def test_the_page_is_for_staff_who_may_read_metrics(client):
    assert client.get("/product/").status_code == 302
    client.force_login(User.objects.create_user("nobody", is_staff=True))
    assert client.get("/product/").status_code == 403
    page = staff_client(client, "Viewer").get("/product/").content.decode()
    assert "Engagement rate" in page and "there are fewer" in page and 'aria-current="page">7 days' in page
    for figure in measure().figures:
        assert figure.help.split(".")[0].split("'")[0][:40] in page


def test_the_page_has_only_the_ranges_that_it_links_to(client):
    page = staff_client(client, "Viewer").get("/product/28/").content.decode()
    assert 'aria-current="page">28 days' in page and 'href="/product/1/"' in page
    assert client.get("/product/5/").status_code == 404


def test_the_page_draws_what_the_report_has(client, members, posts):
    hour = now().replace(minute=0, second=0, microsecond=0)
    for day in range(3):
        add_hour(hour - DAY * day - HOUR, 100, 10 * (day + 1))
    for member in members:
        request = serve(member, posts, hour - HOUR, origins=(0b10,))
        factories.interaction(member, posts[0], at=hour - HOUR, request_id=request)
        feedback(member, posts[0], hour - HOUR, "author", "1")
    page = staff_client(client, "Viewer").get("/product/").content.decode()
    assert page.count("<polyline") == 2 and page.count("<circle") == 3 + 7
    assert "followed" in page and posts[0].external_id in page and "Variant control" in page
    assert "<style" not in page and "<script" not in page and " style=" not in page
    assert reverse("api-product-report") in page
    german = client.get("/product/", headers={"Accept-Language": "de"}).content.decode()
    assert '<html lang="de">' in german and "Aus der Stichprobe" in german and "Interaktionsrate" in german
    assert "Variante control" in german and "30,00 %" in german
    assert re.findall(r'points="([^"]*)"', german) == re.findall(r'points="([^"]*)"', page)


@pytest.fixture
def top_post(members, posts):
    """A post at the top of the lists, with a long text and pictures."""
    post = posts[0]
    post.text = "\n Bread & <b>butter</b> for everyone\nA second line"
    remote = {"kind": "image", "url": "https://elsewhere.example/a.png", "alt": "Remote"}
    local = {"kind": "image/png", "url": "http://testserver/static/a.png", "alt": "A loaf"}
    other_host = remote | {"url": "//elsewhere.example/a.png"}
    post.media = ["wrong", {"kind": "video", "url": local["url"]}, remote, other_host, local]
    post.save()
    for member in members:
        factories.interaction(member, post, at=now().replace(minute=0, second=0, microsecond=0) - HOUR)
    return post


def list_top_posts(client):
    page = client.get("/product/1/").content.decode()
    return page.split('id="posts-1"')[1].split("</section>")[0]


def test_readers_who_may_read_posts_see_what_the_listed_posts_are(client, top_post):
    listed = list_top_posts(staff_client(client, "Editor"))
    assert ">Bread &amp; &lt;b&gt;butter&lt;/b&gt; for everyone</a>" in listed and "second line" not in listed
    assert reverse("admin:recommendations_post_change", args=[top_post.pk]) in listed
    assert "by author" in listed and "?mode=similar&amp;text=p0" in listed
    assert '<img src="http://testserver/static/a.png" alt="A loaf"' in listed and "elsewhere" not in listed
    top_post.media[-1]["url"] = "/static/a.png"
    top_post.save()
    assert '<img src="/static/a.png" alt="A loaf"' in list_top_posts(staff_client(client, "Editor"))
    m.Post.objects.filter(pk=top_post.pk).update(sensitivity=Sensitivity.SENSITIVE)
    assert "<img" not in list_top_posts(client), "a sensitive picture is shown to nobody who did not ask for it"
    m.Post.objects.filter(pk=top_post.pk).update(text="word " * 100, media=[])
    listed = list_top_posts(client)
    assert f">{('word ' * 20).rstrip()}…</a>" in listed and "<img" not in listed
    m.Post.objects.filter(pk=top_post.pk).update(text="")
    assert ">Without text</a>" in list_top_posts(client)


def test_readers_who_may_not_read_posts_see_ids_only(client, top_post):
    listed = list_top_posts(staff_client(client, "Viewer"))
    assert top_post.external_id in listed
    assert not any(text in listed for text in ("Bread", "author", "<a ", "<img", "similar"))


def test_the_link_to_the_explorer_is_for_readers_of_feeds(client, top_post):
    user = factories.staff("Viewer")
    user.user_permissions.set(roles.find_permissions({"recommendations.view_post"}))
    client.force_login(user)
    listed = list_top_posts(client)
    assert "Bread" in listed and "similar" not in listed


@pytest.mark.parametrize("role", ["Viewer", "Editor"])
@pytest.mark.parametrize(
    "hide",
    [
        lambda post: m.Post.objects.filter(pk=post.pk).update(removed_at=now()),
        lambda post: m.Post.objects.filter(pk=post.pk).update(visibility=Visibility.PRIVATE),
        lambda post: m.Post.objects.filter(pk=post.pk).update(visibility=Visibility.FOLLOWERS),
        lambda post: m.Post.objects.filter(pk=post.pk).update(sensitivity=Sensitivity.FORBIDDEN),
        lambda post: m.Member.objects.filter(pk=post.author_id).update(is_active=False),
        lambda post: m.PrivacySettings.objects.filter(member_id=post.author_id).update(is_private=True),
        lambda post: post.delete(),
    ],
    ids=["removed", "private", "for followers", "forbidden", "inactive author", "private author", "erased"],
)
def test_a_post_that_is_no_longer_public_is_left_out_though_the_report_is_cached(client, top_post, hide, role):
    assert top_post.external_id in list_top_posts(staff_client(client, role))
    hide(top_post)
    listed = list_top_posts(client)
    assert top_post.external_id not in listed and "Bread" not in listed
    assert "No public post has the engagement" in listed


def test_figures_are_compared_in_words():
    def words(value, previous, unit="%"):
        figure = product.Figure("gini", "t", unit, value, previous, "h")
        report = measure()
        context = build_context(
            product.ProductReport(
                **{name: getattr(report, name) for name in product.ProductReport.__slots__ if name != "figures"},
                figures=[figure],
            )
        )
        card = context["cards"][0]
        return f"{card.value} {card.unit}".strip(), card.comparison

    assert words(12.5, 10.0) == ("12.5 %", "▲ 2.5 percentage points more than before (10 %)")
    assert words(1.25, 1.5, "bits") == ("1.25 bits", "▼ 0.25 less than before (1.5 bits)")
    assert words(3.0, 3.0, "") == ("3", "As in the period before (3)")
    assert words(3.0, None) == ("3 %", "No data for the period before")
    assert words(None, 3.0) == ("–", "No data, or too few members")
