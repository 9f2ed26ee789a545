"""The primary of the two Redis is killed: the processes find the new one, and no accepted work is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings

from recsys_project.stack.commands import CELERY, server_commands
from recsys_project.stack.state import StackState
from tests import servers
from tests.redis_servers import PRIMARY, sentinel, server

WAIT_SECONDS = 120
"""Maximum time for something to happen. Generous, because the machine may be busy."""
PASSWORD, SENTINEL_PASSWORD = "of-the-servers", "of-the-sentinel"  # pragma: allowlist secret
LOCK = f"{settings.REDBEAT_KEY_PREFIX}:lock"
BEAT = server_commands(StackState(web_port=1, flower_port=1))["beat"]

pytestmark = pytest.mark.one_database("sqlite")


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Return the first true value of *condition*; fail after `WAIT_SECONDS`."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return value


def has_run_a_task(log: Path) -> bool:
    return "task_succeeded" in log.read_text(errors="replace")


def submit_job(web: servers.WebServer) -> str:
    """Submit a job with a chunk for each member. Return its id."""
    body = {"kind": "batch_feeds", "params": {"member_ids": ["reader-1", "reader-2"]}}
    response = web.send("POST", "/api/v1/jobs", body, credential=web.key)
    assert response.status == 202, response.body
    return str(response.json()["id"])


def is_done(web: servers.WebServer, job: str) -> bool:
    return web.send("GET", f"/api/v1/jobs/{job}", credential=web.key).json()["state"] == "done"


def test_the_service_goes_on_after_a_failover_and_loses_no_accepted_work(tmp_path: Path) -> None:
    with ExitStack() as stack:
        options = {"password": PASSWORD}
        primary, primary_port = stack.enter_context(
            server(tmp_path / "primary", "--save", "", "--masterauth", PASSWORD, **options)
        )
        replication = ("--replicaof", "127.0.0.1", str(primary_port), "--masterauth", PASSWORD)
        _, replica_port = stack.enter_context(server(tmp_path / "replica", "--save", "", *replication, **options))
        replica = stack.enter_context(redis.Redis("127.0.0.1", replica_port, **options))
        wait_for(lambda: replica.info("replication")["master_link_status"] == "up", "the replica does not follow")
        sentinel_port = stack.enter_context(
            sentinel(tmp_path / "sentinel", primary_port, password=SENTINEL_PASSWORD, primary_password=PASSWORD)
        )
        watcher = stack.enter_context(redis.Redis("127.0.0.1", sentinel_port, password=SENTINEL_PASSWORD))
        wait_for(
            lambda: [row["master-link-status"] for row in watcher.sentinel_slaves(PRIMARY)] == ["ok"],
            "the sentinel does not know the replica",
        )
        env = {
            "REDIS_URL": f"redis://:{PASSWORD}@{PRIMARY}/0",
            "CACHE_REDIS_URL": f"redis://:{PASSWORD}@{PRIMARY}/1",
            "REDIS_SENTINELS": f"127.0.0.1:{sentinel_port}",
            "REDIS_SENTINEL_PASSWORD": SENTINEL_PASSWORD,
            "BATCH_PROCESSING_SIZE": "1",
        }
        (tmp_path / "web").mkdir()
        web = stack.enter_context(servers.web_server(tmp_path / "web", **env))
        command = [*CELERY, "worker", "-Q", "interactive,batch,maintenance", "-c", "1", "-l", "INFO"]
        worker, worker_log = stack.enter_context(servers.run_process(command, tmp_path, **web.env))
        beat, beat_log = stack.enter_context(servers.run_process(BEAT, tmp_path, **web.env))
        web.add_members("author", "reader-1", "reader-2")
        web.add_posts(*(f"post-{number}" for number in range(5)), author_id="author")
        wait_for(lambda: has_run_a_task(worker_log), "the worker runs no task")

        jobs = [submit_job(web)]
        primary.kill()
        jobs.append(submit_job(web))  # while there is no primary
        assert web.send("GET", "/api/v1/members/reader-1/feed", credential=web.key).status == 200
        wait_for(
            lambda: watcher.sentinel_get_master_addr_by_name(PRIMARY)[1] == replica_port,
            "the sentinel does not promote the replica",
        )

        for job in jobs:
            wait_for(lambda job=job: is_done(web, job), f"job {job} is not done: {worker_log.read_text()[-2000:]}")
        wait_for(lambda: replica.exists(LOCK), f"beat has no lock: {beat_log.read_text()[-2000:]}")
        body = json.loads(web.send("GET", "/readyz").body)
        assert body["checks"]["redis"] == "pass", body
        assert (worker.poll(), beat.poll()) == (None, None)
