"""The explorer in a real browser, with a real server and a real worker that learns from the clicks."""

import itertools
import os
import re
import subprocess
import sys
from datetime import timedelta
from urllib.parse import urlsplit

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from playwright.sync_api import expect

from access import keys
from access.scopes import Scope
from monitoring.clock import now
from recommendations.models import (
    FeedRequest,
    Interaction,
    Member,
    Post,
    PrivacySettings,
    ReactionHistory,
    Relationship,
    ServedPage,
)
from recommendations.services import policies
from recommendations.services.learning import co_likes
from tests import factories

TIMEOUT_MS = 15_000


def displayed_post_ids(page):
    return [card.get_attribute("data-post") for card in page.locator("#feed .card").all()]


def open_feed(page, member_id="ann", feed="discovery"):
    page.goto(f"/explore/?member_id={member_id}&feed={feed}")
    expect(page.locator("#feed .card").first).to_be_visible(timeout=TIMEOUT_MS)


WIDE = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 740}, "has_touch": True}
MAX_PAGE_BYTES = 100_000
"""Weight of the page, its styles and its scripts, uncompressed."""


def assert_accessible(page, part=None):
    """Assert that axe-core finds no fault in the page, or in what *part* selects, and that the page fits."""
    page.locator(part or "body").first.wait_for()  # a dialog opens after its content was loaded
    violations = Axe().run(page, part).response["violations"]
    faults = [(fault["id"], fault["nodes"][0]["html"]) for fault in violations]
    assert faults == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(
    "page",
    [WIDE, PHONE, WIDE | {"color_scheme": "dark"}, PHONE | {"color_scheme": "dark"}],
    indirect=True,
    ids=["wide", "phone", "wide dark", "phone dark"],
)
def test_the_page_is_accessible_light_and_of_the_color_scheme(page, request):
    responses = []
    page.on("response", lambda response: responses.append(response))
    factories.interaction(Member.objects.get(external_id="ann"), Post.objects.get(external_id="bread/1"), at=now())
    open_feed(page)
    page.locator("#feed .show-less summary").first.click()
    for button in ("Code", "Settings", "New member"):
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.locator("dialog[open]")).to_be_visible()
        assert_accessible(page, "dialog[open]")
        page.keyboard.press("Escape")
    page.get_by_label("Compare with").select_option(label="Trending feed")
    expect(page.locator("#comparison .card").first).to_be_visible()
    assert_accessible(page)
    assert {urlsplit(response.url).netloc for response in responses} == {urlsplit(page.url).netloc}
    weight = sum(len(response.body()) for response in responses if "/api/" not in response.url)
    assert 20_000 < weight < MAX_PAGE_BYTES
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red = int(background.removeprefix("rgb(").split(",")[0])
    assert (red < 60) == ("dark" in request.node.name)
    card = page.locator("#feed .card").first
    for selector in ("h3", ".author", ".reasons", ".parts", ".score", ".like", ".hide"):
        expect(card.locator(selector)).to_be_visible()
    # Each part has a number in the bar and the same number, its name and its value in the legend.
    numbers = card.locator(".legend .key b").all_inner_texts()
    assert card.locator(".parts b").all_text_contents() == numbers == [str(n + 1) for n in range(len(numbers))]
    assert all(re.search(r"^\d+ [a-z ]+ [+−]\d\.\d{3}$", text) for text in card.locator(".legend li").all_inner_texts())
    assert page.locator("#feed img").count() == 0  # the text of a post is never HTML


def assert_movements_are_displayed(posts, before):
    """Assert that each card says how far its post moved from its rank among the ids *before*, in words."""
    for rank, card in enumerate(posts.locator(".card").all()):
        post, badge = card.get_attribute("data-post"), card.locator(".movement")
        text = badge.inner_text() if badge.count() else ""
        if post not in before:
            assert text.endswith("new")
            continue
        moved = before.index(post) - rank
        assert text.endswith(f"up {moved}" if moved > 0 else f"down {-moved}" if moved else ""), (post, text)


