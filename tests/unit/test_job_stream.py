"""The stream of a job's progress: one event per change, limited in number and in time."""

import pytest

from recommendations.api import job_stream
from recommendations.api.job_stream import MAX_STREAMS, JobStream
from recommendations.api.problems import Problem


@pytest.fixture(autouse=True)
def short_poll(monkeypatch):
    monkeypatch.setattr(job_stream, "POLL_SECONDS", 0.001)


def job(done, *, is_finished=False):
    return {"done": done, "is_finished": is_finished}


def test_each_change_of_a_job_is_one_event_until_the_job_is_finished():
    jobs = iter([job(0), job(0), job(1), job(1), job(2, is_finished=True), job(3)])
    stream = JobStream(lambda: next(jobs))
    events = list(stream)
    stream.close()
    assert events == [
        b'event: job\ndata: {"done":0,"is_finished":false}\n\n',
        b'event: job\ndata: {"done":1,"is_finished":false}\n\n',
        b'event: job\ndata: {"done":2,"is_finished":true}\n\n',
    ]
    assert next(jobs) == job(3), "a finished job is not read again"


def test_a_stream_ends_with_reconnect_before_the_job_is_finished(monkeypatch):
    monkeypatch.setattr(job_stream, "STREAM_SECONDS", 0.2)
    stream = JobStream(lambda: job(0))
    events = list(stream)
    stream.close()
    assert events == [b'event: job\ndata: {"done":0,"is_finished":false}\n\n', b"event: reconnect\ndata: {}\n\n"]


def test_more_streams_than_the_maximum_are_rejected_until_one_is_closed():
    """A stream that is closed twice makes room for one other stream."""

    def open_stream():
        return JobStream(lambda: job(0))

    streams = [open_stream() for _ in range(MAX_STREAMS)]
    with pytest.raises(Problem, match="Too many streams") as caught:
        open_stream()
    assert caught.value.status_code == 429
    streams[0].close()
    streams[0].close()
    streams[0] = open_stream()
    with pytest.raises(Problem):
        open_stream()
    for stream in streams:
        stream.close()
