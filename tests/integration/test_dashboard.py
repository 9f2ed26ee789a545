"""The dashboard's data: staff only, complete if a panel fails, empty states, and correct numbers."""

from datetime import timedelta

import pytest
import redis
from django.conf import settings

from monitoring import clock, dashboard, samples
from monitoring import panels as general_panels
from monitoring.dashboard import Panel, Stat
from monitoring.models import MaintenanceRun
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.models import FeedHour, Job
from recommendations.ports import EngineError
from recommendations.services.extensions import panels as service_panels
from recommendations.services.serving import records
from recommendations.services.serving.recommend import recommend
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

KEYS = [
    "state",
    "alerts",
    "traffic",
    "stages",
    "memory",
    "caches",
    "engines",
    "variants",
    "queues",
    "jobs",
    "maintenance",
    "days",
]


@pytest.fixture(autouse=True)
def uncached_dashboard(monkeypatch, redis_url):
    monkeypatch.setattr(dashboard, "dashboard_cache", dashboard.DashboardCache())
    monkeypatch.setattr("monitoring.dashboard_views.dashboard_cache", dashboard.dashboard_cache)
    with redis.Redis.from_url(settings.ENV.cache_redis_url) as client:
        client.delete(samples.STREAM)


def panels_by_key(now=NOW):
    return {panel["key"]: panel for panel in dashboard.build_panels(now)}


def test_only_staff_can_open_the_dashboard(client, django_user_model):
    assert client.get("/dashboard/data").status_code == 403
    assert client.get("/dashboard/").url == "/account/login/?next=/dashboard/"
    client.force_login(django_user_model.objects.create_user("ann"))
    assert client.get("/dashboard/data").status_code == 403
    assert client.get("/dashboard/").status_code == 302


def test_the_page_loads_nothing_from_other_hosts_and_is_linked_from_the_admin(admin_client):
    page = admin_client.get("/dashboard/")
    assert page["Content-Security-Policy"].startswith("default-src 'none'")
    text = page.content.decode()
    assert "http://" not in text
    assert "https://" not in text
    home = admin_client.get("/admin/").content.decode()
    assert home.count('href="/dashboard/"') >= 2, "in the sidebar and in the menu of the site's name"
    assert "/admin/recommendations/post/" in home


def test_every_panel_of_a_new_service_has_an_empty_state(admin_client):
    data = admin_client.get("/dashboard/data").json()
    assert [panel["key"] for panel in data["panels"]] == KEYS
    panels = {panel["key"]: panel for panel in data["panels"]}
    for key in ("traffic", "stages", "memory", "caches", "engines", "variants", "jobs", "days"):
        assert panels[key]["empty_text"].endswith("."), key
    assert panels["queues"]["stats"][0]["value"] == 0


def test_a_failing_panel_does_not_affect_the_others(monkeypatch):
    def broken(now):
        raise OSError("secret URL")

    monkeypatch.setitem(dashboard._panels, "jobs", ("Jobs", 1, broken))
    panels = panels_by_key()
    assert panels["jobs"] == {"key": "jobs", "title": "Jobs", "error": "OSError"}
    assert "stats" in panels["queues"]


def test_concurrent_requests_share_one_build_of_the_panels(monkeypatch):
    built_at = []
    monkeypatch.setattr(dashboard, "_panels", {"x": ("X", 1, lambda now: built_at.append(now) or Panel())})
    cache = dashboard.DashboardCache()
    for _ in range(3):
        assert cache.get(NOW)["at"] == NOW.timestamp()
    assert len(built_at) == 1


def test_each_language_has_panels_of_its_own(admin_client):
    def read(language):
        data = admin_client.get("/dashboard/data", headers={"Accept-Language": language}).json()
        return {panel["key"]: panel for panel in data["panels"]}

    for _ in range(2):
        english, german = read("en"), read("de")
        assert (english["queues"]["title"], german["queues"]["title"]) == (
            "Queues and workers",
            "Warteschlangen und Worker",
        )
        assert german["queues"]["stats"][2] == {"label": "Beat", "value": "läuft nicht", "unit": "", "tone": "bad"}
        assert german["jobs"]["empty_text"] == "Noch kein Auftrag wurde erteilt."
        assert german["queues"]["tables"][1]["columns"][-1] == "begonnen"
    page = admin_client.get("/dashboard/", headers={"Accept-Language": "de"}).content.decode()
    assert '<html lang="de">' in page and "Betriebs-Dashboard" in page


def test_the_progress_of_a_job_is_said_in_words():
    assert service_panels.format_progress(Job(total=0)) == "no items"
    assert service_panels.format_progress(Job(total=10, done=3, failed=1)) == "4 of 10 (40 %)"


def test_a_stat_becomes_plain_data():
    assert dashboard.build_panel("k", lambda now: Panel(stats=[Stat("a", 1, "ms", "bad")]), NOW)["stats"] == [
        {"label": "a", "value": 1, "unit": "ms", "tone": "bad"}
    ]


def test_real_feeds_appear_in_traffic_stages_caches_and_engines(admin_client):
    now = clock.now()
    for _ in range(4):
        factories.posts(factories.member(at=now), 5, at=now)
    factories.embed_all_posts(at=now)
    sampler = samples.Sampler()
    sampler.take_sample("web", now.timestamp())  # discards the counts of other tests
    for name in ("ann", "bob"):
        factories.member(name, at=now)
        for _ in range(3):
            recommend(member_id=name, now=now)
    records.record_served(now=now)
    samples.store_sample(sampler.take_sample("web", now.timestamp()))
    panels = panels_by_key(now)
    assert [stat["value"] for stat in panels["traffic"]["stats"]][::3] == [1.2, 66.7]
    plots = panels["traffic"]["plots"]
    assert [points[-1][1] for points in plots[0]["lines"].values()] == [2, 4]
    components = {row[1]: row for row in panels["stages"]["tables"][0]["rows"]}
    assert components["fresh"][3] == 2
    assert components["fresh"][4] > 0
    slates = {row[0]: row for row in panels["caches"]["tables"][0]["rows"]}["slates"]
    assert slates[1] == 66.7
    assert slates[2:5] == [4, 0, 2]
    engines = panels["engines"]
    assert engines["tables"][0]["rows"][0][:2] == ["wasm_simd", 2]
    assert engines["stats"][1]["value"] == 0
    assert panels["memory"]["stats"][1]["value"] > 1


