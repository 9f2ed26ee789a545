"""
A job's progress as server-sent events.

A stream occupies a thread of the web server while it is open, so streams are limited in number and duration.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from django.conf import settings

from recommendations.api.problems import Problem

MAX_STREAMS = max(1, settings.ENV.web_threads // 2)
"""
Concurrent streams per process: half of its threads. Further requests get a 429.

With a 503, a load balancer would take the process for faulty.
"""
STREAM_SECONDS = 30.0
POLL_SECONDS = 0.5
stream_slots = threading.BoundedSemaphore(MAX_STREAMS)


class JobStream:
    """Events of the job that *read_job* returns, one per change, until the job is finished. Raises `Problem` (429)."""

    def __init__(self, read_job: Callable[[], dict[str, Any]]) -> None:
        if not stream_slots.acquire(blocking=False):
            detail = "Too many streams are open. Poll the job every second, or open the stream later."
            raise Problem(detail, status=429, code="too-many-streams")
        self._has_slot = True
        self._events = stream_job_events(read_job)

    def __iter__(self) -> Iterator[bytes]:
        return self._events

    def close(self) -> None:
        """Release the stream's slot. Django calls this when the response ends, for whatever reason."""
        if self._has_slot:
            self._has_slot = False
            stream_slots.release()


def stream_job_events(read_job: Callable[[], dict[str, Any]]) -> Iterator[bytes]:
    """Yield an event per change of the job, and `reconnect` if `STREAM_SECONDS` pass before it is finished."""
    end, last = time.monotonic() + STREAM_SECONDS, b""
    while time.monotonic() < end:
        job = read_job()
        data = orjson.dumps(job)
        if data != last:
            yield b"event: job\ndata: " + data + b"\n\n"
            last = data
        if job["is_finished"]:
            return
        time.sleep(POLL_SECONDS)
    yield b"event: reconnect\ndata: {}\n\n"
