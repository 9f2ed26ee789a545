"""A stream of what changes, as server-sent events. Each holds a thread of the web server: so they are few and short."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from recommendations.api.problems import Problem

MAX_STREAMS = 2
"""Streams that a process serves at a time, of its four threads. Changes the answer for those above."""
STREAM_SECONDS = 30.0
POLL_SECONDS = 0.5
stream_slots = threading.BoundedSemaphore(MAX_STREAMS)


class JobStream:
    """Events of what *look* gives, whenever that changes, until it has `finished`. Refuses if there are too many."""

    def __init__(self, read_job: Callable[[], dict[str, Any]]) -> None:
        if not stream_slots.acquire(blocking=False):
            detail = "Too many streams are open. Ask for the job itself every second, or for the stream again later."
            raise Problem(detail, status=503, code="too-many-streams")
        self._has_place = True
        self._events = stream_job_events(read_job)

    def __iter__(self) -> Iterator[bytes]:
        return self._events

    def close(self) -> None:
        """Give the place back, however the stream ended; Django calls this when the answer is over."""
        if self._has_place:
            self._has_place = False
            stream_slots.release()


def stream_job_events(read_job: Callable[[], dict[str, Any]]) -> Iterator[bytes]:
    """Yield the events; the last one says to ask again if the time was over first."""
    end, last = time.monotonic() + STREAM_SECONDS, b""
    while time.monotonic() < end:
        found = read_job()
        told = orjson.dumps(found)
        if told != last:
            yield b"event: job\ndata: " + told + b"\n\n"
            last = told
        if found["finished"]:
            return
        time.sleep(POLL_SECONDS)
    yield b"event: again\ndata: {}\n\n"
