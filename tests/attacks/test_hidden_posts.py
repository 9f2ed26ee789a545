"""Attacks on hidden posts: a member writes about a post that they may not see, and reads back what it is about."""

import itertools
import json
import re

import pytest

numbers = itertools.count(1)


def without_ids(body, *ids):
    """Return the body as text, without these ids and without request ids."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "…", body.decode())
    for name in ids:
        text = text.replace(name, "…")
    return text


class Hider:
    """An author with one post that a reader with a token may not see."""

    def __init__(self, server, name):
        number = next(numbers)
        self.server = server
        self.author, self.reader, self.post_id = f"author-{number}", f"reader-{number}", f"hidden-{number}"
        self.tag, self.kind = f"divorce-{number}", f"diary-{number}"
        server.add_members(self.author, self.reader)
        HIDING[name](self)
        self.token = server.token(self.reader)

    def send(self, method, path, body=None, *, credential=None):
        return self.server.send(method, f"/api/v1{path}", body, credential=credential or self.token)

    def add_post(self, **fields):
        self.server.add_posts(self.post_id, author_id=self.author, tags=[self.tag], kind=self.kind, **fields)

    def block(self, source, target):
        path = f"/members/{source}/relationships/block/{target}"
        assert self.send("PUT", path, credential=self.server.key).status == 204

    def events(self, post_id, *, credential=None):
        """Send every kind of event on the post and return the results, without what names the post."""
        kinds = [
            *({"kind": kind} for kind in ("view", "click", "like", "share", "follow", "hide", "report")),
            *({"kind": "not_interested", "target": target} for target in ("", "author", "topic", "kind")),
        ]
        events = [
            {"event_id": f"{post_id}-{number}", "member_id": self.reader, "post_id": post_id} | fields
            for number, fields in enumerate(kinds)
        ]
        answer = self.send("POST", "/interactions", {"events": events}, credential=credential)
        return answer.status, without_ids(answer.body, post_id)

    def personal_data(self):
        """Return all that the reader can read about themselves, as text."""
        paths = ("show-less-effects", "profile", "feed?explain=true", "follow-requests?direction=outgoing")
        answers = [self.send("GET", f"/members/{self.reader}/{path}") for path in paths]
        answers.append(self.send("GET", f"/interactions?member_id={self.reader}"))
        assert {answer.status for answer in answers} == {200}
        return "".join(answer.body.decode() for answer in answers)

    def secrets(self):
        """Return which of the post's secrets the reader can read."""
        data = self.personal_data()
        return {secret for secret in (self.author, self.post_id, self.tag, self.kind) if secret in data}


HIDING = {
    "for followers": lambda hider: hider.add_post(visibility="followers"),
    "private": lambda hider: hider.add_post(visibility="private"),
    "unlisted": lambda hider: hider.add_post(visibility="unlisted"),
    "of a private account": lambda hider: (
        hider.add_post(),
        hider.server.add_members(hider.author, is_private=True),
    ),
    "taken down": lambda hider: (
        hider.add_post(),
        hider.send("DELETE", f"/posts/{hider.post_id}", credential=hider.server.key),
    ),
    "for adults": lambda hider: hider.add_post(safety_labels={"adult": 0.99}),
    "the author blocks the reader": lambda hider: (hider.add_post(), hider.block(hider.author, hider.reader)),
    "the reader blocks the author": lambda hider: (hider.add_post(), hider.block(hider.reader, hider.author)),
    "of a deactivated member": lambda hider: (
        hider.add_post(),
        hider.server.add_members(hider.author, is_active=False),
    ),
}
"""Each way to hide a post from the reader."""


@pytest.fixture(params=HIDING)
def hider(server, request):
    return Hider(server, request.param)


@pytest.mark.parametrize("is_sent_by_platform", [False, True])
def test_events_and_seen_posts_do_not_tell_a_hidden_post_from_an_absent_one(hider, is_sent_by_platform):
    """The platform's key may pass on what a client sent, so its events have no effects on hidden posts either."""
    credential = hider.server.key if is_sent_by_platform else None
    seen = f"/members/{hider.reader}/seen"
    for post_id in (hider.post_id, "no-such-post"):
        answer = hider.send("POST", seen, {"post_ids": [post_id]}, credential=credential)
        assert (answer.status, answer.json()) == (200, {"marked": 0, "rejected": []})
    hidden, absent = (hider.events(post_id, credential=credential) for post_id in (hider.post_id, "no-such-post"))
    assert hidden == absent
    assert json.loads(hidden[1])["rejected"] == 11
    assert hider.secrets() <= {hider.author} & blocked_by_reader(hider)


def blocked_by_reader(hider):
    """Return the author if the reader blocks the author: the reader's own profile file lists them."""
    return set(hider.send("GET", f"/members/{hider.reader}/profile").json()["relationships"]["block"])


def test_a_profile_file_does_not_tell_a_hidden_post_from_an_absent_one(hider):
    def send_file(post_id):
        then = "2026-01-01T00:00:00Z"
        feedback = [
            {"target": target, "post_id": post_id, "event_id": f"file-{target}", "created_at": then}
            for target in ("post", "author", "topic", "kind")
        ]
        file = {"format": "recsys-profile", "version": 1, "negative_feedback": feedback}
        file["seen"] = [{"post_id": post_id, "seen_at": then}]
        answer = hider.send("PUT", f"/members/{hider.reader}/profile", file)
        return answer.status, without_ids(answer.body, post_id)

    assert send_file(hider.post_id) == send_file("no-such-post")
    assert hider.secrets() <= {hider.author} & blocked_by_reader(hider)


HIDE_LATER = {
    "taken down": lambda hider: hider.send("DELETE", f"/posts/{hider.post_id}", credential=hider.server.key),
    "for followers": lambda hider: hider.add_post(visibility="followers"),
    "the author blocks the reader": lambda hider: hider.block(hider.author, hider.reader),
    "the account becomes private": lambda hider: hider.server.add_members(hider.author, is_private=True),
}


@pytest.mark.parametrize("name", HIDE_LATER)
def test_a_post_that_is_hidden_later_is_no_longer_named(server, monkeypatch, name):
    """Its author, tags and kind were known to the reader, and are no longer told; the reader's other data stays."""
    monkeypatch.setitem(HIDING, "not yet", lambda hider: hider.add_post())
    hider = Hider(server, "not yet")
    hider.events(hider.post_id)
    assert hider.secrets() == {hider.author, hider.post_id, hider.tag, hider.kind}
    follow = hider.send("GET", f"/members/{hider.reader}/profile").json()["relationships"]["follow"]
    assert follow == [hider.author]
    hider.send("DELETE", f"/members/{hider.reader}/relationships/follow/{hider.author}")
    HIDE_LATER[name](hider)
    assert hider.secrets() == set()
