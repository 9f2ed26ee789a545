"""Clients that send requests at the same time and record what they sent and received."""

from __future__ import annotations

import http.client
import json
import math
import random
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from tests.faults.history import Answer, History, Key, Outcome, Page, Read, SentEvent, SentJob, Write

TIMEOUT_SECONDS = 15
MEMBERS = [f"m{number}" for number in range(16)]
AUTHORS = [f"a{number}" for number in range(6)]
POSTS = [f"p{number}" for number in range(48)]
ALWAYS_VISIBLE, CHANGING, REMOVABLE = POSTS[:24], POSTS[24:36], POSTS[36:]
SENDERS, BLOCKERS = MEMBERS[:8], MEMBERS[8:]
"""Members who send events, and members who block and mute: an event on a blocked author's post is rejected."""
REGIONS = ("DE", "FR", "IT")


def author_of(post: str) -> str:
    """Return the author of a post."""
    return AUTHORS[POSTS.index(post) % len(AUTHORS)]


class Clients:
    """The clients of one run. Each thread has random numbers of its own and changes keys of its own."""

    def __init__(self, ports: Sequence[int], key: str, seed: int, *, slowness: float = 1.0) -> None:
        """*slowness*: a factor of the pauses between requests."""
        self.history = History()
        self._ports, self._key, self._seed = ports, key, seed
        self._is_over = threading.Event()
        self._values: dict[Key, Hashable] = {}
        self._threads = [
            threading.Thread(target=self._repeat, args=(name, action, slowness * pause), daemon=True)
            for name, action, pause in (
                ("events", self._send_events, 0.1),
                ("preferences", self._change_preferences, 0.1),
                ("relationships", self._change_relationship, 0.1),
                ("posts", self._change_post, 0.1),
                ("upserts", self._upsert_members, 0.2),
                ("pages-1", self._read_pages, 0.05),
                ("pages-2", self._read_pages, 0.05),
                ("jobs", self._run_job, 1.5),
            )
        ]

    def set_up(self) -> None:
        """Create the members and posts, and record their first values."""
        names = [*MEMBERS, *AUTHORS]
        first = {"is_private": False, "is_personalized": True, "languages": [], "region": REGIONS[0], "muted_words": []}
        self._insist("members", "POST", "/members", {"members": [{"id": name} | first for name in names]})
        now = datetime.now(UTC).isoformat()
        rows = [
            {
                "id": post,
                "author_id": author_of(post),
                "visibility": "public",
                "created_at": now,
                "text": f"About {post}",
            }
            for post in POSTS
        ]
        self._insist("posts", "POST", "/posts", {"posts": rows})
        values: dict[Key, Hashable] = {}
        for name in names:
            values |= {
                ("consent", name): True,
                ("languages", name): (),
                ("region", name): REGIONS[0],
                ("muted_words", name): (),
            }
        for post in POSTS:
            values |= {("visibility", post): "public", ("removed", post): False}
        assert all(answer.outcome is Outcome.RIGHT for answer in self.history.answers), self.history.answers
        self._values = values
        self.history.writes += [Write(key, value, 0, 0, True) for key, value in values.items()]

    def start(self) -> None:
        """Start the clients."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the clients finish what they have begun, and wait for them."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, name: str, action: Callable[[random.Random], None], pause: float) -> None:
        rng = random.Random(f"{self._seed} {name}")
        while not self._is_over.wait(pause * rng.uniform(0.5, 1.5)):
            action(rng)

    # Requests

    def send(
        self,
        operation: str,
        method: str,
        path: str,
        body: object = None,
        *,
        is_right: Callable[[int, Any], bool] = lambda status, _: status in (200, 202, 204),
        headers: dict[str, str] | None = None,
    ) -> tuple[Answer, Any]:
        """Send a request to one of the web servers. Return the answer, which is recorded, and its parsed body."""
        start, parsed, outcome, detail = time.time(), None, Outcome.REFUSED, ""
        connection = http.client.HTTPConnection("127.0.0.1", random.choice(self._ports), timeout=TIMEOUT_SECONDS)
        try:
            sent = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"} | (headers or {})
            connection.request(method, f"/api/v1{path}", json.dumps(body) if body is not None else None, sent)
            response = connection.getresponse()
            content = response.read()
            parsed = json.loads(content) if content else None
            outcome = classify(response, parsed, is_right)
            detail = f"{response.status} {parsed.get('code', '') if isinstance(parsed, dict) else ''}"
            if outcome is Outcome.WRONG:
                detail = f"{response.status} {content[:300]!r}"
        except TimeoutError:
            outcome = Outcome.HUNG
        except ValueError as error:
            outcome, detail = Outcome.WRONG, f"no JSON: {error}"
        except (OSError, http.client.HTTPException) as error:
            detail = type(error).__name__
        finally:
            connection.close()
        answer = Answer(operation, start, time.time(), outcome, detail)
        self.history.answers.append(answer)
        return answer, parsed

    def _insist(
        self, operation: str, method: str, path: str, body: object = None, **options: Any
    ) -> tuple[Answer, Any]:
        """Send a request until it is answered right or the run is over. Return the last answer."""
        while True:
            answer, parsed = self.send(operation, method, path, body, **options)
            if answer.outcome in (Outcome.RIGHT, Outcome.WRONG) or self._is_over.wait(0.3):
                return answer, parsed

    def _write(self, values: dict[Key, Hashable], operation: str, method: str, path: str, body: object = None) -> None:
        """Change values by one request, again until it is acknowledged, and record each attempt."""
        while True:
            answer, _ = self.send(operation, method, path, body)
            is_acknowledged = answer.outcome is Outcome.RIGHT
            self.history.writes += [
                Write(key, value, answer.start, answer.end, is_acknowledged) for key, value in values.items()
            ]
            self._values |= values
            if is_acknowledged or answer.outcome is Outcome.WRONG or self._is_over.wait(0.3):
                return

    # Actions

    def _send_events(self, rng: random.Random) -> None:
        events = [
            {
                "event_id": str(UUID(int=rng.getrandbits(128))),
                "member_id": rng.choice(SENDERS),
                "post_id": rng.choice(ALWAYS_VISIBLE),
                "kind": rng.choice(["like", "share", "save", "comment"]),
            }
            for _ in range(rng.randint(1, 8))
        ]

        def are_counted(status: int, parsed: Any) -> bool:
            return status == 200 and {row["status"] for row in parsed["results"]} <= {"recorded", "duplicate"}

        answer, _ = self._insist("events", "POST", "/interactions", {"events": events}, is_right=are_counted)
        is_acknowledged = answer.outcome is Outcome.RIGHT
        self.history.events += [SentEvent(event["event_id"], is_acknowledged) for event in events]

    def _change_preferences(self, rng: random.Random) -> None:
        member, name = rng.choice(MEMBERS), rng.choice(["consent", "languages", "muted_words"])
        path = f"/members/{member}/preferences"
        if name == "consent":
            value: Hashable = not self._values["consent", member]
            body: dict[str, Any] = {"is_personalized": value}
        else:
            value = tuple(rng.sample(["en", "de", "fr", "it", "ja"], 2))
            body = {name: list(value)}
        self._write({(name, member): value}, "preferences", "PATCH", path, body)
        answer, parsed = self.send("read preferences", "GET", path)
        if answer.outcome is Outcome.RIGHT:
            read = {
                "consent": parsed["is_personalized"],
                "languages": tuple(parsed["languages"]),
                "muted_words": tuple(parsed["muted_words"]),
            }
            self.history.reads += [Read((k, member), v, answer.start, answer.end) for k, v in read.items()]

    def _change_relationship(self, rng: random.Random) -> None:
        key = (rng.choice(["block", "mute"]), rng.choice(BLOCKERS), rng.choice(AUTHORS))
        is_set = not self._values.get(key)
        method = "PUT" if is_set else "DELETE"
        path = f"/members/{key[1]}/relationships/{key[0]}/{key[2]}"
        self._write({key: is_set or None}, "relationships", method, path)

    def _change_post(self, rng: random.Random) -> None:
        if rng.random() < 0.05:
            post = rng.choice(REMOVABLE)
            # A post that was removed stays removed, and is then unknown.
            if not self._values["removed", post]:
                self._write({("removed", post): True}, "take-down", "DELETE", f"/posts/{post}")
            return
        post = rng.choice(CHANGING)
        value = "private" if self._values["visibility", post] == "public" else "public"
        row = {"id": post, "author_id": author_of(post), "visibility": value}
        row["created_at"] = datetime.now(UTC).isoformat()
        self._write({("visibility", post): value}, "posts", "POST", "/posts", {"posts": [row]})

    def _upsert_members(self, rng: random.Random) -> None:
        values: dict[Key, Hashable] = {("region", member): rng.choice(REGIONS) for member in MEMBERS}
        rows = [{"id": member, "is_private": False, "region": region} for (_, member), region in values.items()]
        self._write(values, "members", "POST", "/members", {"members": rows})

    def _read_pages(self, rng: random.Random) -> None:
        viewer = rng.choice(MEMBERS)
        path = f"/members/{viewer}/feed?limit=10"
        for _ in range(2):
            answer, parsed = self.send("feed", "GET", path)
            if answer.outcome is not Outcome.RIGHT:
                return
            posts = tuple((pick["post"]["id"], pick["post"]["author_id"]) for pick in parsed["picks"])
            self.history.pages.append(Page(viewer, posts, answer.start, answer.end))
            if not parsed["next_cursor"]:
                return
            path = f"/members/{viewer}/feed?limit=10&cursor={parsed['next_cursor']}"

    def _run_job(self, rng: random.Random) -> None:
        items = tuple(rng.sample(MEMBERS, 10))
        body = {"kind": "export_members", "params": {"member_ids": list(items)}}
        headers = {"Idempotency-Key": str(uuid4())}
        answer, parsed = self._insist("jobs", "POST", "/jobs", body, headers=headers)
        if answer.outcome is not Outcome.RIGHT:
            return
        job = SentJob(parsed["id"], items)
        if rng.random() < 0.3:
            answer, _ = self._insist("jobs", "DELETE", f"/jobs/{job.id}")
            cancelled_at = answer.end if answer.outcome is Outcome.RIGHT else math.inf
            job = replace(job, is_cancelled=True, cancelled_at=cancelled_at)
        self.history.jobs.append(job)


def classify(response: http.client.HTTPResponse, parsed: Any, is_right: Callable[[int, Any], bool]) -> Outcome:
    """Return whether an answer is right, a clean 503, or wrong."""
    if response.status == 503:
        is_problem = response.headers.get_content_type() == "application/problem+json" and bool(parsed["code"])
        return Outcome.UNAVAILABLE if is_problem and parsed["status"] == 503 else Outcome.WRONG
    return Outcome.RIGHT if is_right(response.status, parsed) else Outcome.WRONG