def test_a_like_changes_the_next_page_and_the_page_says_how(page):
    open_feed(page)
    before = displayed_post_ids(page)
    liked = next(post for post in before if post.startswith("bread"))
    page.get_by_role("button", name=f"Like post {liked}", exact=True).click()
    expect(page.locator("#status")).to_contain_text(re.compile("Liked. Your like moved "), timeout=TIMEOUT_MS)
    after = displayed_post_ids(page)
    assert liked not in after
    others = [post for post in before if post != liked]
    assert after != others[: len(after)]
    assert_movements_are_displayed(page.locator("#feed"), others)
    counted = {word: page.locator(f"#feed .movement-{word}").count() for word in ("up", "down", "new")}
    status = page.locator("#status").inner_text()
    for word, after in (("up", "up"), ("down", "down"), ("new", "(?:is|are) new")):
        found = re.search(rf"(\d+)(?: posts?)? {after}", status)
        assert (int(found[1]) if found else 0) == counted[word], (status, counted)
    expect(page.locator("#likes-list li").first).to_contain_text(liked.split("/")[0])
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
    expect(page.locator("#status")).to_contain_text(
        "Less of this author. Showing less of this author moved", timeout=TIMEOUT_MS
    )
    assert post not in displayed_post_ids(page)
    row = Interaction.objects.get()
    assert (row.kind, row.target) == ("not_interested", "author")
    page.get_by_role("button", name="Undo: Less of this author").click()
    expect(page.locator("#status")).to_have_text("Less of this author: undone.", timeout=TIMEOUT_MS)
    # Which page has it depends on what was served meanwhile, and on what is explored.
    while not page.locator(f'#feed .card[data-post="{post}"]').count():
        number = page.locator("#page").inner_text()
        page.locator("#next").click()
        expect(page.locator("#page")).not_to_have_text(number)
    row.refresh_from_db()
    assert row.undone_at is not None


def test_clicks_while_a_page_loads_or_an_undo_is_sent_are_not_lost_or_counted_twice(page):
    open_feed(page)
    page.locator("#next").evaluate("button => { button.click(); button.click(); }")
    expect(page.locator("#page")).to_have_text("Page 2")
    assert page.locator("#feed .card").first.locator(".rank").inner_text() == "21"
    page.locator("#reload").click()
    expect(page.locator("#page")).to_have_text("Page 1")
    page.locator("#feed .hide").first.click()
    undo = page.get_by_role("button", name="Undo: Hidden")
    expect(undo).to_be_visible(timeout=TIMEOUT_MS)
    page.evaluate(
        """() => {
            document.querySelector("#status .undo").click();
            document.querySelector("#next").click();
        }"""
    )
    expect(page.locator("#page")).to_have_text("Page 2")
    expect(page.locator("#feed")).to_have_attribute("aria-busy", "false")
    page.wait_for_load_state("networkidle")
    expect(page.locator("#page")).to_have_text("Page 2")


@pytest.mark.parametrize("page", [PHONE], indirect=True, ids=["phone"])
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


def search(page, mode, text):
    page.get_by_label("What to search").select_option(mode)
    page.get_by_label("Text, or the id of a post").fill(text)
    page.get_by_label("Text, or the id of a post").press("Enter")


def test_similar_posts_are_found_from_a_card_and_in_the_search_box(page):
    open_feed(page)
    anchor = next(post for post in displayed_post_ids(page) if post.startswith("bread"))
    page.get_by_role("button", name=f"Posts similar to {anchor}", exact=True).click()
    expect(page.locator("#feed h2")).to_have_text(f"Posts similar to {anchor}, for ann")
    similar = displayed_post_ids(page)
    assert {post.split("/")[0] for post in similar[:5]} == {"bread"} and anchor not in similar
    expect(page.locator("#feed .card").first).to_be_focused()
    expect(page.locator("#feed .like")).to_have_count(0)
    page.get_by_role("button", name="Discovery", exact=True).click()
    expect(page.locator("#feed .like").first).to_be_visible()
    search(page, "Posts similar to", anchor)
    expect(page.locator("#feed h2")).to_have_text(f"Posts similar to {anchor}, for ann")
    assert displayed_post_ids(page) == similar


