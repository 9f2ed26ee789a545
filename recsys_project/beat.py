"""
The scheduler of beat: redbeat's, made to survive the loss of its lock and of Redis.

redbeat keeps the schedule and the time of each last run in Redis, so that a task that was due while no beat ran is sent
afterwards. Its own handling of the lock ends the process, or makes it wait for minutes: it waits for the lock once, at
the start, and every later error of Redis ends beat. Here each turn of the loop extends the lock or tries to get it, and
an error ends only the turn.

A beat that lost the lock, for instance because the machine was paused, is like one that has just started: it sends
nothing until it holds the lock again. The schedule is stored whenever the lock is acquired, because a Redis that lost
the lock may have lost the schedule.

A clock that was ahead leaves last runs in the future, and redbeat would wait for that time. They are set to the present
when the clock is set back, and when the lock is acquired.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import redis
from celery import Celery
from celery.beat import ScheduleEntry, SchedulingError
from kombu.exceptions import OperationalError
from redbeat.schedulers import REDBEAT_REDIS_KEY, RedBeatScheduler, get_redis  # type: ignore[import-untyped]
from redis.exceptions import LockError
from redis.lock import Lock

from monitoring.redis_clients import redis_client
from monitoring.task_publisher import broker_producer

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""Pause before the next turn without the lock, or after an error."""


class Scheduler(RedBeatScheduler):  # type: ignore[misc]  # redbeat has no types
    """redbeat's scheduler with a lock that it may lose and acquire again."""

    lock_key: str | None
    lock: Lock | None = None
    _maybe_due_kwargs: dict[str, Any] = {}  # `maybe_due` needs no producer of redbeat, which waits for a lost broker

    def __init__(self, app: Celery, **options: Any) -> None:
        super().__init__(app, **options)
        url = app.redbeat_conf.redis_url  # type: ignore[attr-defined]  # redbeat adds it
        setattr(app, REDBEAT_REDIS_KEY, redis_client(url, decode_responses=True))
        self._lock_name = str(self.lock_key)
        self.lock_key = None  # without a key, redbeat leaves the lock to this class
        self._state = ""
        self._ticked_at: datetime | None = None  # of the last turn with this lock

    def setup_schedule(self) -> None:
        """Do nothing at the start: Redis may be away. `_prepare_schedule` stores the schedule."""

    def tick(self, **options: Any) -> float:
        """Send the tasks that are due if this process holds the lock. Return the seconds until the next turn."""
        try:
            if not self._extend_lock() and not self._acquire_lock():
                self._log_once("beat_waits_for_lock")
                return RETRY_SECONDS
            self._prepare_schedule()
            seconds = float(super().tick(**options))
        except (redis.RedisError, OperationalError) as error:
            self._log_once("beat_cannot_schedule", type(error).__name__)
            return RETRY_SECONDS
        self._log_once("beat_schedules")
        return seconds

    def maybe_due(self, entry: ScheduleEntry, **options: Any) -> float:
        """
        Send the task of *entry* if it is due, and then store that it was sent: a task that is not taken stays due.

        Raises `OperationalError` if the broker does not take the task. An entry with another error waits for its next
        time, so that it stops no other entry.
        """
        is_due, seconds = entry.is_due()
        if is_due:
            with broker_producer() as producer:
                try:
                    self.apply_async(entry, producer=producer, advance=False)
                except SchedulingError as error:
                    if isinstance(error.__context__, OperationalError):
                        raise error.__context__  # noqa: B904 - it has a cause of its own
                    log.exception("scheduled_task_failed", extra={"task": entry.task})
            self.reserve(entry)
        return float(seconds)

    def close(self) -> None:
        """Release the lock, unless Redis is away: the lock then expires."""
        try:
            super().close()
        except redis.RedisError:
            self.lock = None
            super().close()

    def _extend_lock(self) -> bool:
        """Extend the lock. Return whether this process still holds it."""
        if self.lock is None:
            return False
        try:
            return bool(self.lock.extend(self.lock_timeout, replace_ttl=True))
        except LockError:
            self.lock = None
            return False

    def _acquire_lock(self) -> bool:
        """Acquire the lock if it is free. Return whether this process holds it now."""
        lock: Lock = get_redis(self.app).lock(self._lock_name, timeout=self.lock_timeout, blocking=False)
        if not lock.acquire():
            return False
        self.lock, self._ticked_at = lock, None
        return True

    def _prepare_schedule(self) -> None:
        """Store the schedule in the first turn with the lock; then and after the clock was set back, correct it."""
        now = self.app.now()
        if self._ticked_at is None:
            super().setup_schedule()
        if self._ticked_at is None or now < self._ticked_at:
            self._correct_last_runs(now)
        self._ticked_at = now

    def _correct_last_runs(self, now: datetime) -> None:
        """Set last runs that are in the future to the present."""
        for name in self.app.redbeat_conf.schedule:
            entry = self.Entry.from_key(self.Entry.generate_key(self.app, name), app=self.app)
            if entry.last_run_at and entry.last_run_at > now:
                entry.reschedule(now)

    def _log_once(self, state: str, problem: str = "") -> None:
        """Log the state if it has changed since the last turn."""
        if state != self._state:
            self._state = state
            log.log(logging.WARNING if problem else logging.INFO, state, extra={"problem": problem} if problem else {})
