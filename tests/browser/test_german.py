"""Pages in German, in a real browser: one language on a page, which has its words, numbers and dates."""

import re

import pytest
from django.contrib.auth import get_user_model
from playwright.sync_api import expect

from monitoring.clock import now
from recommendations.models import Member, Post
from recsys_project import messages
from tests import factories
from tests.browser.test_explorer import assert_accessible, open_feed
from tests.browser.test_flags_admin import analyze_experiment

pytestmark = pytest.mark.django_db(transaction=True)
WIDE = {"locale": "de-DE", "viewport": {"width": 1280, "height": 900}}
PHONE = {"locale": "de-DE", "viewport": {"width": 390, "height": 844}}
PLACEHOLDER = re.compile(r"%\\\((\w+)\\\)[sd]|\\\{\w*\\\}")

READ_TEXTS = """() => {
  const texts = [document.title];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { parentElement, textContent } = walker.currentNode;
    const hidden = "script, style, noscript, code, pre, .material-symbols-outlined, [lang]:not(html)";
    if (!parentElement.closest(hidden)) texts.push(textContent);
  }
  for (const name of ["aria-label", "title", "placeholder", "alt", "label"])
    for (const node of document.querySelectorAll(`[${name}]`)) texts.push(node.getAttribute(name));
  const cleaned = texts.map((text) => text.trim().replace(/\\s+/g, " "));
  return [...new Set(cleaned.filter((text) => /\\p{Letter}/u.test(text)))];
}"""

DATA = re.compile(
    r"(?<!\w)(?:ann|bob|newcomer|author\d|(?:bread|war|space)(?:/\d)?|text"  # ids, tags and kinds of members and posts
    r"|recsys|API|API_OPEN|API-Schlüssel|GraphQL|curl|Python|TypeScript|Engine|Feed-Explorer"  # names
    r"|plain|wasm_simd|control|default|[a-z]+(?:_[a-z]+)+|likes|quality|recency|exploration|popularity|nearest|fresh|trending"
    r"|taste|trend|item weights|co liked|liked next|follow|author|topic|year popularity|few likes popularity|fatigue"
    r"|Benutzername|Passwort|jetzt"  # texts of Django and of the browser
    r"|ms|KB|UTC|JSON|[0-9a-f]{8,})(?!\w)"
)
TIMES = re.compile(r"vor \d+ \w+|vor einer? \w+|gestern|in \d+ \w+")
MEMBERS_TEXT = re.compile(r".*<img src=x.*", re.DOTALL)


def list_patterns(texts_of):
    """Return a pattern for each text that `texts_of` returns for a message, or for each of its parts between tags."""
    texts = set()
    for domain in messages.DOMAINS:
        for message in messages.translated_messages(messages.read_catalogue("de", domain)):
            forms = texts_of(message)
            for form in (forms,) if isinstance(forms, str) else forms:
                texts.update(part.strip() for part in re.split(r"</?\w+>", form.replace("%%", "%")))
    patterns = (PLACEHOLDER.sub(".+", re.escape(text)) for text in sorted(texts, key=len, reverse=True))
    return [re.compile(pattern, re.DOTALL) for pattern in patterns if re.search(r"[^\W\d]{2}", pattern)]


ENGLISH = list_patterns(lambda message: message.id if message.id != message.string else ())
GERMAN = list_patterns(lambda message: message.string)
WHOLE_ENGLISH = [pattern for pattern in ENGLISH if len(pattern.pattern) > 6 and ".+" not in pattern.pattern]
GERMAN_PHRASES = [
    re.compile(rf"(?<!\w){pattern.pattern}(?!\w)", re.DOTALL)
    for pattern in GERMAN
    if not pattern.pattern.startswith(".+") and not pattern.pattern.endswith(".+")
]


