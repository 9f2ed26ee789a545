"""Flower, as operators see it: behind its password, and without a word about members."""

import base64
import contextlib
import json
import math
import socket
import sys
import time
import urllib.error
import urllib.request
from uuid import uuid4

import pytest

from monitoring import clock
from recommendations import jobs
from recommendations.services import work
from recommendations.services.learning import interact
from recommendations.services.learning.interact import Event
from recommendations.services.serving.recommend import recommend
from tests import making
from tests.servers import free_port, running, wait_until

PASSWORD = "a password of the test's own"
MEMBER = "zq-holmgren"


def asked(url, *, password=""):
    """Return status and body."""
    request = urllib.request.Request(url)
    if password:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{password}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""


def ask_for_everything(viewer, post, now):
    """Have every kind of task done once, as the service itself asks for it."""
    like = Event(event_id=str(uuid4()), member_id=MEMBER, post_id=post.external_id, kind="like")
    interact.record(events=[like], now=now)
    recommend(member_id=MEMBER, now=now)
    work.submit(kind="member_feed", params={"member_ids": [MEMBER]}, now=now)
    jobs.enqueue(jobs.REFRESH_SLATE, {"member_id": viewer.pk, "feed": "discovery"})
    for name in set(jobs.QUEUES) - {jobs.REFRESH_SLATE, jobs.RUN_CHUNK, jobs.LEARN}:
        jobs.enqueue(name)


def listens(port):
    """Return whether somebody answers at the port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.mark.django_db(transaction=True)
def test_it_asks_for_a_password_and_shows_no_member(worker, parts, tmp_path):
    """Every kind of task that the service itself asks for, run by a real worker and looked at in Flower."""
    now, port = clock.now(), free_port()
    author, viewer = making.member("zq-author", at=now), making.member(MEMBER, at=now)
    posts = making.posts(author, 3, at=now)
    making.embed(at=now)
    command = [sys.executable, "-m", "celery", "-A", "recsys_project", "flower"]
    options = [f"--port={port}", "--address=127.0.0.1", f"--basic-auth=admin:{PASSWORD}"]
    with running(command + options, tmp_path) as (process, log):
        wait_until(lambda: listens(port), process, log)
        for page in ("/", "/tasks", "/api/tasks", "/api/workers"):
            assert asked(f"http://127.0.0.1:{port}{page}")[0] == 401, page
            assert asked(f"http://127.0.0.1:{port}{page}", password="another")[0] == 401, page
        kept, last = {}, -math.inf
        deadline = time.monotonic() + 120
        # Flower answers before it listens to the workers: what it missed is asked for again.
        while missed := set(jobs.QUEUES) - {task["name"] for task in kept.values() if task["state"] == "SUCCESS"}:
            assert time.monotonic() < deadline, (missed, worker.log()[-2000:])
            if time.monotonic() - last > 5:
                ask_for_everything(viewer, posts[0], now)
                last = time.monotonic()
            status, body = asked(f"http://127.0.0.1:{port}/api/tasks?limit=1000", password=PASSWORD)
            assert status == 200
            kept = json.loads(body)
            time.sleep(0.2)
        # Flower has no way to close this one: names of tasks and workers.
        told = asked(f"http://127.0.0.1:{port}/metrics")[1].decode() + json.dumps(kept, ensure_ascii=False)
    assert "member_id=…" in told and "job_id=" in told
    for personal in (MEMBER, "zq-author", f"member_id={viewer.pk}", f"member_ids=[{viewer.pk}"):
        assert personal not in told
