"""What is logged of requests and tasks: enough to follow them, and nothing of what people said, are called or seek."""

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
from recommendations.api import feeds as feed_doors
from recsys_project.celery import app
from tests import factories

SECRET = "Zq4711Holmgren"
"""What a caller sends in every place there is: a name, a text, a password, an id."""


@pytest.fixture
def lines():
    """Return the lines of this process's log so far, as its handler writes them, from DEBUG on."""
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
    """Return a client of the open API that gets our errors as answers."""
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


def test_nothing_of_what_a_caller_sends_is_in_the_log(ann, browser, lines, monkeypatch):
    """In the address, the query, headers, cookies and bodies, whether the request went well, ill or broke us."""
    api, as_json = "/api/v1", {"content_type": "application/json"}
    browser.cookies["sessionid"] = SECRET
    answers = [
        browser.get(f"{api}/members/{SECRET}/feed", {"cursor": SECRET}),
        browser.get(f"{api}/members/{SECRET}/feed", {"tags": SECRET}),
        browser.get(f"{api}/members/{SECRET}x/feed"),
        browser.get(f"{api}/search", {"q": SECRET, "viewer": SECRET}),
        browser.get(f"/{SECRET}", {"q": SECRET}),
        browser.get("/readyz", headers={"Host": f"{SECRET}.example.org", "X-Request-ID": f"a {SECRET} of mine"}),
        browser.get(f"{api}/jobs/{uuid4()}", headers={"Authorization": f"Bearer {SECRET}"}),
        browser.post(f"{api}/interactions", f'[{{"{SECRET}": ', **as_json),
        browser.post(f"{api}/interactions", [{"member_id": SECRET, "post_id": SECRET, "kind": SECRET}], **as_json),
        browser.post(f"{api}/posts", [{"id": "p", "author_id": SECRET, "text": SECRET}], **as_json),
        browser.put(f"{api}/members/{SECRET}", {"languages": [SECRET]}, **as_json),
        browser.post("/graphql", {"query": f'{{ discoveryFeed(memberId: "{SECRET}") {{ {SECRET} }} }}'}, **as_json),
        browser.post("/admin/login/", {"username": SECRET, "password": SECRET}),
        browser.get("/explore/", {"member": SECRET}),
    ]

    def broken(*_args, **_kwargs):
        raise ValueError(f"cannot serve {SECRET}")

    monkeypatch.setattr(feed_doors, "recommend", broken)
    broke = browser.get(f"{api}/members/{SECRET}/feed", {"limit": 3})
    assert broke.status_code == 500 and {answer.status_code for answer in answers} >= {200, 400, 404}
    told = lines()
    assert SECRET not in json.dumps(told) and SECRET.lower() not in json.dumps(told).lower()
    (failed,) = [line for line in told if line["event"] == "request_failed"]
    assert failed["errors"][0]["type"] == "builtins.ValueError"
    assert any("broken" in place for place in failed["errors"][0]["frames"])


def test_a_request_is_told_by_its_pattern_and_its_hashed_member(ann, browser, lines):
    browser.get(f"/api/v1/members/{SECRET}/feed?limit=3")
    (line,) = finished_lines(lines)
    assert line["request"] == "GET /api/v1/members/<path:member_id>/feed" and line["code"] == 200
    assert line["member_id"] == hash_log_id(settings.SECRET_KEY, SECRET, utc_day(time.time()))


def test_the_edge_gives_the_request_its_id_or_we_do(browser, db, lines):
    """The answer says it; an id that is anything else than an id is replaced, since it goes into every line."""
    assert browser.get("/livez", headers={"X-Request-ID": "edge-0123456789"})["X-Request-ID"] == "edge-0123456789"
    for given in ("short", "x" * 65, "anna@example.org", "two words", "<b>bold</b>"):
        assert browser.get("/livez", headers={"X-Request-ID": given})["X-Request-ID"] != given
    ids = [line["request_id"] for line in finished_lines(lines)]
    assert len(set(ids)) == 6 and ids[0] == "edge-0123456789"


def test_a_signed_in_person_is_not_named(client, db, lines):
    client.force_login(User.objects.create_superuser("Zq4711Holmgren", "zq4711holmgren@example.org", "x" * 16))
    assert client.get("/admin/").status_code == 200
    assert "zq4711holmgren" not in json.dumps(lines()).lower()


@pytest.mark.django_db(transaction=True)
def test_a_task_has_its_request_s_id_and_tells_nothing_of_its_arguments(worker):
    """A real worker: one task that goes well and two that fail on what they were given."""
    request_id, seen = f"req-{uuid4()}", len(worker.log())
    with bound_contextvars(request_id=request_id):
        app.send_task(task_queue.RECORD_SERVED, queue="maintenance")
        for arguments in ({"job_id": SECRET, "number": 1}, {"job_id": str(uuid4()), "number": SECRET}):
            app.send_task(task_queue.PROCESS_CHUNK, kwargs=arguments, queue="batch")

    def ours():
        told = [line for line in worker.log()[seen:].splitlines() if line.startswith("{")]
        return [line for line in map(json.loads, told) if line.get("request_id") == request_id]

    deadline = time.monotonic() + 60
    while sum(line["event"] in ("task_succeeded", "task_failed") for line in ours()) < 3:
        assert time.monotonic() < deadline, worker.log()[seen:]
        time.sleep(0.05)
    ended = [line for line in ours() if line["event"] == "task_failed"]
    assert ended and all(line["errors"][0]["frames"] for line in ended)
    assert SECRET not in worker.log()


def test_an_operator_finds_a_member_s_lines(ann, capsys):
    """By the two ids of a day: of requests, and of all else."""
    call_command("log_id", SECRET, "--day", "2026-11-24")
    printed = capsys.readouterr().out.split()
    assert printed == [hash_log_id(settings.SECRET_KEY, known_as, "2026-11-24") for known_as in (SECRET, ann.pk)]
    with pytest.raises(CommandError, match="no member"):
        call_command("log_id", "nobody")
    with pytest.raises(CommandError, match="2026-11-24"):
        call_command("log_id", SECRET, "--day", "yesterday")


def test_a_member_in_a_service_s_line_is_hashed(ann, lines):
    """The number of our own is personal, too."""
    logging.getLogger("recommendations.stores.redis_slates").warning("slate_not_cached", extra={"member_id": ann.pk})
    (line,) = [line for line in lines() if line["event"] == "slate_not_cached"]
    assert line["member_id"] == hash_log_id(settings.SECRET_KEY, ann.pk, utc_day(time.time()))