def test_fallbacks_appear_by_step_in_the_engines_panel(monkeypatch):
    factories.posts(factories.member(), 5)
    factories.embed_all_posts()
    for name in ("ann", "bob", "cat"):
        recommend(member_id=factories.member(name).external_id, now=NOW)
        monkeypatch.setattr(WasmEngine, "score", raise_engine_error)
    records.record_served(now=NOW)
    panel = service_panels.engines_panel(NOW)
    assert panel.bars[0].values == {"plain": 2}
    assert (panel.stats[1].value, panel.stats[1].tone) == (66.7, "bad")


def raise_engine_error(*_):
    raise EngineError("no")


def test_the_variants_panel_compares_a_week_of_hours():
    for hours, variant, engaged in ((1, "control", 2), (2, "control", 4), (1, "treatment", 12), (200, "treatment", 99)):
        FeedHour.objects.create(
            hour=NOW - timedelta(hours=hours),
            feed="discovery",
            engine="plain",
            variant=variant,
            slate_count=10,
            p50_ms=float(hours),
            p95_ms=9.0,
            served_count=100,
            page_count=10,
            engagement_count=engaged,
        )
    table = service_panels.variants_panel(NOW).tables[0]
    control, treatment = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert control == {
        "feed": "discovery",
        "variant": "control",
        "slates": 20,
        "engaged %": 3.0,
        "p50 ms": 1.5,
        "worst p95 ms": 9.0,
        "fallback %": 0.0,
        "empty %": 0.0,
        "served": 200,
    }
    assert (treatment["engaged %"], treatment["p50 ms"]) == (12.0, 1.0)
    assert service_panels.variants_panel(NOW).bars[0].values == {
        "discovery, control": 3.0,
        "discovery, treatment": 12.0,
    }
    assert len(service_panels.days_panel(NOW).plots[0].lines["pages served"]) == 2


def test_what_was_not_measured_is_not_shown_as_0():
    """An hour whose pages all came from caches has no time to build a slate, and no share of its slates."""
    values = {"feed": "discovery", "engine": "plain", "variant": "control", "page_count": 5, "served_count": 50}
    FeedHour.objects.create(hour=NOW - timedelta(hours=1), **values)
    table = service_panels.variants_panel(NOW).tables[0]
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert [row[name] for name in ("p50 ms", "worst p95 ms", "fallback %", "empty %")] == [None] * 4
    assert service_panels.days_panel(NOW).plots[1].lines == {"p95": []}
    assert general_panels.percent(0, 0) is None


def test_a_cache_of_each_process_shows_the_sum_of_its_newest_sizes():
    """A cache that was not used in a period has no hit rate there."""

    def sample(process, minutes, cache, entries):
        labels = (("cache", cache), ("outcome", "hit"))
        gauges = {("recsys_cache_entries", (("cache", cache),)): float(entries)}
        at = (NOW - timedelta(minutes=minutes)).timestamp()
        return samples.Sample(process, at, 1, {("recsys_cache_requests_total", labels): 3.0}, gauges)

    for stored in (
        sample("web a:1", 30, "preference_vectors", 9),
        sample("web a:1", 20, "preference_vectors", 4),
        sample("web b:2", 19, "preference_vectors", 2),
        sample("web b:2", 10, "slates", 70),
    ):
        samples.store_sample(stored)
    panel = general_panels.caches_panel(NOW)
    rows = {row[0]: row for row in panel.tables[0].rows}
    assert (rows["preference_vectors"][5], rows["slates"][5]) == (6, None), "slates are counted by their sweep"
    lines = panel.plots[0].lines
    assert [len(lines["preference_vectors"]), len(lines["slates"])] == [2, 1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s ago"), (119, "119 s ago"), (120, "2 min ago"), (7_200, "2 h ago"), (200_000, "2 d ago"), (-9, "0 s ago")],
)
def test_an_age_is_shown_in_the_largest_unit_of_which_it_has_two(seconds, text):
    assert general_panels.format_age(NOW, NOW.timestamp() - seconds) == text


def test_jobs_and_maintenance_show_their_progress(monkeypatch):
    Job.objects.create(kind="batch_feeds", state="running", total=10, done=3, failed=1, created_at=NOW, started_at=NOW)
    Job.objects.create(kind="embed_posts", state="queued", total=2, created_at=NOW - timedelta(seconds=1))
    MaintenanceRun.objects.create(name="tidy", started_at=NOW, outcome="failed", error="OSError")
    panels = panels_by_key(NOW + timedelta(seconds=90))
    assert panels["jobs"]["tables"][0]["rows"][1][3:] == [0, "91 s ago", "not started"]
    assert panels["jobs"]["tables"][0]["rows"][0][:4] == ["batch_feeds", "running", "4 of 10 (40 %)", 1]
    assert panels["jobs"]["tables"][0]["rows"][0][5] == "90.0 s"
    assert panels["maintenance"]["stats"][0]["value"] == 1
    assert panels["maintenance"]["tables"][0]["rows"][0][:3] == ["tidy", "failed", "90 s ago"]
