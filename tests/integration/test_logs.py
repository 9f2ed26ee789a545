"""Logs of requests and tasks: enough to follow them, and no texts, names or search terms of members."""

import io
import json
import logging
import logging.config
import time
from uuid import uuid4

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from structlog.contextvars import bound_contextvars

from monitoring.log_ids import hash_log_id, utc_day
from recommendations import task_queue
from recommendations.api import feeds as feed_views
from recsys_project.celery import app
from tests import factories

SECRET = "Zq4711Holmgren"
"""Sent in every part of a request: as a name, a text, a password, an id."""


@pytest.fixture
def lines():
    """A function that returns the log lines of this process so far, from DEBUG on, as the handler writes them."""
    stream, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(stream), root.level
    config = logging.config.DictConfigurator(settings.LOGGING)
    handler.setFormatter(config.configure_formatter(dict(settings.LOGGING["formatters"]["json"])))
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture
def browser(monkeypatch):
    """A client of the open API that gets errors of the service as responses."""
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": True}))
    return Client(raise_request_exception=False, headers={"User-Agent": SECRET, "X-Correlation-ID": SECRET})


@pytest.fixture
def ann(db, fresh_wiring):
    author = factories.member("an-author")
    for post in factories.posts(author, 5):
        post.text = f"{SECRET} writes"
        post.save()
    return factories.member(SECRET)


def finished_lines(lines):
    return [line for line in lines() if line["event"] == "request_finished"]


def test_nothing_that_a_caller_sends_is_in_the_log(ann, browser, lines, monkeypatch):
    """Neither from URLs, queries, headers, cookies nor bodies, for successful, rejected and failed requests."""
    api, as_json = "/api/v1", {"content_type": "application/json"}
    browser.cookies["sessionid"] = SECRET
    responses = [
        browser.get(f"{api}/members/{SECRET}/feed", {"cursor": SECRET}),
        browser.get(f"{api}/members/{SECRET}/feed", {"tags": SECRET}),
        browser.get(f"{api}/members/{SECRET}x/feed"),
        browser.get(f"{api}/search", {"text": SECRET, "viewer_id": SECRET}),
        browser.get(f"/{SECRET}", {"q": SECRET}),
        browser.get("/readyz", headers={"Host": f"{SECRET}.example.org", "X-Request-ID": f"a {SECRET} of mine"}),
        browser.get(f"{api}/jobs/{uuid4()}", headers={"Authorization": f"Bearer {SECRET}"}),
        browser.post(f"{api}/interactions", f'[{{"{SECRET}": ', **as_json),
        browser.post(f"{api}/interactions", [{"member_id": SECRET, "post_id": SECRET, "kind": SECRET}], **as_json),
        browser.post(f"{api}/posts", [{"id": "p", "author_id": SECRET, "text": SECRET}], **as_json),
        browser.put(f"{api}/members/{SECRET}", {"languages": [SECRET]}, **as_json),
        browser.post("/graphql", {"query": f'{{ discoveryFeed(memberId: "{SECRET}") {{ {SECRET} }} }}'}, **as_json),
        browser.post("/account/login/", {"login": SECRET, "password": SECRET}),
        browser.get("/explore/", {"member": SECRET}),
    ]

    def broken(*_args, **_kwargs):
        raise ValueError(f"cannot serve {SECRET}")

    monkeypatch.setattr(feed_views, "recommend", broken)
    failed_response = browser.get(f"{api}/members/{SECRET}/feed", {"limit": 3})
    assert failed_response.status_code == 500 and {response.status_code for response in responses} >= {200, 400, 404}
    logged = lines()
    assert SECRET not in json.dumps(logged) and SECRET.lower() not in json.dumps(logged).lower()
    (failed,) = [line for line in logged if line["event"] == "request_failed"]
    assert failed["errors"][0]["type"] == "builtins.ValueError"
    assert any("broken" in frame for frame in failed["errors"][0]["frames"])


def test_a_request_is_logged_with_its_url_pattern_and_its_hashed_member(ann, browser, lines):
    browser.get(f"/api/v1/members/{SECRET}/feed?limit=3")
    (line,) = finished_lines(lines)
    assert line["request"] == "GET /api/v1/members/<id:member_id>/feed" and line["code"] == 200
    assert line["member_id"] == hash_log_id(settings.SECRET_KEY, SECRET, utc_day(time.time()))


def test_the_request_id_comes_from_the_edge_or_is_generated(browser, db, lines):
    """The response has it. An invalid id is replaced, since it is written to every line."""
    assert browser.get("/livez", headers={"X-Request-ID": "edge-0123456789"})["X-Request-ID"] == "edge-0123456789"
    for given in ("short", "x" * 65, "anna@example.org", "two words", "<b>bold</b>"):
        assert browser.get("/livez", headers={"X-Request-ID": given})["X-Request-ID"] != given
    ids = [line["request_id"] for line in finished_lines(lines)]
    assert len(set(ids)) == 6 and ids[0] == "edge-0123456789"


def test_a_signed_in_user_is_not_named(client, db, lines):
    client.force_login(User.objects.create_superuser("Zq4711Holmgren", "zq4711holmgren@example.org", "x" * 16))
    assert client.get("/admin/").status_code == 200
    assert "zq4711holmgren" not in json.dumps(lines()).lower()


@pytest.mark.django_db(transaction=True)
def test_a_task_has_the_id_of_its_request_and_its_arguments_are_not_logged(worker):
    """On a real worker: one task that succeeds and two that fail on their arguments."""
    request_id, seen = f"req-{uuid4()}", len(worker.log())
    with bound_contextvars(request_id=request_id):
        app.send_task(task_queue.RECORD_SERVED, queue="maintenance")
        for arguments in ({"job_id": SECRET, "number": 1}, {"job_id": str(uuid4()), "number": SECRET}):
            app.send_task(task_queue.PROCESS_CHUNK, kwargs=arguments, queue="batch")

    def request_lines():
        logged = [line for line in worker.log()[seen:].splitlines() if line.startswith("{")]
        return [line for line in map(json.loads, logged) if line.get("request_id") == request_id]

    deadline = time.monotonic() + 60
    while sum(line["event"] in ("task_succeeded", "task_failed") for line in request_lines()) < 3:
        assert time.monotonic() < deadline, worker.log()[seen:]
        time.sleep(0.05)
    ended = [line for line in request_lines() if line["event"] == "task_failed"]
    assert ended and all(line["errors"][0]["frames"] for line in ended)
    assert SECRET not in worker.log()


def test_log_id_prints_the_ids_of_a_member(ann, capsys):
    """The two ids of a day: for lines of requests, and for all other lines."""
    call_command("log_id", SECRET, "--day", "2026-11-24")
    printed = capsys.readouterr().out.split()
    assert printed == [hash_log_id(settings.SECRET_KEY, value, "2026-11-24") for value in (SECRET, ann.pk)]
    with pytest.raises(CommandError, match="no member"):
        call_command("log_id", "nobody")
    with pytest.raises(CommandError, match="2026-11-24"):
        call_command("log_id", SECRET, "--day", "yesterday")


def test_the_internal_id_of_a_member_is_hashed(ann, lines):
    logging.getLogger("recommendations.stores.redis_slates").warning("slate_not_cached", extra={"member_id": ann.pk})
    (line,) = [line for line in lines() if line["event"] == "slate_not_cached"]
    assert line["member_id"] == hash_log_id(settings.SECRET_KEY, ann.pk, utc_day(time.time()))