def is_german(text):
    """Return whether a text is a translation, or consists of translations and data."""
    if MEMBERS_TEXT.fullmatch(text) or any(pattern.fullmatch(text) for pattern in GERMAN):
        return True
    text = TIMES.sub(" ", text)
    for phrase in GERMAN_PHRASES:
        text = phrase.sub(" ", text)
    return not re.search(r"[^\W\d_]", DATA.sub(" ", text))


def assert_german(page):
    """Assert that each text on the page is in German, or is data, and that the page says that it is German."""
    assert page.locator("html").get_attribute("lang") == "de"
    texts = page.evaluate(READ_TEXTS)
    assert len(texts) > 5
    unknown = [text for text in texts if not is_german(text)]
    assert unknown == [], f"In English: {[text for text in unknown if any(p.fullmatch(text) for p in ENGLISH)]}"


def test_an_english_text_is_found():
    assert not any(
        map(is_german, ("Feed explorer", "Why?", "Like post war/3", "3 posts", "A text without a translation"))
    )
    assert all(map(is_german, ("Feed-Explorer", "Warum?", "Beitrag war/3 gefällt mir", "3 Beiträge", "ann · bread/3")))


def assert_no_overflow(page):
    """Assert that nothing is wider than the window."""
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("page", [WIDE, PHONE], indirect=True, ids=["wide", "phone"])
def test_the_explorer_is_german(page):
    factories.interaction(Member.objects.get(external_id="ann"), Post.objects.get(external_id="bread/1"), at=now())
    open_feed(page)
    assert page.title() == "Entdecken, für ann – Feed-Explorer"
    expect(page.locator("#feed .reasons", has_text="Neu").first).to_be_visible()  # the first may be one to explore
    expect(page.locator("#feed time").first).to_have_text("vor 5 Stunden")
    expect(page.locator("#feed .score").first).to_have_text(re.compile(r"^-?\d+,\d{3}$"))
    assert_german(page)
    assert_no_overflow(page)
    for button in ("Code", "Einstellungen", "Neues Mitglied"):
        page.get_by_role("button", name=button, exact=True).click()
        assert_accessible(page, "dialog[open]")
        page.keyboard.press("Escape")
    page.get_by_label("Vergleichen mit").select_option(label="Feed „Im Trend“")
    expect(page.locator("#comparison-summary")).to_contain_text("neben dem ausgelieferten Feed")
    assert_accessible(page)
    assert_german(page)
    assert_no_overflow(page)


@pytest.mark.parametrize("page", [WIDE], indirect=True)
def test_what_the_explorer_says_after_an_action_is_german(page):
    open_feed(page)
    card = page.locator("#feed .card").first
    card.get_by_role("button", name="Warum?").or_(card.locator(".why-button")).first.click()
    expect(card.locator(".sentence")).to_have_text("Der Beitrag wurde auf einer Seite dieser Anfrage ausgeliefert.")
    assert_german(page)
    card.locator(".like").click()
    expect(page.locator("#status")).to_contain_text("Als „Gefällt mir“ markiert. Ihr „Gefällt mir“ hat")
    assert_german(page)
    page.locator(".undo").click()
    expect(page.locator("#status")).to_have_text("Als „Gefällt mir“ markiert: rückgängig gemacht.")
    page.goto("/explore/?member_id=ann&feed=following")
    expect(page.locator("#feed .empty")).to_have_text("Das Mitglied folgt noch niemandem.")
    assert_german(page)


@pytest.mark.parametrize("page", [WIDE, PHONE], indirect=True, ids=["wide", "phone"])
def test_ranking_in_the_browser_is_german(page):
    page.goto("/explore/on-device/")
    expect(page.locator("#posts .card").first).to_be_visible()
    expect(page.locator("#pack-size")).to_have_text(re.compile(r"^\d+,\d KB, \d+ Beiträge$"))
    page.get_by_role("button", name="Mehr davon").first.click()
    expect(page.locator("#counts")).to_have_text("1 Interesse, 0 Ablehnungen, 0 Themen")
    assert_german(page)
    assert_accessible(page)
    assert_no_overflow(page)


