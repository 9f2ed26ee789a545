"""
The pages of staff in a real browser: they fit, nothing covers their controls, they need no other host, and a keyboard
is enough.

There are no pictures to compare with: fonts and versions of the browser differ between machines, so such a test would
fail where nothing is wrong. What a picture would show (a control that is covered, cut off or beyond the edge) is
tested as such.
"""

import pytest

from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
PATHS = (
    "/admin/",
    "/admin/auth/user/add/",
    "/admin/recommendations/post/",
    "/product/",
    "/dashboard/",
    "/explore/",
    "/explore/on-device/",
    "/explore/graphql/",
    "/nothing-here",
)
FIND_COVERED = """() => {
    const controls = [...document.querySelectorAll(
        ["a", "button", "input", "select", "summary", "textarea"].map((name) => `main ${name}`).join())];
    const isShown = (node) => node.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    const isCovered = (node) => {
        node.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
        const [box] = node.getClientRects();
        if (!box || box.width < 2 || box.height < 2) return false;
        const hit = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
        return !(node.contains(hit) || hit?.closest("label")?.control === node);
    };
    return controls.filter(isShown).filter(isCovered).map((node) => node.outerHTML.slice(0, 200));
}"""
"""Returns the controls of a page that a click in their middle does not reach, wherever the page is scrolled to."""
SCREENS = [(scheme, width) for scheme in ("light", "dark") for width in (390, 1280)]


def test_pages_fit_have_one_main_landmark_and_stay_on_the_host(browser, live_server, client, redis_url):
    user = factories.staff(name="operator")
    user.is_superuser = True
    user.save()
    client.force_login(user)
    cookie = {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}
    problems = []
    for scheme, width in SCREENS:
        context = browser.new_context(
            base_url=live_server.url, color_scheme=scheme, viewport={"width": width, "height": 900}
        )
        context.add_cookies([cookie])
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") and not
                request.url.startswith(live_server.url) else None)  # fmt: skip
        for path in PATHS:
            page.goto(path)
            assert page.locator("main").count() == 1, path
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, scheme, width)
            assert page.evaluate(FIND_COVERED) == [], (path, scheme, width)
        context.close()
    assert problems == []


def test_a_covered_control_is_found(browser):
    page = browser.new_page()
    buttons = "".join(f"<button style='position: absolute; top: {top}px'>{top}</button>" for top in (0, 4, 900))
    page.set_content(f"<main style='height: 2000px'>{buttons}</main>")
    assert page.evaluate(FIND_COVERED) == ['<button style="position: absolute; top: 0px">0</button>']
    page.close()


def test_the_first_page_is_used_by_keyboard(browser, live_server, client, redis_url):
    user = factories.staff("Viewer")
    client.force_login(user)
    context = browser.new_context(base_url=live_server.url)
    context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}])
    page = context.new_page()
    page.goto("/admin/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.locator(".advanced summary").focus()
    assert not page.get_by_role("link", name="Maintenance runs").last.is_visible()
    page.keyboard.press("Enter")
    page.locator(".advanced").get_by_role("link", name="Maintenance runs").wait_for()
    context.close()
