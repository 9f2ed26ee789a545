"""Flower requires its password and shows no member."""

import base64
import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from uuid import uuid4

import pytest

from monitoring import clock
from recommendations import task_queue
from recommendations.services import work
from recommendations.services.learning import interact
from recommendations.services.learning.interact import Event
from recommendations.services.serving.recommend import recommend
from tests import factories
from tests.servers import ROOT, free_port, run_process, wait_until

PASSWORD = "a password of the test's own"
MEMBER = "zq-holmgren"


def get_page(url, *, password=""):
    """Return the status and the body of a page."""
    request = urllib.request.Request(url)
    if password:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{password}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""


def enqueue_every_task(viewer, post, now):
    """Enqueue every kind of task once, as the service does."""
    like = Event(event_id=str(uuid4()), member_id=MEMBER, post_id=post.external_id, kind="like")
    interact.record_events(events=[like], now=now)
    recommend(member_id=MEMBER, now=now)
    work.submit_job(kind="member_feed", params={"member_ids": [MEMBER]}, now=now)
    task_queue.enqueue(task_queue.REFRESH_SLATE, {"member_id": viewer.pk, "feed": "discovery"})
    for name in set(task_queue.QUEUES) - {
        task_queue.REFRESH_SLATE,
        task_queue.PROCESS_CHUNK,
        task_queue.LEARN_INTERACTIONS,
    }:
        task_queue.enqueue(name)


def is_listening(port):
    """Return whether a server listens on the port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.mark.django_db(transaction=True)
def test_flower_requires_a_password_and_shows_no_member(worker, fresh_wiring, tmp_path):
    """Every kind of task of the service, run by a real worker and read from Flower."""
    now, port = clock.now(), free_port()
    author, viewer = factories.member("zq-author", at=now), factories.member(MEMBER, at=now)
    posts = factories.posts(author, 3, at=now)
    factories.embed_all_posts(at=now)
    command = [sys.executable, "-m", "celery", "-A", "recsys_project", "flower"]
    options = [f"--port={port}", "--address=127.0.0.1"]
    with run_process(command + options, tmp_path, FLOWER_BASIC_AUTH=f"admin:{PASSWORD}") as (process, log):
        wait_until(lambda: is_listening(port), process, log)
        for page in ("/", "/tasks", "/api/tasks", "/api/workers"):
            assert get_page(f"http://127.0.0.1:{port}{page}")[0] == 401, page
            assert get_page(f"http://127.0.0.1:{port}{page}", password="another")[0] == 401, page
        tasks, enqueued_at = {}, -math.inf
        deadline = time.monotonic() + 120
        # Flower responds before it receives events of the workers: missed tasks are enqueued again.
        while missed := set(task_queue.QUEUES) - {
            task["name"] for task in tasks.values() if task["state"] == "SUCCESS"
        }:
            assert time.monotonic() < deadline, (missed, worker.log()[-2000:])
            if time.monotonic() - enqueued_at > 5:
                enqueue_every_task(viewer, posts[0], now)
                enqueued_at = time.monotonic()
            status, body = get_page(f"http://127.0.0.1:{port}/api/tasks?limit=1000", password=PASSWORD)
            assert status == 200
            tasks = json.loads(body)
            time.sleep(0.2)
        # Flower cannot protect this page: it has names of tasks and workers.
        text = get_page(f"http://127.0.0.1:{port}/metrics")[1].decode() + json.dumps(tasks, ensure_ascii=False)
    assert "member_id=…" in text and "job_id=" in text
    for personal in (MEMBER, "zq-author", f"member_id={viewer.pk}", f"member_ids=[{viewer.pk}"):
        assert personal not in text


def test_flower_does_not_start_without_a_password():
    command = [sys.executable, "-m", "celery", "-A", "recsys_project", "flower", f"--port={free_port()}"]
    env = {name: value for name, value in os.environ.items() if name != "FLOWER_BASIC_AUTH"}
    ended = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0 and "Set FLOWER_BASIC_AUTH" in ended.stderr
