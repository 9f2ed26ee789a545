"""The admin of flags in a real browser: form, playground, turning off and report, also on a phone in dark mode."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from playwright.sync_api import expect

from flags import snapshot
from flags.analysis import interim_analysis
from flags.models import Exposure, Flag, FlagChange
from flags.services.change import apply_change
from flags.services.record import Actor
from monitoring.clock import now
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "correct horse battery staple"


@pytest.fixture
def site(live_server, redis_url):
    """Create a superuser, a flag and a segment, and return the server's URL."""
    get_user_model().objects.create_superuser("admin", password=PASSWORD)
    patch = {"allowed_ids": ["7"]}
    apply_change(
        subject="segment", key="staff", patch=patch, actor=Actor(system="test"), why="x", now=now(), create=True
    )
    values = {"kind": "string", "on_value": "wide", "default_value": "plain", "off_value": "plain"}
    factories.flag("layout", at=now(), is_enabled=True, rollout_percentage=40, **values)
    snapshot.flag_snapshot.invalidate()
    return live_server.url


def sign_in(browser, site, **options):
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(15_000)
    page.page_errors = []
    page.on("pageerror", lambda error: page.page_errors.append(str(error)))
    page.goto(f"{site}/admin/")
    page.fill("[name=login]", "admin")
    page.fill("[name=password]", PASSWORD)
    page.click("[type=submit]")
    expect(page).to_have_url(f"{site}/admin/")
    return page


def test_a_flag_is_edited_explained_and_turned_off(browser, site):
    page = sign_in(browser, site)
    page.goto(f"{site}/admin/flags/flag/")
    page.get_by_role("link", name="layout").first.click()
    for number, (name, value) in enumerate((("wide", "wide"), ("tall", "tall"))):
        page.get_by_text("Add another Flag variant").click()
        page.fill(f"[name=variants-{number}-name]", name)
        page.fill(f"[name=variants-{number}-value]", value)
    page.get_by_text("Add another Rule").click()
    page.select_option("[name=rules-0-segment]", label="staff")
    page.fill("[name=rules-0-serves]", "tall")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("This field is required.").first).to_be_visible()
    page.fill("[name=why]", "try the tall one on staff")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page).to_have_url(f"{site}/admin/flags/flag/")
    flag = Flag.objects.get(key="layout")
    assert [variant.name for variant in flag.variants.all()] == ["wide", "tall"]
    assert (flag.rules.get().segment.key, flag.rules.get().serves) == ("staff", "tall")

    page.get_by_role("link", name="Playground").click()
    page.select_option("[name=flag]", "layout")
    page.fill("[name=unit_id]", "7")
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#answer")).to_contain_text('"tall"')

    page.goto(f"{site}/admin/flags/flag/{flag.pk}/change/")
    page.get_by_text("Turn off").first.click()
    page.locator("#dialog textarea").fill("fire")
    page.get_by_role("button", name="Turn off now").click()
    expect(page.get_by_text("layout is off.")).to_be_visible()
    assert not Flag.objects.get(key="layout").is_enabled
    record = FlagChange.objects.filter(key="layout").first()
    assert (record.actor_name, record.action, record.why) == ("admin", "killed", "fire")
    assert page.page_errors == []


def test_the_pages_fit_a_phone_in_dark_mode(browser, site):
    page = sign_in(browser, site, color_scheme="dark", viewport={"width": 390, "height": 800})
    flag = Flag.objects.get(key="layout")
    for place in (
        "flag/",
        f"flag/{flag.pk}/change/",
        f"flag/{flag.pk}/history/",
        "flag/playground/",
        "segment/1/change/",
    ):
        page.goto(f"{site}/admin/flags/{place}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, place
    assert page.page_errors == []


def analyze_experiment(moment):
    """Return an experiment with an analysis at *moment*, whose units do not match the weights."""
    factories.flag("pace", at=moment, is_enabled=True)
    experiment = factories.experiment("pace", at=moment - timedelta(days=3))
    phase = experiment.phases.get()
    Exposure.objects.bulk_create(
        Exposure(
            phase=phase,
            experiment=experiment,
            unit_id=f"m{n}",
            variant="control" if n < 300 else "treatment",
            propensity=0.5,
            exposed_at=moment - timedelta(days=1 + n % 2),
        )
        for n in range(400)
    )
    interim_analysis.run_interim_analysis(key="trial", now=moment)
    return experiment


@pytest.mark.parametrize("width, scheme", [(1280, "light"), (390, "dark")])
def test_the_report_of_an_experiment_fits(browser, site, width, scheme):
    """The warning, plots and tables stay within the page, and a button requests an analysis."""
    experiment = analyze_experiment(now())
    page = sign_in(browser, site, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(f"{site}/admin/flags/experiment/{experiment.pk}/results/")
    expect(page.get_by_role("alert")).to_contain_text("Sample ratio mismatch")
    expect(page.get_by_role("img", name="Exposed units")).to_be_visible()
    expect(page.get_by_role("button", name="Analyze now")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.page_errors == []
