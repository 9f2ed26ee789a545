"""Duties: done once however often they are sent, and recorded whatever comes of them."""

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
EVERY = timedelta(minutes=10)
THREADS = 4


@pytest.fixture
def only_tasks(monkeypatch):
    """Have these duties only."""
    registered = {}
    monkeypatch.setattr(maintenance, "_tasks", registered)
    return registered


def maintain(minutes=0.0, name="tidy", **how):
    return maintenance.run_maintenance_task(name=name, now=NOW + timedelta(minutes=minutes), interval=EVERY, **how)


def test_every_duty_in_the_schedule_is_registered_and_every_duty_is_in_the_schedule():
    entries = [e for e in settings.CELERY_BEAT_SCHEDULE.values() if e["task"] == maintenance.RUN_MAINTENANCE_TASK]
    assert {e["kwargs"]["name"] for e in entries} == set(maintenance.maintenance_task_names())


def test_what_was_done_is_recorded(only_tasks):
    only_tasks["tidy"] = lambda now: MaintenanceResult(rows=3, bytes=2_000, note="x" * 400)
    run = maintain()
    run.refresh_from_db()
    assert (run.name, run.started_at, run.rows, run.bytes, run.outcome) == ("tidy", NOW, 3, 2_000, "done")
    assert len(run.note) == 300
    assert run.seconds >= 0
    with pytest.raises(ValueError, match="kept as it was written"):
        run.save()


def test_it_is_not_done_again_before_half_its_time_is_over(only_tasks):
    only_tasks["tidy"] = lambda now: MaintenanceResult()
    assert maintain()
    assert maintain(0.01) is None
    assert maintain(4.9) is None
    assert maintain(5)
    assert maintain(5.1, scope="batch"), "a scope has a rhythm of its own"
    assert MaintenanceRun.objects.count() == 3


def test_a_failure_is_recorded_raised_and_tried_again(only_tasks, caplog):
    def fails(now):
        raise OSError("secret text")

    only_tasks["tidy"] = fails
    with pytest.raises(OSError, match="secret"):
        maintain()
    run = MaintenanceRun.objects.get()
    assert (run.outcome, run.error, run.note) == ("failed", "OSError", "")
    only_tasks["tidy"] = lambda now: MaintenanceResult()
    assert maintain(10).outcome == "done"


def test_a_run_whose_worker_was_killed_is_noted_as_lost_by_the_next(only_tasks):
    only_tasks["tidy"] = lambda now: MaintenanceResult()
    MaintenanceTask.objects.create(name="tidy", claimed_at=NOW, is_running=True)
    assert maintain(30) is None, "it may still be at work"
    assert maintain(61)
    lost, done = MaintenanceRun.objects.order_by("pk")
    assert (lost.outcome, lost.started_at) == ("lost", NOW)
    assert done.outcome == "done"


def test_an_unknown_duty_is_refused(only_tasks):
    only_tasks["tidy"] = lambda now: MaintenanceResult()
    with pytest.raises(UnknownMaintenanceTaskError, match="there are tidy"):
        maintain(name="other")


@pytest.mark.django_db(transaction=True)
def test_of_several_beats_one_acts(only_tasks):
    """Each beat's message reaches another worker at the same moment, and each of them tries."""
    acted, begin = [], threading.Barrier(THREADS)
    only_tasks["tidy"] = lambda now: acted.append(now) or MaintenanceResult()
    runs = []

    def worker():
        begin.wait(10)
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
    assert acted == [NOW]
    assert MaintenanceRun.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_database_is_optimised_by_its_task():
    """On SQLite and PostgreSQL, outside any transaction, as a worker does it."""
    assert maintenance._tasks["optimize_database"] is optimize_database.optimize_database
    task("optimize_database", interval_seconds=86_400, unknown="argument of tomorrow")
    run = MaintenanceRun.objects.get()
    assert run.outcome == "done"
    assert "MiB" in run.note
    assert run.rows > 20


def test_a_duty_is_done_on_demand_and_all_are_listed(only_tasks, capsys):
    only_tasks["tidy"] = lambda now: MaintenanceResult(rows=1_234, note="well")
    call_command("maintain")
    assert "tidy                 never ran" in capsys.readouterr().out
    for _ in range(2):  # who asks for it need not wait for the clock
        call_command("maintain", "tidy")
        assert "tidy: 1,234 rows" in capsys.readouterr().out
    call_command("maintain")
    assert "well" in capsys.readouterr().out
    MaintenanceTask.objects.update(is_running=True)
    with pytest.raises(CommandError, match="runs at this moment"):
        call_command("maintain", "tidy")
    with pytest.raises(CommandError, match="there are tidy"):
        call_command("maintain", "untidy")


def test_the_page_lists_and_filters_runs_and_lets_nobody_change_them(admin_client, only_tasks):
    only_tasks["tidy"] = lambda now: MaintenanceResult(rows=7, note="seven")
    run = maintain()
    page = admin_client.get("/admin/monitoring/maintenancerun/?outcome__exact=done").content.decode()
    assert "seven" in page
    assert admin_client.get("/admin/monitoring/maintenancerun/add/").status_code == 403
    assert admin_client.post(f"/admin/monitoring/maintenancerun/{run.pk}/delete/").status_code == 403
    assert admin_client.get("/admin/monitoring/maintenancetask/").status_code == 200
