"""The road: whatever the sources bring and whenever the catalogue changes, the filters have the last word."""

import threading
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest

from recommendations.contracts import Candidates, Interests, Origin, Policy, Query
from recommendations.pipeline.run import Pipeline, run
from recommendations.pipeline.stages import Filter, FilterError, Trace, mandatory_filter

QUERY = Query(
    request_id=UUID(int=1),
    viewer_id=1,
    feed="discovery",
    size=10,
    now=1e9,
    policy=Policy(),
    variant="control",
    policy_version=1,
    interests=Interests.none(8),
)


class Kept:
    """Posts 1 to 6 at rows 0 to 5; those of *removed* are removed."""

    def __init__(self, *removed):
        posts = Candidates.unknown(np.arange(1, 7), np.zeros(6, np.uint16))
        gone = np.isin(posts.post_ids, removed)
        self.posts = replace(posts, rows=np.arange(6, dtype=np.int32), is_removed=gone)

    def everything(self):
        return self.posts

    def gather(self, candidates, now):
        return self.posts.take(candidates.post_ids - 1, origins=candidates.origins)


class Brings:
    """A source of these posts, whether they are eligible or not; *then* is what happens meanwhile."""

    def __init__(self, *post_ids, then=lambda: None, origin=Origin.FRESH):
        self.post_ids, self.then, self.origin = np.array(post_ids, np.int64), then, origin

    def __call__(self, query, eligible):
        self.then()
        return self.post_ids


@mandatory_filter
def stands(query, candidates):
    return ~candidates.is_removed


@mandatory_filter
def likes_even(query, candidates):
    return candidates.post_ids % 2 == 0


def slate_of(catalogue, *sources, filters=(stands, likes_even), hydrators=()):
    trace = Trace()
    pipeline = Pipeline(catalogue, sources, filters, (), (), None, hydrators)
    return run(pipeline, QUERY, trace).candidates.post_ids.tolist(), trace


def notes(trace, stage):
    return [(note.part, note.kept, note.dropped) for note in trace.timings if note.stage == stage]


def test_what_is_eligible_passes_and_every_filter_says_so():
    shown, trace = slate_of(Kept(), Brings(2, 6), Brings(4, 6))
    assert shown == [2, 4, 6]
    assert notes(trace, "eligible") == [("stands", 6, 0), ("likes_even", 3, 3)]
    assert notes(trace, "filter") == [("stands", 3, 0), ("likes_even", 3, 0)]


def test_a_source_that_brings_what_it_must_not_shows_none_of_it():
    shown, trace = slate_of(Kept(4), Brings(1, 2, 4, 6))
    assert shown == [2, 6]
    assert notes(trace, "filter") == [("stands", 3, 1), ("likes_even", 2, 1)]


def test_what_is_removed_while_the_sources_run_is_filtered_on_the_facts_of_then():
    catalogue = Kept()

    def removed():
        catalogue.posts = Kept(2).posts

    shown, trace = slate_of(catalogue, Brings(2, 4, then=removed))
    assert shown == [4]
    assert notes(trace, "filter") == [("stands", 1, 1), ("likes_even", 1, 0)]


def test_what_a_hydrator_tells_is_filtered():
    class Removes:
        name = "removes"

        def __call__(self, query, candidates):
            return replace(candidates, is_removed=candidates.post_ids == 4)

    assert slate_of(Kept(), Brings(2, 4), hydrators=(Removes(),))[0] == [2]


def test_a_filter_that_fails_loses_the_slate():
    @mandatory_filter
    def breaks(query, candidates):
        raise RuntimeError("no answer today")

    with pytest.raises(FilterError, match="filter breaks failed"):
        slate_of(Kept(), Brings(2), filters=(stands, breaks))


@pytest.mark.parametrize(
    "answer",
    [
        True,
        np.True_,
        np.ones(1, np.bool_),
        np.ones((6, 1), np.bool_),
        np.ones(6, np.int64),
        [True] * 6,
        None,
    ],
    ids=["yes", "a NumPy yes", "one for all", "a column", "numbers", "a list", "nothing"],
)
def test_a_filter_that_returns_no_mask_loses_the_slate(answer):
    """An answer that NumPy would stretch over all candidates, or convert, shows nothing unchecked."""
    stretches = Filter("stretches", lambda query, candidates: answer)
    with pytest.raises(FilterError, match="filter stretches failed"):
        slate_of(Kept(), Brings(2), filters=(stands, stretches))


def test_nothing_brought_is_no_trouble():
    assert slate_of(Kept(), Brings())[0] == []
    assert slate_of(Kept())[0] == []


def test_other_sources_are_asked_while_the_nearest_are_sought():
    met = threading.Barrier(2)
    where = []

    def meet():
        where.append(threading.current_thread().name)
        met.wait(20)

    nearest, fresh = Brings(2, then=meet, origin=Origin.NEAREST), Brings(4, 2, then=meet)
    shown, trace = slate_of(Kept(), fresh, nearest, Brings(6, origin=Origin.TRENDING))
    assert shown == [2, 4, 6]
    assert notes(trace, "source") == [("fresh", 2, 0), ("nearest", 1, 0), ("trending", 1, 0)], "told in their order"
    assert len(set(where)) == 2


@pytest.mark.parametrize("broken", [Origin.NEAREST, Origin.FRESH])
def test_a_source_that_fails_in_any_thread_costs_its_posts(broken):
    def fails():
        raise RuntimeError("no posts today")

    sources = [
        Brings(2 + 2 * i, then=fails if origin == broken else lambda: None, origin=origin)
        for i, origin in enumerate((Origin.NEAREST, Origin.FRESH, Origin.TRENDING))
    ]
    shown, trace = slate_of(Kept(), *sources)
    assert len(shown) == 2
    assert [note.part for note in trace.timings if note.failed] == [broken.name.lower()]
