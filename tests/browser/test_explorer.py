"""The explorer in a real browser, on a real server, with a real worker that learns from what is clicked."""

import re

import pytest
from django.conf import settings
from playwright.sync_api import expect

from recommendations.models import Interaction

TIMEOUT_MS = 15_000


def shown_posts(page):
    return [card.get_attribute("data-post") for card in page.locator("#feed .card").all()]


def open_feed(page, member="ann", feed="discovery"):
    page.goto(f"/explore/?member={member}&feed={feed}")
    expect(page.locator("#feed .card").first).to_be_visible(timeout=TIMEOUT_MS)


WIDE = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True}


@pytest.mark.parametrize(
    "page",
    [WIDE, PHONE, WIDE | {"color_scheme": "dark"}, PHONE | {"color_scheme": "dark"}],
    indirect=True,
    ids=["wide", "phone", "wide dark", "phone dark"],
)
def test_the_page_fits_and_follows_the_scheme(page, request):
    open_feed(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(background.removeprefix("rgb(").split(",")[0])
    assert (red < 60) == ("dark" in request.node.name)
    card = page.locator("#feed .card").first
    for part in (".text", ".reasons", ".parts", ".score", ".like", ".hide"):
        expect(card.locator(part)).to_be_visible()
    assert page.locator("#feed img").count() == 0  # a text stays a text


def test_a_like_changes_the_next_page(page):
    open_feed(page)
    before = shown_posts(page)
    liked = next(post for post in before if post.startswith("bread"))
    page.get_by_role("button", name=f"Like post {liked}", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Liked. The page changed", timeout=TIMEOUT_MS)
    after = shown_posts(page)
    assert liked not in after
    assert after != [post for post in before if post != liked][: len(after)]
    row = Interaction.objects.get()
    assert (row.member.external_id, row.post.external_id, row.kind) == ("ann", liked, "like")
    assert row.request_id is not None


def test_a_hidden_post_is_gone(page):
    open_feed(page)
    first = shown_posts(page)[0]
    page.get_by_role("button", name=f"Hide post {first}", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Hidden. ", timeout=TIMEOUT_MS)
    expect(page.locator("#status")).not_to_contain_text("Waiting", timeout=TIMEOUT_MS)
    assert first not in shown_posts(page)


def test_less_of_something_and_its_undo(page):
    open_feed(page)
    card = page.locator("#feed .card").first
    post = card.get_attribute("data-post")
    card.locator(".less summary").click()
    card.get_by_role("button", name="Less of posts by").click()
    expect(page.locator("#status")).to_contain_text("Less of this author. The page changed", timeout=TIMEOUT_MS)
    assert post not in shown_posts(page)
    row = Interaction.objects.get()
    assert (row.kind, row.target) == ("not_interested", "author")
    page.get_by_role("button", name="Undo: Less of this author").click()
    expect(page.locator("#status")).to_contain_text("taken back.", timeout=TIMEOUT_MS)
    expect(page.locator(f'#feed .card[data-post="{post}"]')).to_be_visible(timeout=TIMEOUT_MS)
    row.refresh_from_db()
    assert row.undone_at is not None


def test_pages_are_turned_by_keyboard(page):
    open_feed(page)
    first = shown_posts(page)
    page.locator("#next").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#page")).to_have_text("Page 2")
    second = shown_posts(page)
    assert second
    assert not set(first) & set(second)
    page.locator("#previous").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#page")).to_have_text("Page 1")
    assert shown_posts(page) == first


def test_a_member_is_found_and_chosen_by_keyboard(page):
    open_feed(page)
    page.locator("#search").fill("new")
    expect(page.locator("#members button")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#members [aria-current=true]")).to_contain_text("newcomer")
    expect(page.locator("#feed .card").first).to_be_visible()
    assert "member=newcomer" in page.url


def test_similar_posts_open_in_a_drawer_that_escape_closes(page):
    open_feed(page)
    page.locator("#feed .more").first.click()
    expect(page.locator("#told .card").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#drawer")).not_to_be_visible()


@pytest.mark.parametrize("page", [WIDE, PHONE | {"color_scheme": "dark"}], indirect=True, ids=["wide", "phone dark"])
def test_words_find_posts_and_a_tab_leads_back(page):
    open_feed(page)
    page.get_by_label("Posts about").fill("rocket to the moon")
    page.keyboard.press("Enter")
    expect(page.locator(".part-likeness").first).to_be_attached()
    assert {post.split("/")[0] for post in shown_posts(page)[:5]} == {"space"}
    assert "words=rocket" in page.url and page.locator("#feeds [aria-pressed=true]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.reload()
    expect(page.locator(".part-likeness").first).to_be_attached()
    page.get_by_role("button", name="Trending", exact=True).click()
    expect(page.locator(".part-likeness")).to_have_count(0)
    expect(page.get_by_label("Posts about")).to_have_value("")


@pytest.mark.parametrize("page", [WIDE, PHONE | {"color_scheme": "dark"}], indirect=True, ids=["wide", "phone dark"])
def test_why_a_post_is_there_or_not(page):
    open_feed(page)

    def ask(post):
        page.get_by_label("Why not post").fill(post)
        page.get_by_label("Why not post").press("Enter")

    ask(shown_posts(page)[0])
    expect(page.locator(".sentence")).to_have_text("The post was served on a page of this request.")
    expect(page.locator("#told .parts")).to_be_visible()
    expect(page.locator(".facts")).to_contain_text("1 of 30")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("Escape")
    hidden = shown_posts(page)[1]
    page.get_by_role("button", name=f"Hide post {hidden}", exact=True).click()
    expect(page.locator("#status")).not_to_contain_text("Waiting", timeout=TIMEOUT_MS)
    ask(hidden)
    expect(page.locator(".facts")).to_contain_text("not_hidden")
    page.keyboard.press("Escape")
    ask("nothing")
    expect(page.locator("#told .error")).to_contain_text("There is no post 'nothing'")
    page.problem_responses.clear()  # the browser notes each 404
    page.keyboard.press("Escape")
    page.get_by_label("Posts about").fill("rocket to the moon")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".part-likeness").first).to_be_attached()
    ask(shown_posts(page)[0])
    expect(page.locator(".sentence")).to_have_text("The post was served on a page of this request.")
    page.problem_responses.clear()


def test_badges_tell_engine_and_cache(page):
    open_feed(page)
    expect(page.locator(".badge-engine")).to_have_attribute("data-value", re.compile(r"^(plain|wasm_simd)$"))
    page.locator("#explain").uncheck()
    page.locator("#reload").click()
    expect(page.locator(".badge-cache")).to_have_attribute("data-value", "cached")


def test_an_empty_feed_and_an_unknown_member_say_so(page):
    page.goto("/explore/?member=ann&feed=following")
    expect(page.locator("#feed .empty")).to_contain_text("follows nobody")
    page.goto("/explore/?member=nobody")
    expect(page.locator("#status")).to_contain_text("There is no member 'nobody'")
    assert page.problem_responses  # the browser notes the 404
    page.problem_responses.clear()


def test_staff_post_with_the_token_of_the_page(page, monkeypatch, django_user_model):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": False}))
    django_user_model.objects.create_superuser("admin", password="correct horse battery")
    page.goto("/explore/")
    page.locator("[name=username]").fill("admin")
    page.locator("[name=password]").fill("correct horse battery")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r":\d+/explore/"), timeout=TIMEOUT_MS)
    page.problem_responses.clear()  # the admin's sign-in asks for a favicon that is not there
    open_feed(page)
    first = shown_posts(page)[0]
    page.get_by_role("button", name=f"Hide post {first}", exact=True).click()
    expect(page.locator("#status")).to_contain_text("The page", timeout=TIMEOUT_MS)
    assert Interaction.objects.count() == 1
