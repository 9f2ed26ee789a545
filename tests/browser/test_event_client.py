"""The event client in a real browser, on a page of the service, against a real server."""

import time

import pytest

from access import keys
from access.scopes import Scope
from monitoring.clock import now
from recommendations.models import Interaction, SeenPost
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
START = """async ([secret, options]) => {
    const { EventClient } = await import("/static/recommendations/event-client.js");
    window.problems = [];
    window.start = (changes) => new EventClient({
        url: location.origin, memberId: "ann", getToken: async () => secret, hasConsent: true, flushMs: 60000,
        onProblem: (problem) => problems.push(problem), ...options, ...changes,
    });
    window.client = start();
}"""
SHOW_POSTS = """() => {
    document.body.innerHTML = ["p1", "p2"].map((id) => `<div id=${id}>${id}</div>`).join("");
    for (const id of ["p1", "p2"]) {
        const element = document.getElementById(id);
        element.style.height = "2000px";
        client.observe(element, { postId: id });
    }
}"""


@pytest.fixture
def page(browser, live_server, redis_url, fresh_wiring):
    """Yield a page of the service with a client of Ann, who may see two posts."""
    factories.member("ann", at=now())
    for name in ("p1", "p2"):
        factories.post(factories.member(at=now()), name, at=now())
    _, secret = keys.create(name="site", scopes=[Scope.INTERACTIONS_WRITE], now=now())
    context = browser.new_context(base_url=live_server.url)
    page = context.new_page()
    page.start = lambda **options: (page.goto("/main-parameters/"), page.evaluate(START, [secret, options]))
    page.start()
    yield page
    context.close()


def wait_for(condition):
    """Wait until the condition holds; fail if it takes too long."""
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kinds():
    return list(Interaction.objects.order_by("pk").values_list("kind", flat=True))


def test_a_post_on_the_screen_is_seen_and_dwelt_on_and_one_below_it_is_not(page):
    page.evaluate(SHOW_POSTS)
    wait_for(lambda: page.evaluate("client.waiting") == 1)  # seen after a second
    page.wait_for_timeout(1200)
    page.evaluate("client.unobserve(document.getElementById('p1'))")
    page.evaluate("client.flush()")
    assert list(SeenPost.objects.values_list("post__external_id", flat=True)) == ["p1"]
    [dwell] = Interaction.objects.all()
    assert (dwell.kind, dwell.post.external_id) == ("dwell", "p1") and 2 <= dwell.value < 60
    assert page.evaluate("[client.waiting, Object.keys(localStorage).length]") == [0, 0]


def test_events_that_were_recorded_offline_are_sent_once(page):
    page.context.set_offline(True)
    page.evaluate("client.record('like', { postId: 'p1' })")
    page.evaluate("client.flush()")
    assert page.evaluate("client.waiting") == 1 and not kinds()
    page.evaluate("window.other = start()")  # another tab takes over what is stored, and both send it
    assert page.evaluate("other.waiting") == 1
    page.context.set_offline(False)
    wait_for(lambda: page.evaluate("client.waiting + other.waiting") == 0)
    assert kinds() == ["like"]


@pytest.mark.parametrize("other_id", ["ann:1", "an", "ann:"])
def test_a_client_does_not_take_over_the_events_of_a_member_whose_id_begins_alike(page, other_id):
    """What they saw would be recorded for the other member."""
    page.context.set_offline(True)
    page.evaluate("id => { window.other = start({ memberId: id }); }", other_id)
    page.evaluate("other.record('like', { postId: 'p1' }); client.record('save', { postId: 'p1' })")
    page.evaluate("window.third = start()")
    assert page.evaluate("[third.waiting, other.waiting]") == [1, 1]
    page.evaluate("id => { window.fourth = start({ memberId: id }); }", other_id)
    assert page.evaluate("fourth.waiting") == 1


def test_the_events_of_a_page_that_is_closed_are_sent(page):
    page.evaluate("client.record('like', { postId: 'p1' })")
    page.goto("about:blank")
    wait_for(lambda: kinds() == ["like"])


def test_what_a_closed_page_could_not_send_is_sent_by_the_next_one(page):
    page.context.route("**/api/v1/**", lambda route: route.abort())
    page.evaluate("client.record('save', { postId: 'p2' })")
    page.goto("about:blank")
    page.context.unroute("**/api/v1/**")
    page.start(flushMs=10)
    wait_for(lambda: kinds() == ["save"])


def test_without_consent_nothing_is_observed_stored_or_sent(page):
    page.evaluate("client.close()")
    page.start(hasConsent=False)
    sent = []
    page.on("request", lambda request: sent.append(request.url))
    page.evaluate(SHOW_POSTS)
    page.evaluate("client.record('like', { postId: 'p1' })")
    page.wait_for_timeout(1300)
    page.evaluate("client.flush()")
    assert page.evaluate("[client.waiting, Object.keys(localStorage).length]") == [0, 0] and sent == []
    page.evaluate("client.setConsent(true)")
    wait_for(lambda: page.evaluate("client.waiting") == 1)
    page.evaluate("client.setConsent(false)")
    assert page.evaluate("[client.waiting, Object.keys(localStorage).length]") == [0, 0] and sent == []


def test_what_the_service_refuses_is_reported_and_not_sent_again(page):
    page.evaluate("client.record('applaud', { postId: 'p1' })")
    page.evaluate("client.flush()")
    assert page.evaluate("[client.waiting, problems.length]") == [0, 1]
    page.evaluate("window.id = client.record('like', { postId: 'p1' })")
    page.evaluate("client.undo(id)")
    page.evaluate("client.flush()")
    assert kinds() == ["like"] and Interaction.objects.get().undone_at is not None


def test_an_expired_token_loses_no_event(page):
    page.evaluate("window.expired = start({ getToken: () => 'expired' })")
    page.evaluate("expired.record('like', { postId: 'p1' })")
    page.evaluate("expired.flush()")
    assert page.evaluate("[expired.waiting, problems.length, problems[0].status]") == [1, 1, 401] and not kinds()