@pytest.mark.parametrize("page", [PHONE | {"color_scheme": "dark"}], indirect=True, ids=["phone dark"])
def test_a_search_finds_posts_and_a_tab_returns_to_the_feed(page):
    open_feed(page)
    search(page, "Posts about", "rocket to the moon")
    expect(page.locator(".part-similarity").first).to_be_attached()
    assert {post.split("/")[0] for post in displayed_post_ids(page)[:5]} == {"space"}
    assert "text=rocket" in page.url and page.locator("#feeds [aria-pressed=true]").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.reload()
    expect(page.locator(".part-similarity").first).to_be_attached()
    page.get_by_role("button", name="Trending", exact=True).click()
    expect(page.locator(".part-similarity")).to_have_count(0)
    expect(page.get_by_label("Text, or the id of a post")).to_have_value("")


@pytest.mark.parametrize("page", [PHONE | {"color_scheme": "dark"}], indirect=True, ids=["phone dark"])
def test_a_post_is_explained_whether_it_was_served_or_not(page):
    open_feed(page)

    def request_explanation(post_id):
        search(page, "Why, or why not", post_id)

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
    expect(page.locator("#status")).to_contain_text("Liked. Your like moved", timeout=TIMEOUT_MS)
    request_explanation(hidden)
    expect(page.locator(".facts")).to_contain_text("not_hidden")
    page.keyboard.press("Escape")
    request_explanation("nothing")
    expect(page.locator("#drawer-content .error")).to_contain_text("There is no post 'nothing'")
    page.expected_failures += ["404"]  # the browser logs each 404
    page.keyboard.press("Escape")
    search(page, "Posts about", "rocket to the moon")
    expect(page.locator(".part-similarity").first).to_be_attached()
    request_explanation(displayed_post_ids(page)[0])
    expect(page.locator(".sentence")).to_have_text("The post was served on a page of this request.")
    page.expected_failures += ["404"]


@pytest.mark.parametrize("page", [PHONE | {"color_scheme": "dark"}], indirect=True, ids=["phone dark"])
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
    page.locator('[data-post="space/4"]').get_by_role("button", name="Why post space/4 is here").click()
    expect(page.locator('[data-post="space/4"] .because')).to_contain_text(
        re.compile(r"co liked, because of\s*\+\d+\.\d+ bread ")
    )
    assert_accessible(page)
    page.expected_failures += ["404"]  # the browser logs a 404 while the request is not recorded


def test_badges_show_engine_and_cache(page):
    open_feed(page)
    expect(page.locator(".badge-engine")).to_have_attribute("data-value", re.compile(r"^(plain|wasm_simd)$"))
    page.locator("#explain").uncheck()
    page.locator("#reload").click()
    expect(page.locator(".badge-cache")).to_have_attribute("data-value", "cached")


def test_an_empty_feed_and_an_unknown_member_show_a_message(page):
    page.goto("/explore/?member_id=ann&feed=following")
    expect(page.locator("#feed .empty")).to_contain_text("The member follows nobody yet.")
    page.goto("/explore/?member_id=nobody")
    expect(page.locator("#status")).to_contain_text("There is no member 'nobody'")
    page.expected_failures += ["404"]


def test_staff_send_interactions_with_the_csrf_token_of_the_page(page, monkeypatch, django_user_model):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": False}))
    django_user_model.objects.create_superuser("admin", password="correct horse battery")
    page.goto("/explore/")
    page.locator("[name=login]").fill("admin")
    page.locator("[name=password]").fill("correct horse battery")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r":\d+/explore/"), timeout=TIMEOUT_MS)
    page.expected_failures += ["404"]  # the login page requests a missing favicon
    open_feed(page)
    first = displayed_post_ids(page)[0]
    page.get_by_role("button", name=f"Hide post {first}", exact=True).click()
    expect(page.locator("#status")).to_contain_text("Hiding the post ", timeout=TIMEOUT_MS)
    assert Interaction.objects.count() == 1


