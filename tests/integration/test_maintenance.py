"""Maintenance tasks run once however often they are sent, and every run is recorded."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connections

from monitoring import maintenance, optimize_database
from monitoring.maintenance import MaintenanceResult, UnknownMaintenanceTaskError
from monitoring.models import MaintenanceRun, MaintenanceTask
from monitoring.tasks import run_maintenance_task as task

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
INTERVAL = timedelta(minutes=10)
THREADS = 4


@pytest.fixture
def only_tasks(monkeypatch):
    """Replace the registered tasks with those of the test."""
    registered = {}
    monkeypatch.setattr(maintenance, "_tasks", registered)
    return registered


def maintain(minutes=0.0, name="tidy", **options):
    return maintenance.run_maintenance_task(
        name=name, now=NOW + timedelta(minutes=minutes), interval=INTERVAL, **options
    )


def test_the_schedule_has_exactly_the_registered_tasks():
    entries = [entry for entry in settings.BEAT_SCHEDULE.values() if entry["task"] == maintenance.RUN_MAINTENANCE_TASK]
    assert {entry["kwargs"]["name"] for entry in entries} == set(maintenance.maintenance_task_names())


def test_a_run_is_recorded_and_cannot_be_changed(only_tasks):
    only_tasks["tidy"] = lambda now: MaintenanceResult(rows=3, bytes=2_000, note="x" * 400)
    run = maintain()
    run.refresh_from_db()
    assert (run.name, run.started_at, run.rows, run.bytes, run.outcome) == ("tidy", NOW, 3, 2_000, "done")
    assert len(run.note) == 300
    assert run.seconds >= 0
    with pytest.raises(ValueError, match="cannot be changed"):
        run.save()


def test_a_task_does_not_run_again_within_half_its_interval(only_tasks):
    only_tasks["tidy"] = lambda now: MaintenanceResult()
    assert maintain()
    assert maintain(0.01) is None
    assert maintain(4.9) is None
    assert maintain(5)
    assert maintain(5.1, scope="batch"), "each scope has its own interval"
    assert MaintenanceRun.objects.count() == 3


@pytest.mark.parametrize("was_running", [False, True])
def test_a_clock_that_was_ahead_does_not_stop_a_task(only_tasks, was_running):
    only_tasks["tidy"] = lambda now: MaintenanceResult()
    MaintenanceTask.objects.create(name="tidy", claimed_at=NOW + timedelta(days=1), is_running=was_running)
    assert maintain()
    assert maintain(1) is None
    assert MaintenanceTask.objects.get().claimed_at == NOW


def test_a_claim_by_a_clock_that_is_a_little_ahead_holds(only_tasks):
    only_tasks["tidy"] = lambda now: MaintenanceResult()
    MaintenanceTask.objects.create(name="tidy", claimed_at=NOW + maintenance.MAX_CLOCK_DIFFERENCE)
    assert maintain() is None


def test_a_failure_is_recorded_raised_and_retried(only_tasks, caplog):
    def fail(now):
        raise OSError("secret text")

    only_tasks["tidy"] = fail
    with pytest.raises(OSError, match="secret"):
        maintain()
    run = MaintenanceRun.objects.get()
    assert (run.outcome, run.error, run.note) == ("failed", "OSError", "")
    only_tasks["tidy"] = lambda now: MaintenanceResult()
    assert maintain(10).outcome == "done"


def test_the_next_run_records_a_killed_run_as_lost(only_tasks):
    only_tasks["tidy"] = lambda now: MaintenanceResult()
    MaintenanceTask.objects.create(name="tidy", claimed_at=NOW, is_running=True)
    assert maintain(30) is None, "it may still be running"
    assert maintain(61)
    lost, done = MaintenanceRun.objects.order_by("pk")
    assert (lost.outcome, lost.started_at) == ("lost", NOW)
    assert done.outcome == "done"


def test_an_unknown_task_is_rejected(only_tasks):
    only_tasks["tidy"] = lambda now: MaintenanceResult()
    with pytest.raises(UnknownMaintenanceTaskError, match="Available: tidy"):
        maintain(name="other")


@pytest.mark.django_db(transaction=True)
def test_one_of_several_concurrent_workers_runs_the_task(only_tasks):
    """The messages of several beats reach several workers at the same time."""
    ran_at, start = [], threading.Barrier(THREADS)
    only_tasks["tidy"] = lambda now: ran_at.append(now) or MaintenanceResult()
    runs = []

    def worker():
        start.wait(10)
        try:
            runs.append(maintain())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=worker) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(runs) == THREADS
    assert ran_at == [NOW]
    assert MaintenanceRun.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_database_is_optimized_by_its_task():
    """On SQLite and PostgreSQL, outside a transaction, as in a worker."""
    assert maintenance._tasks["optimize_database"] is optimize_database.optimize_database
    task("optimize_database", interval_seconds=86_400, unknown="argument of a later version")
    run = MaintenanceRun.objects.get()
    assert run.outcome == "done"
    assert "MiB" in run.note
    assert run.rows > 20


def test_the_command_runs_a_task_and_lists_all(only_tasks, capsys):
    only_tasks["tidy"] = lambda now: MaintenanceResult(rows=1_234, note="well")
    call_command("maintain")
    assert "tidy                 never ran" in capsys.readouterr().out
    for _ in range(2):  # the command ignores the interval
        call_command("maintain", "tidy")
        assert "tidy: 1,234 rows" in capsys.readouterr().out
    call_command("maintain")
    assert "well" in capsys.readouterr().out
    MaintenanceTask.objects.update(is_running=True)
    with pytest.raises(CommandError, match="is already running"):
        call_command("maintain", "tidy")
    with pytest.raises(CommandError, match="Available: tidy"):
        call_command("maintain", "untidy")


def test_the_admin_lists_and_filters_runs_and_does_not_change_them(admin_client, only_tasks):
    only_tasks["tidy"] = lambda now: MaintenanceResult(rows=7, note="seven")
    run = maintain()
    page = admin_client.get("/admin/monitoring/maintenancerun/?outcome__exact=done").content.decode()
    assert "seven" in page
    assert admin_client.get("/admin/monitoring/maintenancerun/add/").status_code == 403
    assert admin_client.post(f"/admin/monitoring/maintenancerun/{run.pk}/delete/").status_code == 403
    assert admin_client.get("/admin/monitoring/maintenancetask/").status_code == 200
