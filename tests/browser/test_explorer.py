"""The explorer in a real browser, with a real server and a real worker that learns from the clicks."""

import itertools
import re

import numpy as np
import pytest
from django.conf import settings
from playwright.sync_api import expect

from monitoring.clock import now
from recommendations.models import Interaction, Member, Post, ReactionHistory
from recommendations.services.learning import co_likes

TIMEOUT_MS = 15_000


def displayed_post_ids(page):
    return [card.get_attribute("data-post") for card in page.locator("#feed .card").all()]


def open_feed(page, member_id="ann", feed="discovery"):
    page.goto(f"/explore/?member_id={member_id}&feed={feed}")
    expect(page.locator("#feed .card").first).to_be_visible(timeout=TIMEOUT_MS)


WIDE = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True}


@pytest.mark.parametrize(
    "page",
    [WIDE, PHONE, WIDE | {"color_scheme": "dark"}, PHONE | {"color_scheme": "dark"}],
    indirect=True,
    ids=["wide", "phone", "wide dark", "phone dark"],
)
def test_the_page_fits_the_viewport_and_uses_the_color_scheme(page, request):
    open_feed(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(background.removeprefix("rgb(").split(",")[0])
    assert (red < 60) == ("dark" in request.node.name)
    card = page.locator("#feed .card").first
    for selector in (".text", ".reasons", ".parts", ".score", ".like", ".hide"):
        expect(card.locator(selector)).to_be_visible()
    assert page.locator("#feed img").count() == 0  # the text of a post is never HTML


def test_a_like_changes_the_next_page(page):
    open_feed(page)
    before = displayed_post_ids(page)
    liked = next(post for post in before if post.startswith("bread"))
    page.get_by_role("button", name=f"Like post {liked}", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Liked. The page changed", timeout=TIMEOUT_MS)
    after = displayed_post_ids(page)
    assert liked not in after
    assert after != [post for post in before if post != liked][: len(after)]
    row = Interaction.objects.get()
    assert (row.member.external_id, row.post.external_id, row.kind) == ("ann", liked, "like")
    assert row.request_id is not None


def test_a_hidden_post_disappears_from_the_feed(page):
    open_feed(page)
    first = displayed_post_ids(page)[0]
    page.get_by_role("button", name=f"Hide post {first}", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Hidden. ", timeout=TIMEOUT_MS)
    expect(page.locator("#status")).not_to_contain_text("Waiting", timeout=TIMEOUT_MS)
    assert first not in displayed_post_ids(page)


def test_show_less_of_an_author_and_its_undo(page):
    open_feed(page)
    card = page.locator("#feed .card").first
    post = card.get_attribute("data-post")
    card.locator(".show-less summary").click()
    card.get_by_role("button", name="Show less: posts by").click()
    expect(page.locator("#status")).to_contain_text("Less of this author. The page changed", timeout=TIMEOUT_MS)
    assert post not in displayed_post_ids(page)
    row = Interaction.objects.get()
    assert (row.kind, row.target) == ("not_interested", "author")
    page.get_by_role("button", name="Undo: Less of this author").click()
    expect(page.locator("#status")).to_contain_text("Less of this author: undone.", timeout=TIMEOUT_MS)
    expect(page.locator(f'#feed .card[data-post="{post}"]')).to_be_visible(timeout=TIMEOUT_MS)
    row.refresh_from_db()
    assert row.undone_at is not None


@pytest.mark.parametrize("page", [WIDE, PHONE], indirect=True, ids=["wide", "phone"])
def test_the_show_less_choices_have_a_gap(page):
    open_feed(page)
    card = page.locator("#feed .card").first
    card.locator(".show-less summary").click()
    buttons = card.locator(".show-less button")
    expect(buttons).to_have_count(3)
    boxes = [element.bounding_box() for element in (card.locator(".show-less summary"), *buttons.all())]
    for first, second in itertools.combinations(boxes, 2):
        horizontal_gap = max(second["x"] - first["x"] - first["width"], first["x"] - second["x"] - second["width"])
        vertical_gap = max(second["y"] - first["y"] - first["height"], first["y"] - second["y"] - second["height"])
        assert max(horizontal_gap, vertical_gap) >= 7, (first, second)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_pager_works_by_keyboard(page):
    open_feed(page)
    first = displayed_post_ids(page)
    page.locator("#next").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#page")).to_have_text("Page 2")
    second = displayed_post_ids(page)
    assert second
    assert not set(first) & set(second)
    page.locator("#previous").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#page")).to_have_text("Page 1")
    assert displayed_post_ids(page) == first


def test_a_member_is_searched_and_selected_by_keyboard(page):
    open_feed(page)
    page.locator("#member-search").fill("new")
    expect(page.locator("#members button")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#members [aria-current=true]")).to_contain_text("newcomer")
    expect(page.locator("#feed .card").first).to_be_visible()
    assert "member_id=newcomer" in page.url


def test_similar_posts_open_in_a_drawer_that_escape_closes(page):
    open_feed(page)
    page.locator("#feed .more").first.click()
    expect(page.locator("#drawer-content .card").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#drawer")).not_to_be_visible()


@pytest.mark.parametrize("page", [WIDE, PHONE | {"color_scheme": "dark"}], indirect=True, ids=["wide", "phone dark"])
def test_a_search_finds_posts_and_a_tab_returns_to_the_feed(page):
    open_feed(page)
    page.get_by_label("Posts about").fill("rocket to the moon")
    page.keyboard.press("Enter")
    expect(page.locator(".part-similarity").first).to_be_attached()
    assert {post.split("/")[0] for post in displayed_post_ids(page)[:5]} == {"space"}
    assert "text=rocket" in page.url and page.locator("#feeds [aria-pressed=true]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.reload()
    expect(page.locator(".part-similarity").first).to_be_attached()
    page.get_by_role("button", name="Trending", exact=True).click()
    expect(page.locator(".part-similarity")).to_have_count(0)
    expect(page.get_by_label("Posts about")).to_have_value("")


@pytest.mark.parametrize("page", [WIDE, PHONE | {"color_scheme": "dark"}], indirect=True, ids=["wide", "phone dark"])
def test_a_post_is_explained_whether_it_was_served_or_not(page):
    open_feed(page)

    def request_explanation(post_id):
        page.get_by_label("Explain post").fill(post_id)
        page.get_by_label("Explain post").press("Enter")

    request_explanation(displayed_post_ids(page)[0])
    expect(page.locator(".sentence")).to_have_text("The post was served on a page of this request.")
    expect(page.locator("#drawer-content .parts")).to_be_visible()
    expect(page.locator(".facts")).to_contain_text("1 of 30")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("Escape")
    hidden = displayed_post_ids(page)[1]
    page.get_by_role("button", name=f"Hide post {hidden}", exact=True).click()
    expect(page.locator("#status")).not_to_contain_text("Waiting", timeout=TIMEOUT_MS)
    assert hidden not in displayed_post_ids(page)
    # A like builds a new slate. The one before had served the hidden post.
    liked = next(post for post in displayed_post_ids(page) if post.startswith("bread"))
    page.get_by_role("button", name=f"Like post {liked}", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Liked. The page changed", timeout=TIMEOUT_MS)
    request_explanation(hidden)
    expect(page.locator(".facts")).to_contain_text("not_hidden")
    page.keyboard.press("Escape")
    request_explanation("nothing")
    expect(page.locator("#drawer-content .error")).to_contain_text("There is no post 'nothing'")
    page.console_errors.clear()  # the browser logs each 404
    page.keyboard.press("Escape")
    page.get_by_label("Posts about").fill("rocket to the moon")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".part-similarity").first).to_be_attached()
    request_explanation(displayed_post_ids(page)[0])
    expect(page.locator(".sentence")).to_have_text("The post was served on a page of this request.")
    page.console_errors.clear()


@pytest.mark.parametrize("page", [WIDE, PHONE | {"color_scheme": "dark"}], indirect=True, ids=["wide", "phone dark"])
def test_an_explanation_names_the_likes_behind_a_pick(page):
    liked, other = Post.objects.get(external_id="bread/3"), Post.objects.get(external_id="space/4")
    for name, posts in (("bob", [liked, other]), ("newcomer", [liked, other]), ("ann", [liked])):
        reactions = np.array([post.pk for post in posts], "<i8")
        ReactionHistory.objects.create(
            member=Member.objects.get(external_id=name),
            reactions=reactions.tobytes(),
            reacted_at=np.arange(len(posts), dtype="<f8").tobytes(),
        )
    co_likes.count_changes(now=now())
    open_feed(page)
    page.get_by_label("Explain post").fill("space/4")
    page.get_by_label("Explain post").press("Enter")
    expect(page.locator(".because")).to_contain_text(re.compile(r"co liked, because of\s*\+\d+\.\d+ bread "))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.console_errors.clear()  # the browser logs a 404 until the request is recorded


def test_badges_show_engine_and_cache(page):
    open_feed(page)
    expect(page.locator(".badge-engine")).to_have_attribute("data-value", re.compile(r"^(plain|wasm_simd)$"))
    page.locator("#explain").uncheck()
    page.locator("#reload").click()
    expect(page.locator(".badge-cache")).to_have_attribute("data-value", "cached")


def test_an_empty_feed_and_an_unknown_member_show_a_message(page):
    page.goto("/explore/?member_id=ann&feed=following")
    expect(page.locator("#feed .empty")).to_contain_text("follows no author")
    page.goto("/explore/?member_id=nobody")
    expect(page.locator("#status")).to_contain_text("There is no member 'nobody'")
    assert page.console_errors  # the browser logs the 404
    page.console_errors.clear()


def test_staff_send_interactions_with_the_csrf_token_of_the_page(page, monkeypatch, django_user_model):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": False}))
    django_user_model.objects.create_superuser("admin", password="correct horse battery")
    page.goto("/explore/")
    page.locator("[name=login]").fill("admin")
    page.locator("[name=password]").fill("correct horse battery")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r":\d+/explore/"), timeout=TIMEOUT_MS)
    page.console_errors.clear()  # the login page requests a missing favicon
    open_feed(page)
    first = displayed_post_ids(page)[0]
    page.get_by_role("button", name=f"Hide post {first}", exact=True).click()
    expect(page.locator("#status")).to_contain_text("The page", timeout=TIMEOUT_MS)
    assert Interaction.objects.count() == 1