def test_the_likes_beside_the_feed_are_newest_first_and_lead_to_similar_posts(page):
    ann = Member.objects.get(external_id="ann")
    for hours, (name, kind) in enumerate(
        [("bread/3", "like"), ("war/2", "share"), ("space/1", "like"), ("war/4", "view")]
    ):
        factories.interaction(ann, Post.objects.get(external_id=name), kind, at=now() - timedelta(hours=hours + 1))
    factories.interaction(ann, Post.objects.get(external_id="bread/3"), "save", at=now() - timedelta(days=2))
    Post.objects.filter(external_id="space/1").update(removed_at=now())
    open_feed(page)
    expect(page.locator("#likes-title")).to_have_text("What ann liked")
    items = page.locator("#likes-list li")
    expect(items).to_have_count(2)
    expect(items.nth(0)).to_contain_text(re.compile(r"^bread yeast.*author3 · bread · like, save"))
    expect(items.nth(1)).to_contain_text(re.compile(r"^war soldiers.*author2 · war · share"))
    expect(page.locator(".card .liked-tag").first).to_contain_text(re.compile(r"^(bread|war) liked 1×$"))
    items.nth(0).get_by_role("button").click()
    expect(page.locator("#feed h2")).to_have_text("Posts similar to bread/3, for ann")
    page.get_by_role("button", name=re.compile("^bob")).click()
    expect(items).to_contain_text(["Nothing yet."])


def test_two_feeds_are_compared_in_words_and_a_preview_is_not_recorded(page):
    for number in range(4):
        factories.popularity(Post.objects.get(external_id=f"war/{number}"), 50.0 * (number + 1), at=now())
    policies.put_policy(variant="control", settings={}, note="", version=None)
    open_feed(page)
    served = displayed_post_ids(page)
    page.get_by_label("Compare with").select_option(label="Trending feed")
    other = page.locator("#comparison")
    expect(other.locator("h2")).to_have_text("Trending feed")
    expect(other.locator(".card").first).to_have_attribute("data-post", "war/3")
    assert_movements_are_displayed(other, served)
    other_ids = [card.get_attribute("data-post") for card in other.locator(".card").all()]
    only_here = page.locator("#feed .card").filter(has=page.locator(".movement-only"))
    assert [card.get_attribute("data-post") for card in only_here.all()] == [p for p in served if p not in other_ids]
    common = len(set(served) & set(other_ids))
    expect(page.locator("#comparison-summary")).to_contain_text(f"{common} of {len(served)} posts are on both pages")
    page.reload()
    expect(other.locator(".card").first).to_be_visible()
    for label in ("Engine plain", "Policy of control"):
        page.get_by_label("Compare with").select_option(label=label)
        expect(other.locator("h2")).to_have_text(label)
        expect(other).to_contain_text("A preview, not recorded.")
    page.get_by_label("Compare with").select_option(label="nothing")
    expect(other).to_be_hidden()
    assert not FeedRequest.objects.filter(feed="trending").exists()
    assert ServedPage.objects.filter(member__external_id="bob").count() == 0


def run_code(page, language, code, key):
    """Run code that the page shows, with a key, and return what it prints."""
    code = code.replace("YOUR_API_KEY", key)
    if language == "TypeScript":
        return page.evaluate(f"async () => {{ {code}; return JSON.stringify(result) }}")
    command = ["sh", "-c", code] if language == "curl" else [sys.executable, "-c", f"{code}\nprint(response.text)"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=os.environ).stdout


