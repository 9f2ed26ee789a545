"""Alerts fire, resolve and are notified once; silences, failing gauges and failing mail servers lose nothing."""

import http.server
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.core import mail
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils.translation import gettext, override
from pydantic import SecretStr

from monitoring import alerts, gauges, latency, metrics, notices, samples, tasks
from monitoring.metrics import ComputedGauge
from monitoring.models import Alert, AlertRule, MaintenanceRun, MaintenanceTask, Notice, Silence
from tests.admin_forms import submit_page
from tests.factories import NOW

GAUGE = ComputedGauge("recsys_of_a_test", "A figure.", ("part",))
STEP = timedelta(seconds=30)


def set_env(monkeypatch, **values):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update=values))


@pytest.fixture
def gauge(monkeypatch, db):
    """A gauge with the value 1.0 for part a and a value that the test sets for part b, and one rule on it."""
    monkeypatch.setattr(gauges, "_sources", {})
    current = {"value": 0.0}

    def compute(_now):
        if current["value"] is None:
            raise RuntimeError("no response")
        return {GAUGE: {("a",): 1.0, ("b",): current["value"]}}

    gauges.register_gauges(GAUGE, compute=compute, max_age=timedelta(0))
    AlertRule.objects.all().delete()
    AlertRule.objects.create(
        name="too_much", metric=GAUGE.name, labels={"part": "b"}, threshold=10, clears_at=8, for_seconds=60
    )
    return current


def evaluate_at(number, value, gauge):
    """Set the gauge and evaluate the rules *number* steps after NOW. Return the newest alert's state, if any."""
    gauge["value"] = value
    assert alerts.evaluate_rules(now=NOW + number * STEP)
    alert = Alert.objects.first()
    return alert.state if alert else None


def test_an_alert_is_pending_then_fires_and_resolves_at_clears_at(gauge):
    assert evaluate_at(0, 10, gauge) is None
    assert evaluate_at(1, 11, gauge) == "pending"
    assert evaluate_at(2, 12, gauge) == "pending"
    assert evaluate_at(3, 13, gauge) == "firing"
    assert evaluate_at(4, 9, gauge) == "firing", "a value between clears_at and the threshold does not resolve it"
    assert evaluate_at(5, None, gauge) == "firing", "a gauge that fails changes nothing"
    assert evaluate_at(6, 8, gauge) == "resolved"
    alert = Alert.objects.get()
    assert (alert.began_at, alert.fired_at, alert.resolved_at) == (NOW + STEP, NOW + 3 * STEP, NOW + 6 * STEP)
    assert alert.value == 9 and "above 10" in alert.summary
    evaluate_at(7, 11, gauge)
    assert Alert.objects.count() == 2


def test_the_summary_is_in_the_language_of_the_page_and_what_is_stored_and_sent_is_english(gauge, admin_client):
    advice = "Check which cache misses, and whether Redis evicts keys."
    AlertRule.objects.update(threshold=10.5, advice=advice)
    with override("de"):
        evaluate_at(1, 1234.5, gauge)
        evaluate_at(3, 1234.5, gauge)
        alert = Alert.objects.get()
        german = f"{GAUGE.name} ist 1.234, über 10,5. Prüfen Sie, welchem Cache"
        assert alert.shown_summary.startswith(german)
        assert alerts.alerts_panel(NOW).tables[0].rows[0][1] == alert.shown_summary
        assert notices.webhook_alert(alert)["summary"] == alert.summary
    assert alert.summary == alert.shown_summary == f"{GAUGE.name} is 1,234, above 10.5. {advice}"
    page = f"/admin/monitoring/alert/{alert.pk}/change/"
    html = admin_client.get(page, headers={"Accept-Language": "de"}).content.decode()
    assert german in html and "ausgelöst" in html and "mittel" in html
    AlertRule.objects.update(comparison="below", threshold=9000, clears_at=None, advice="")
    evaluate_at(4, 1, gauge)
    with override("de"):
        assert Alert.objects.get().shown_summary == f"{GAUGE.name} ist 1, unter 9.000."
        AlertRule.objects.update(advice="Call {name}.")
        evaluate_at(5, 1, gauge)
        assert Alert.objects.get().shown_summary.endswith(". Call {name}."), "what an operator wrote is not translated"
        Alert.objects.update(facts=None)
        assert Alert.objects.get().shown_summary == f"{GAUGE.name} is 1, below 9,000. Call {{name}}."