@pytest.mark.parametrize("page", [WIDE, PHONE], indirect=True, ids=["wide", "phone"])
def test_public_pages_are_german(page):
    page.expected_failures = ["404"]
    for path, heading in [
        ("/main-parameters/", "Wie Feeds entstehen"),
        ("/account/login/", "Bei recsys anmelden"),
        ("/nowhere", "Seite nicht gefunden"),
    ]:
        page.goto(path)
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
        assert_german(page)
        assert_accessible(page)
        assert_no_overflow(page)


@pytest.mark.parametrize("page", [WIDE, PHONE], indirect=True, ids=["wide", "phone"])
def test_pages_of_staff_are_german(page, site, client):
    client.force_login(get_user_model().objects.create_superuser("erika"))
    page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": site}])
    for path, heading in [
        ("/dashboard/", "Warteschlangen und Worker"),
        ("/product/", "Nach Tag"),
        ("/admin/", "Schalter und Experimente"),
    ]:
        page.goto(path)
        expect(page.get_by_role("main").get_by_role("heading", name=heading)).to_be_visible()
        assert page.locator("html").get_attribute("lang") == "de"
        texts = page.evaluate(READ_TEXTS)
        assert [text for text in texts if any(pattern.fullmatch(text) for pattern in WHOLE_ENGLISH)] == []
        assert_no_overflow(page)
        if path != "/admin/":  # tests/browser/test_admin_pages.py checks it: the theme has faults of its own
            expect(page.get_by_role("button", name="English")).to_be_visible()
            assert_accessible(page)


@pytest.mark.parametrize("page", [WIDE, PHONE], indirect=True, ids=["wide", "phone"])
def test_the_admin_is_german(page, site, client):
    experiment = analyze_experiment(now())
    client.force_login(get_user_model().objects.create_superuser("erika"))
    page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": site}])
    post = Post.objects.get(external_id="bread/1")
    english = {}
    for path, text, part in [
        ("/admin/recommendations/post/", "Externe ID", None),
        (f"/admin/recommendations/post/{post.pk}/change/", "Sicherheitskennzeichnungen", None),
        ("/admin/recommendations/rankingpolicy/add/", "Beliebtheit und Alter", ".policy-preview"),
        ("/admin/flags/flag/", "Verkehr", None),
        ("/admin/flags/flag/add/", "Zeitplan", None),
        ("/admin/flags/flag/playground/", "Angenommene Attribute", None),
        (f"/admin/flags/experiment/{experiment.pk}/change/", "Hypothese", None),
        (f"/admin/flags/experiment/{experiment.pk}/results", "Teststärke", "#report"),
    ]:
        page.goto(path)
        expect(page.locator("body")).to_contain_text(text)
        texts = page.evaluate(READ_TEXTS)
        english[path] = [text for text in texts if any(pattern.fullmatch(text) for pattern in WHOLE_ENGLISH)]
        assert_no_overflow(page)
        if part:  # the theme has faults of its own
            assert_accessible(page, part)
    assert {path: found for path, found in english.items() if found} == {}


@pytest.mark.parametrize("page", [{"locale": "en-US"}], indirect=True)
def test_the_switch_changes_the_language_of_all_pages_until_it_changes_it_back(page):
    open_feed(page)
    page.get_by_role("button", name="Deutsch").click()
    expect(page.locator("#feed .card").first).to_be_visible()
    assert "member_id=ann" in page.url
    assert_german(page)
    page.goto("/account/login/")
    expect(page.get_by_role("heading", name="Bei recsys anmelden")).to_be_visible()
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="Sign in to recsys")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.goto("/main-parameters/")
    page.get_by_role("button", name="Deutsch").click()
    expect(page.get_by_role("heading", name="Wie Feeds entstehen")).to_be_visible()