def test_the_code_to_copy_runs_in_each_language(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_feed(page)
    first = displayed_post_ids(page)[0]
    _, key = keys.create(name="k", scopes=[Scope.FEEDS_READ, Scope.INTERACTIONS_WRITE], now=now())
    page.get_by_role("button", name="Code", exact=True).click()
    code = page.locator("#code")
    assert "rk_" not in code.inner_text()
    for language in ("curl", "Python", "TypeScript"):
        page.get_by_label("Language", exact=True).select_option(label=language)
        page.get_by_label("Request").select_option(label="read this page")
        assert '"member_id":"ann","feed":"discovery"' in run_code(page, language, code.inner_text(), key)
        page.get_by_label("Request").select_option(label="record an interaction")
        event_id = f"code-{language}"
        answer = run_code(page, language, code.inner_text().replace("a-unique-id", event_id), key)
        assert '"status":"recorded"' in answer, (language, answer)
        assert Interaction.objects.get(event_id=event_id).post.external_id == first
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.locator("#copied")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == code.inner_text()


PIXEL = "<svg xmlns='http://www.w3.org/2000/svg' width='4' height='4'/>"


def test_local_pictures_are_shown_and_remote_ones_after_the_reader_agreed(page, site):
    remote = "https://pictures.example/7.svg"
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.route("https://pictures.example/**", lambda route: route.fulfill(body=PIXEL, content_type="image/svg+xml"))
    local = f"{site}/static/admin/img/icon-yes.svg"
    open_feed(page)
    pictures = [(local, "A loaf"), (remote, "A crust"), (urlsplit(local).path, "")]
    for name, (url, alt) in zip(displayed_post_ids(page), pictures, strict=False):
        media = [{"kind": "image", "url": url, "alt": alt}]
        Post.objects.filter(external_id=name).update(media=media, changed_at=now())
    page.reload()
    picture = page.get_by_role("img", name="A loaf")
    expect(picture).to_have_js_property("naturalWidth", 13)
    for name, value in (("loading", "lazy"), ("width", "240"), ("height", "160")):
        expect(picture).to_have_attribute(name, value)
    expect(page.get_by_role("img", name="image without description")).to_have_js_property("naturalWidth", 13)
    expect(page.locator("#feed .medium")).to_have_text("image: A crust")
    expect(page.locator("#remote-pictures")).to_contain_text("Pictures of other servers are not loaded")
    assert remote not in requests
    page.get_by_role("link", name="Load them on this page").click()
    picture = page.get_by_role("img", name="A crust")
    picture.scroll_into_view_if_needed()
    expect(picture).to_have_js_property("complete", True)
    expect(picture).to_have_js_property("naturalWidth", 4)
    assert remote in requests
    expect(page.locator("#remote-pictures")).to_contain_text("This page loads pictures from other servers.")
    page.get_by_role("link", name="Do not load them").click()
    expect(page.locator("#feed .medium")).to_have_text("image: A crust")
    assert urlsplit(page.url).path == "/explore/" and "member_id=ann" in page.url


def test_a_new_member_gets_a_feed_by_what_they_say_they_like(page):
    open_feed(page)
    page.get_by_role("button", name="New member").click()
    page.get_by_label("Likes these topics").fill("war")
    page.get_by_label("Follows these authors").fill("author1, author2")
    page.get_by_label("Reads these languages").fill("en")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#status")).to_contain_text(re.compile("Created explorer-[0-9a-f]{8}"))
    row = Member.objects.get(external_id__startswith="explorer-")
    assert (row.languages, row.privacy.interest_tags, row.privacy.is_private) == (["en"], ["war"], True)
    follows = Relationship.objects.filter(source=row, kind="follow").values_list("target__external_id", flat=True)
    assert sorted(follows) == ["author1", "author2"]
    expect(page.locator("#feed h2")).to_have_text(f"Discovery, for {row.external_id}")
    assert any(post.startswith("war") for post in displayed_post_ids(page)[:3])  # one may be to explore
    expect(page.locator("#feed .reasons", has_text="About a topic you like").first).to_be_visible()


def test_a_change_of_settings_is_saved_and_its_effect_is_displayed(page):
    open_feed(page)
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Hides posts with these tags").fill("war")
    page.get_by_label("Personalized feeds").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#status")).to_contain_text("Saved. The change of settings moved")
    assert not any(post.startswith("war") for post in displayed_post_ids(page))
    row = PrivacySettings.objects.get(member__external_id="ann")
    assert (row.is_personalized, row.muted_tags, row.is_private) == (False, ["war"], False)
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_label("Hides posts with these tags")).to_have_value("war")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#status")).to_have_text("No setting was changed.")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Reads these languages").fill("no language")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#member-error")).to_contain_text("no language")
    page.expected_failures += ["400"]  # the browser logs the 400
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#member-dialog")).to_be_hidden()


def test_the_page_is_used_by_keyboard_alone(page):
    open_feed(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the feed")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Discovery", exact=True)).to_be_focused()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"
    search(page, "Posts similar to", "bread/1")
    expect(page.locator("#feed h2")).to_contain_text("Posts similar to bread/1")
    page.locator("#feed .card").first.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#feed .card").nth(1)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Tab")
    expect(page.locator("#feed .card").first.get_by_role("button", name="Posts similar to")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#feed .card").first.locator(".sentence")).to_be_visible()
    page.expected_failures += ["404"]  # the browser logs a 404 while the request is not recorded