@pytest.mark.django_db
def test_the_advice_of_each_rule_of_a_new_installation_is_translated():
    with override("de"):
        assert [text for text in AlertRule.objects.values_list("advice", flat=True) if gettext(text) == text] == []


def test_a_short_breach_leaves_no_alert(gauge):
    assert evaluate_at(1, 11, gauge) == "pending"
    assert evaluate_at(2, 9, gauge) is None
    assert evaluate_at(3, 11, gauge) == "pending"


def test_an_alert_fires_and_is_sent_in_time_after_the_clock_was_ahead(gauge, receiver, monkeypatch):
    set_env(monkeypatch, alert_webhook_url=f"http://127.0.0.1:{receiver.server_port}/hook")
    day_ahead = 24 * 60 * 2
    assert evaluate_at(day_ahead, 11, gauge) == "pending"
    assert [evaluate_at(number, 11, gauge) for number in (1, 2, 3)] == ["pending", "pending", "firing"]
    Notice.objects.update(due_at=NOW + day_ahead * STEP)
    assert notices.send_due_notices(now=NOW + 3 * STEP) == 1


def test_disabling_a_rule_resolves_its_alert(gauge):
    for number in (1, 2, 3):
        evaluate_at(number, 20, gauge)
    AlertRule.objects.update(is_enabled=False)
    assert evaluate_at(4, 20, gauge) == "resolved"


def test_disabling_a_rule_deletes_its_pending_alert(gauge):
    assert evaluate_at(1, 11, gauge) == "pending"
    AlertRule.objects.update(is_enabled=False)
    assert evaluate_at(2, 11, gauge) is None


def test_a_rule_with_an_unknown_metric_does_not_affect_others(gauge, caplog):
    AlertRule.objects.create(name="a_rule_without_metric", metric="recsys_nowhere", threshold=1)
    assert evaluate_at(1, 11, gauge) == "pending"
    assert "alert_rule_metric_not_found" in caplog.text


def test_a_rule_below_compares_the_lowest_value(gauge):
    rule = AlertRule.objects.get()
    rule.comparison, rule.labels, rule.threshold, rule.clears_at, rule.for_seconds = "below", {}, 0.9, 0.95, 0
    rule.save()
    assert evaluate_at(1, 0.5, gauge) == "firing"
    assert Alert.objects.get().value == 0.5
    rule.clears_at = 0.8
    with pytest.raises(ValidationError, match="would never resolve"):
        rule.clean()


@pytest.mark.django_db(transaction=True)
def test_one_of_several_concurrent_evaluations_runs(gauge):
    gauge["value"] = 11

    def evaluate(_):
        try:
            return alerts.evaluate_rules(now=NOW)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(evaluate, range(4)))
    assert results.count(True) == 1
    assert Alert.objects.count() == 1


