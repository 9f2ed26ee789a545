"""The dashboard in a real browser, with real feeds, a real worker and real maintenance behind it."""

import os
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import expect

from monitoring import clock, dashboard, maintenance
from monitoring.tasks import canary
from monitoring.tasks import run_maintenance_task as maintain_task
from recommendations.models import FeedHour
from recommendations.services import work

TIMEOUT_MS = 15_000
WIDE = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
VIEWPORTS = pytest.mark.parametrize(
    "page",
    [WIDE, PHONE, WIDE | {"color_scheme": "dark"}, PHONE | {"color_scheme": "dark"}],
    indirect=True,
    ids=["wide", "phone", "wide dark", "phone dark"],
)


@pytest.fixture
def staff(page, django_user_model, live_server, client):
    """A page with the session cookie of a signed-in operator."""
    client.force_login(django_user_model.objects.create_superuser("operator"))
    page.context.add_cookies(
        [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]
    )
    dashboard.dashboard_cache._built.clear()
    return page


@pytest.fixture
def traffic(site, staff, monkeypatch):
    """Feeds over HTTP, a job on the worker, maintenance tasks, canaries, and hours of two variants."""
    monkeypatch.setattr(settings.ENV, "performance_monitoring_interval", 200)
    now = clock.now()
    for number in range(12):
        for member in ("ann", "bob", "newcomer"):
            response = staff.request.get(
                f"{site}/api/v1/members/{member}/feed?limit=5{'&explain=true' * (number % 3 == 0)}"
            )
            assert response.ok
    for queue in ("interactive", "batch", "maintenance"):
        canary.apply_async(kwargs={"queue": queue}, queue=queue)
    work.submit_job(kind="batch_feeds", params={}, now=now)
    maintain_task("roll_up_hours", interval_seconds=1)
    maintain_task("sweep_caches", interval_seconds=1)
    for hours in range(1, 72):
        for variant, engine in (("control", "plain"), ("treatment", "wasm_simd")):
            slates = 200 + (hours * 37 + len(variant) * 11) % 90
            FeedHour.objects.create(
                hour=now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours + 50),
                feed="discovery",
                engine=engine,
                variant=variant,
                slate_count=slates,
                page_count=slates * 3,
                served_count=slates * 60,
                engagement_count=slates * (4 + len(engine) % 3),
                p50_ms=18.0 + hours % 5,
                p95_ms=40.0 + hours % 17,
            )
    return staff


def panel(page, key):
    return page.locator(f"#panel-{key}")


def open_dashboard(page):
    page.goto("/dashboard/")
    expect(panel(page, "days")).to_be_visible(timeout=TIMEOUT_MS)


@VIEWPORTS
def test_the_page_fits_follows_the_color_scheme_and_shows_real_data(traffic, request):
    page = traffic
    open_dashboard(page)
    expect(panel(page, "jobs")).to_contain_text(re.compile("13 of 13|batch_feeds"), timeout=TIMEOUT_MS)
    expect(panel(page, "stages")).to_contain_text("nearest", timeout=TIMEOUT_MS)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(background.removeprefix("rgb(").split(",")[0]) < 60) == ("dark" in request.node.name)
    expect(panel(page, "traffic").locator("dd").first).to_have_text(re.compile(r"^[\d.]+"))
    expect(panel(page, "variants").locator("tbody tr")).to_have_count(2)
    expect(panel(page, "maintenance")).to_contain_text("sweep_caches")
    expect(panel(page, "caches")).to_contain_text("slates")
    expect(page.locator(".failed")).to_have_count(0)
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"dashboard-{request.node.callspec.id}.png", full_page=True)


def test_the_page_refreshes_can_be_paused_and_shows_when_it_is_out_of_date(traffic):
    page = traffic
    open_dashboard(page)
    maintenance.register_maintenance_task("tidied_by_a_test", lambda now: maintenance.MaintenanceResult(rows=7))
    try:
        maintain_task("tidied_by_a_test", interval_seconds=1)
    finally:
        del maintenance._tasks["tidied_by_a_test"]
    expect(panel(page, "maintenance")).to_contain_text("tidied_by_a_test", timeout=TIMEOUT_MS)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.locator("#pause").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#age")).to_contain_text("Paused")
    requests.clear()
    page.wait_for_timeout(6_000)
    assert requests == []
    page.route("**/dashboard/data", lambda route: route.abort())
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_contain_text("cannot be reached", timeout=TIMEOUT_MS)
    page.clock.install()
    page.unroute("**/dashboard/data")
    page.context.clear_cookies()
    page.clock.run_for(6_000)
    expect(page.locator("#problem")).to_contain_text("signed out", timeout=TIMEOUT_MS)
    page.clock.run_for(30_000)
    expect(page.locator("#age")).to_contain_text("Out of date", timeout=TIMEOUT_MS)
    page.goto("about:blank")  # stops its requests
    page.expected_failures += ["net::ERR", "401", "403"]  # the requests that this test made fail


