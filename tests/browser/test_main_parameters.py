"""The page of main parameters in a real browser: wide and narrow, light and dark, with and without a policy."""

import pytest
from playwright.sync_api import expect

from recommendations.models import RankingPolicy
from recommendations.services import policies

WIDE = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 360, "height": 740}}


@pytest.mark.parametrize("page", [WIDE, PHONE | {"color_scheme": "dark"}], indirect=True, ids=["wide", "phone dark"])
def test_the_page_fits_the_viewport_and_uses_the_color_scheme(page, request):
    RankingPolicy.objects.all().delete()
    page.goto("/main-parameters/")
    expect(page.get_by_text("No policy is active")).to_be_visible()
    policies.put_policy(variant="control", settings={}, note="", version=None)
    page.goto("/explore/")
    page.get_by_role("link", name="How feeds are made").click()
    expect(page.get_by_text("version 1 of")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    red = int(page.evaluate("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").split(",")[0])
    assert (red < 60) == ("dark" in request.node.name)
    meter = page.locator("#discovery meter").first
    expect(meter).to_be_visible()
    assert float(meter.get_attribute("value")) > 0