class Receiver(http.server.BaseHTTPRequestHandler):
    """Records what is posted and returns the status that the test sets."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posted.append((self.path, body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.posted, server.status = [], 200
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_channel_gets_one_notice_per_event(gauge, receiver, monkeypatch):
    url = f"http://127.0.0.1:{receiver.server_port}"
    set_env(monkeypatch, alert_emails=["ops@example.org"], alert_webhook_url=url + "/hook", alertmanager_url=url + "/")
    for number in (1, 2, 3, 4):
        evaluate_at(number, 11, gauge)
        notices.send_due_notices(now=NOW + number * STEP)
    assert [(m.subject, m.to) for m in mail.outbox] == [("[recsys] firing: too_much", ["ops@example.org"])]
    hook, alertmanager = sorted(receiver.posted, key=lambda post: post[0], reverse=True)
    assert hook[0] == "/hook" and hook[1]["event"] == "firing" and hook[1]["alert"]["value"] == 11
    assert alertmanager[0] == "/api/v2/alerts"
    assert alertmanager[1][0]["labels"] == {
        "alertname": "too_much",
        "severity": "medium",
        "source": "recsys",
        "part": "b",
    }
    evaluate_at(5, 1, gauge)
    assert notices.send_due_notices(now=NOW + 5 * STEP) == 3
    assert mail.outbox[-1].subject == "[recsys] resolved: too_much"
    assert "endsAt" in next(body for path, body in receiver.posted[2:] if path == "/api/v2/alerts")[0]
    assert notices.send_due_notices(now=NOW + 6 * STEP) == 0


def test_the_periodic_task_evaluates_the_rules_and_sends_notices(gauge, monkeypatch):
    set_env(monkeypatch, alert_emails=["ops@example.org"])
    AlertRule.objects.update(for_seconds=0)
    gauge["value"] = 11
    tasks.evaluate_alerts()
    assert Alert.objects.get().state == "firing"
    assert [message.subject for message in mail.outbox] == ["[recsys] firing: too_much"]


def test_after_a_failure_the_other_notices_of_a_channel_wait_for_the_next_run(gauge, receiver, monkeypatch):
    """Each would wait for the same server. The other channels are not affected."""
    set_env(
        monkeypatch, alert_webhook_url=f"http://127.0.0.1:{receiver.server_port}/hook", alert_emails=["on@example.org"]
    )
    receiver.status = 500
    AlertRule.objects.create(name="too_much_again", metric=GAUGE.name, labels={"part": "b"}, threshold=10)
    for number in (1, 2, 3):
        evaluate_at(number, 11, gauge)
    later = NOW + 3 * STEP
    assert Notice.objects.count() == 4
    assert notices.send_due_notices(now=later) == len(mail.outbox) == 2
    assert len(receiver.posted) == 1
    receiver.status = 200
    assert notices.send_due_notices(now=later + STEP) == 2
    assert len(receiver.posted) == 3


def test_it_is_reported_that_the_rules_are_not_evaluated(gauge):
    """By the health check and by the dashboard: without an evaluation, no alert means nothing."""
    MaintenanceTask.objects.all().delete()

    def panel(now):
        return alerts.alerts_panel(now)

    assert "has been evaluated so far" in panel(NOW).note
    evaluate_at(0, 1, gauge)
    alerts.require_evaluation(NOW + alerts.LATE_AFTER)
    assert [(stat.label, stat.tone) for stat in panel(NOW).stats] == [("alerts firing", "good")]
    late = NOW + alerts.LATE_AFTER + timedelta(seconds=1)
    with pytest.raises(RuntimeError, match=r"No alert rule has been evaluated since .* UTC"):
        alerts.require_evaluation(late)
    assert [(stat.label, stat.tone) for stat in panel(late).stats] == [
        ("alerts firing", ""),
        ("rules evaluated", "bad"),
    ]
    assert panel(late).note.startswith("No alert rule has been evaluated since")


def test_an_evaluation_whose_worker_was_killed_stops_the_next_ones_for_90_seconds_only(gauge):
    """The killed worker has left a row that says that it runs."""
    name = alerts.EVALUATE_ALERTS
    MaintenanceTask.objects.update_or_create(name=name, defaults={"claimed_at": NOW, "is_running": True})
    assert not alerts.evaluate_rules(now=NOW + alerts.LATE_AFTER - timedelta(seconds=1))
    assert alerts.evaluate_rules(now=NOW + alerts.LATE_AFTER)


def test_a_failed_notice_is_retried_and_finally_given_up(gauge, receiver, monkeypatch):
    set_env(monkeypatch, alert_webhook_url=f"http://127.0.0.1:{receiver.server_port}/hook")
    receiver.status = 500
    for number in (1, 2, 3):
        evaluate_at(number, 11, gauge)
    later = NOW + 3 * STEP
    assert notices.send_due_notices(now=later) == notices.send_due_notices(now=later) == 0
    assert len(receiver.posted) == 1, "the retry waits"
    notice = Notice.objects.get()
    assert (notice.state, notice.attempts, notice.error) == ("waiting", 1, "HTTPError")
    receiver.status = 200
    assert notices.send_due_notices(now=later + STEP) == 1
    Notice.objects.update(state="waiting", attempts=notices.MAX_ATTEMPTS - 1, due_at=later)
    receiver.status = 500
    notices.send_due_notices(now=later)
    assert Notice.objects.get().state == "given up"


def test_a_notice_that_another_worker_claimed_is_not_sent(gauge, monkeypatch):
    """The other worker claims the second notice while this worker sends the first."""
    set_env(monkeypatch, alert_emails=["ops@example.org"], alert_webhook_url="http://127.0.0.1:9/hook")
    for number in (1, 2, 3):
        evaluate_at(number, 11, gauge)
    assert Notice.objects.count() == 2
    sent = []

    def send(alert, event):
        sent.append(event)
        Notice.objects.filter(attempts=0).update(attempts=1)

    monkeypatch.setattr(notices, "SENDERS", dict.fromkeys(Notice.Channel, send))
    assert notices.send_due_notices(now=NOW + 3 * STEP) == len(sent) == 1


def test_a_silence_suppresses_notices_until_it_ends(gauge, monkeypatch):
    set_env(monkeypatch, alert_emails=["ops@example.org"])
    silence = Silence.objects.create(rule_name="too_much", starts_at=NOW, ends_at=NOW + 5 * STEP, reason="a move")
    Silence.objects.create(severity="low", starts_at=NOW, ends_at=NOW + 50 * STEP, reason="others")
    for number in (1, 2, 3, 4):
        assert evaluate_at(number, 11, gauge) in ("pending", "firing")
    assert not Notice.objects.exists()
    evaluate_at(5, 11, gauge)
    assert Notice.objects.count() == 1 and silence.covers(Alert.objects.get())


def test_a_note_in_the_admin_acknowledges_an_alert(gauge, admin_client, monkeypatch):
    set_env(monkeypatch, alert_emails=["ops@example.org"])
    AlertRule.objects.update(for_seconds=0)
    evaluate_at(1, 11, gauge)
    Notice.objects.all().delete()
    alert = Alert.objects.get()
    page = f"/admin/monitoring/alert/{alert.pk}/change/"
    form = {"note": "A disk is full.", "notices-TOTAL_FORMS": 0, "notices-INITIAL_FORMS": 0}
    assert admin_client.get(page).status_code == 200
    assert submit_page(admin_client, page, form).status_code == 302
    alert.refresh_from_db()
    assert alert.note == "A disk is full." and alert.acknowledged_at
    assert alert.acknowledged_by == get_user_model().objects.get(is_superuser=True)
    evaluate_at(2, 12, gauge)
    assert not Notice.objects.exists(), "an acknowledged alert creates no notices"
    for name in ("alertrule", "silence", "alert"):
        assert admin_client.get(f"/admin/monitoring/{name}/").status_code == 200
    assert GAUGE.name in admin_client.get("/admin/monitoring/alertrule/add/").content.decode()


def test_alerts_are_acknowledged_by_an_action(gauge, admin_client, django_user_model):
    """An alert that somebody else has acknowledged is not changed."""
    AlertRule.objects.update(for_seconds=0)
    evaluate_at(1, 11, gauge)
    other = django_user_model.objects.create_user("other")
    first = Alert.objects.get()
    Alert.objects.update(state="resolved", acknowledged_at=NOW, acknowledged_by=other)
    evaluate_at(2, 11, gauge)
    selected = [alert.pk for alert in Alert.objects.all()]
    form = {"action": "acknowledge", "_selected_action": selected}
    answer = admin_client.post("/admin/monitoring/alert/", form, follow=True)
    assert "1 alert acknowledged." in answer.content.decode()
    names = {alert.pk == first.pk: alert.acknowledged_by.username for alert in Alert.objects.all()}
    assert names == {True: "other", False: "admin"}


@pytest.mark.django_db
def test_a_silence_has_the_user_who_created_it_and_is_logged_in_english(client, django_user_model):
    client.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"
    form = {
        "starts_at_0": "2026-06-01",
        "starts_at_1": "12:00",
        "ends_at_0": "2026-06-02",
        "ends_at_1": "12:00",
        "reason": "a move",
    }
    client.force_login(django_user_model.objects.create_superuser("first"))
    assert client.post("/admin/monitoring/silence/add/", form).status_code == 302
    client.force_login(django_user_model.objects.create_superuser("second"))
    silence = Silence.objects.get()
    page = f"/admin/monitoring/silence/{silence.pk}/change/"
    assert submit_page(client, page, form | {"reason": "a long move"}).status_code == 302
    silence.refresh_from_db()
    assert (silence.reason, silence.created_by.username) == ("a long move", "first")
    assert client.post(page.replace("change", "delete"), {"post": "yes"}).status_code == 302
    names = list(LogEntry.objects.values_list("object_repr", flat=True))
    assert names == ["every alert until 2026-06-02 12:00"] * 3, "what is stored is in one language"


def test_the_admin_names_each_row():
    alert = Alert(name="too_much", severity="high", state="firing")
    rows = [
        AlertRule(name="too_much"),
        Silence(ends_at=NOW),
        Silence(ends_at=NOW, rule_name="too_much"),
        Notice(alert=alert, channel="email"),
        MaintenanceTask(name="tidy"),
        MaintenanceRun(name="tidy", outcome="failed"),
    ]
    assert list(map(str, rows)) == [
        "too_much",
        "every alert until 2026-06-01 12:00",
        "too_much until 2026-06-01 12:00",
        f"{alert} by email",
        "tidy",
        "tidy: Failed",
    ]


PAYLOAD = {
    "version": "4",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "DiskFull", "severity": "warning", "instance": "db:9100"},
            "annotations": {"summary": "The disk of db is full."},
            "startsAt": "2026-06-01T12:00:00.123456789Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": "c0ffee",
        }
    ],
}


def send(client, payload, token="tok"):
    body = payload if isinstance(payload, str) else json.dumps(payload)
    return client.post(
        "/alertmanager", body, content_type="application/json", headers={"Authorization": f"Bearer {token}"}
    )


@pytest.mark.django_db
def test_alerts_of_alertmanager_are_recorded_once_without_notices(client, monkeypatch):
    set_env(monkeypatch, metrics_token=SecretStr("tok"), alert_emails=["ops@example.org"])
    assert send(client, PAYLOAD, token="wrong").status_code == 401
    assert send(client, PAYLOAD).json() == send(client, PAYLOAD).json() == {"recorded": 1}
    alert = Alert.objects.get()
    assert (alert.name, alert.severity, alert.state) == ("DiskFull", "warning", "firing")
    assert alert.began_at == datetime(2026, 6, 1, 12, 0, 0, 123456, UTC)
    AlertRule.objects.all().delete()
    alerts.evaluate_rules(now=NOW)
    assert not Notice.objects.exists()
    assert alerts.compute_alert_gauges(NOW)[metrics.ALERTS_FIRING][("other",)] == 1
    resolved = {"alerts": [PAYLOAD["alerts"][0] | {"status": "resolved"}]}
    assert send(client, resolved).json() == {"recorded": 1}
    assert Alert.objects.get().state == "resolved"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ("{", "not JSON"),
        ([], "`alerts` must be a list"),
        ({"alerts": [{}]}, "labels"),
        ('{"alerts": [], "alerts": []}', "not JSON"),
        ({"alerts": [PAYLOAD["alerts"][0] | {"status": "unknown"}]}, "status"),
        ({"alerts": [PAYLOAD["alerts"][0] | {"fingerprint": "a\0"}]}, "NUL"),
        ({"alerts": [PAYLOAD["alerts"][0] | {"annotations": {"summary": "\ud800"}}]}, "surrogate"),
        ({"alerts": [PAYLOAD["alerts"][0] | {"labels": {"alertname": "a", "b\ud800": "c"}}]}, "surrogate"),
        ({"alerts": [PAYLOAD["alerts"][0] | {"startsAt": "2026-99-01T00:00:00Z"}]}, "startsAt"),
        ({"alerts": [PAYLOAD["alerts"][0] | {"labels": {"a": "b"}}]}, "alertname"),
    ],
)
def test_an_invalid_payload_records_nothing(client, monkeypatch, payload, message):
    set_env(monkeypatch, metrics_token=SecretStr("tok"))
    response = send(client, payload)
    assert response.status_code == 400 and message in response.json()["detail"]
    assert response["Content-Type"] == "application/problem+json"
    assert not Alert.objects.exists()


@pytest.mark.django_db
def test_an_invalid_alert_costs_itself_only(client, monkeypatch):
    set_env(monkeypatch, metrics_token=SecretStr("tok"))
    good = PAYLOAD["alerts"][0]
    response = send(client, {"alerts": [good | {"status": "unknown"}, good, {}]})
    assert (response.status_code, response.json()["recorded"]) == (207, 1)
    assert [row["alert"] for row in response.json()["rejected"]] == [0, 2]
    assert Alert.objects.get().name == "DiskFull"


@pytest.fixture
def initial_rules(db):
    """The rules of a new database. Other tests may have emptied the table."""
    AlertRule.objects.all().delete()
    migration = import_module("monitoring.migrations._initial_data")
    migration.add_rules(apps, SimpleNamespace(connection=connection))


@pytest.mark.usefixtures("initial_rules")
def test_every_initial_rule_has_a_registered_metric_and_the_thresholds_of_the_specification():
    rules = {rule.name: rule for rule in AlertRule.objects.all()}
    for rule in rules.values():
        rule.clean()
        assert rule.metric in gauges.gauge_names(), rule.name
    thresholds = {name: (rules[name].threshold, rules[name].severity) for name in rules}
    assert thresholds["recommendation_generation_time"] == (1.0, "medium")
    assert thresholds["heap_used"] == (2**30, "high")
    assert thresholds["cache_hit_rate"] == (0.7, "medium")
    assert thresholds["database_query_time"] == (0.5, "medium")
    assert {thresholds[n][0] for n in ("error_rate", "memory_usage", "quality_score")} == {0.01, 0.85, 0.7}


@pytest.mark.usefixtures("initial_rules")
def test_slow_feeds_of_two_processes_fire_the_initial_rule(redis_url, monkeypatch):
    """From the samples of two processes in Redis to the row of the alert."""
    moment = datetime.now(UTC)
    with samples.cache_redis_client() as client:
        client.delete(samples.STREAM)
    for process in ("web a:1", "web b:2"):
        bucket = (("bucket", str(latency.latency_bucket(1.5))), ("operation", "recommendation_generation"))
        samples.store_sample(samples.Sample(process, moment.timestamp(), 1, {(samples.OPERATION_METRIC, bucket): 30.0}))
    monkeypatch.setattr(gauges._sources[metrics.OPERATION_SECONDS.name], "computed_at", None)
    for seconds in (0, 31, 62):
        alerts.evaluate_rules(now=moment + timedelta(seconds=seconds))
    alert = Alert.objects.get(name="recommendation_generation_time")
    assert alert.state == "firing"
    assert alert.value == pytest.approx(1.5, rel=0.02)