def test_plots_can_be_read_by_keyboard_and_as_tables(traffic):
    page = traffic
    open_dashboard(page)
    plot = panel(page, "days").locator("svg.plot").first
    assert re.search(r"pages served: [\d,.]+ at the end, from", plot.get_attribute("aria-label"))
    legend_value = panel(page, "days").locator(".legend b").first
    last = legend_value.text_content()
    plot.focus()
    page.keyboard.press("Home")
    expect(plot).to_contain_text("at ")
    assert legend_value.text_content() != last
    details = panel(page, "days").locator("details").first
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(details.locator("tbody tr").first).to_be_visible()
    assert details.locator("tbody tr").count() == 71
    page.wait_for_timeout(6_000)
    expect(details).to_have_attribute("open", "")  # a refresh closes nothing
    page.select_option("#range", "86400")
    expect(details.locator("tbody tr")).to_have_count(25)  # the last day, by hour
    page.select_option("#range", "900")
    expect(details.locator("tbody tr")).to_have_count(71)  # no two points within 15 minutes: all of them


def titles_with_times(page):
    """Return the times that the plots with data show, by title."""
    labels = page.locator("svg.plot").evaluate_all("plots => plots.map((plot) => plot.getAttribute('aria-label'))")
    return {label.split(",")[0]: re.search(r", ([^,]+ UTC)\.", label).group(1) for label in labels}


def test_a_time_range_is_selected_by_dragging_and_all_plots_follow_it(traffic):
    page = traffic
    open_dashboard(page)
    before = titles_with_times(page)
    expect(page.locator("#zoom-reset")).to_be_hidden()
    plot = panel(page, "days").locator("svg.plot").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4 + 2, box["y"] + 60)
    page.mouse.up()  # a click is no selection
    expect(page.locator("#zoom-text")).to_be_empty()
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60, steps=4)
    expect(page.locator("#zoom-text")).to_contain_text("selected")
    page.wait_for_timeout(6_000)  # a refresh does not end the selection
    expect(plot.locator(".selection")).to_have_attribute("visibility", "visible")
    page.mouse.up()
    expect(page.locator("#zoom-reset")).to_be_visible()
    shown = page.locator("#zoom-text").inner_text()
    assert set(titles_with_times(page).values()) == {shown} and shown not in before.values()
    expect(panel(page, "traffic").locator("figure").first).to_contain_text("No data in this period.")
    rows = panel(page, "days").locator("details").first.locator("tbody tr")
    assert 2 < rows.count() < 40
    assert re.search(r"\?from=\d+&to=\d+$", page.url)
    page.reload()  # the address keeps the range
    expect(panel(page, "days")).to_be_visible()
    expect(page.locator("#zoom-text")).to_have_text(shown)
    assert set(titles_with_times(page).values()) == {shown}
    page.get_by_role("button", name="Reset zoom").click()
    expect(page.locator("#zoom-reset")).to_be_hidden()
    assert titles_with_times(page).keys() == before.keys() and page.url.endswith("/dashboard/")
    page.select_option("#range", "86400")
    page.reload()
    expect(page.locator("#range")).to_have_value("86400")


def test_a_time_range_is_selected_by_the_keyboard(traffic):
    page = traffic
    open_dashboard(page)
    plot = panel(page, "days").locator("svg.plot").first
    plot.focus()
    page.keyboard.press("Home")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    expect(page.locator("#zoom-text")).to_contain_text("selected")
    page.keyboard.press("Escape")  # ends the selection
    expect(page.locator("#zoom-text")).to_be_empty()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowRight")  # without Shift, too
    expect(page.locator("#zoom-text")).to_be_empty()
    page.keyboard.press("Enter")
    expect(page.locator("#zoom-reset")).to_be_hidden()
    for _ in range(5):
        page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Enter")
    expect(page.locator("#zoom-reset")).to_be_visible()
    expect(panel(page, "days").locator("details").first.locator("tbody tr")).to_have_count(6)
    assert page.evaluate("document.activeElement.classList.contains('plot')"), "the plot keeps the focus"
    page.keyboard.press("Escape")
    expect(page.locator("#zoom-reset")).to_be_hidden()
    expect(panel(page, "days").locator("details").first.locator("tbody tr")).to_have_count(71)


def test_a_wrong_time_range_in_the_address_is_ignored(traffic):
    page = traffic
    for query in ("from=2&to=1", "from=x&to=1", "to=1", "from=1&to=9e99", "range=7"):
        page.goto(f"/dashboard/?{query}")
        expect(panel(page, "days").locator("svg.plot").first).to_be_visible()
        expect(page.locator("#zoom-reset")).to_be_hidden()
        expect(page.locator("#range")).to_have_value("604800")
