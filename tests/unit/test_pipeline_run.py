"""The pipeline: the filters decide last, and the failure of a component has only its documented cost."""

import threading
import time
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest

from recommendations.contracts import Candidates, Interests, Origin, Policy, Query
from recommendations.pipeline.run import Pipeline, rank_candidates, run_pipeline
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
    interests=Interests.empty(8),
)


class FakeCatalogue:
    """Posts 1 to 6 at rows 0 to 5. The posts with the ids *removed* are removed."""

    def __init__(self, *removed):
        posts = Candidates.unknown(np.arange(1, 7), np.zeros(6, np.uint16))
        is_removed = np.isin(posts.post_ids, removed)
        self.posts = replace(posts, rows=np.arange(6, dtype=np.int32), is_removed=is_removed)

    def all_posts(self):
        return self.posts

    def load_facts(self, candidates, now):
        return self.posts.take(candidates.post_ids - 1, origins=candidates.origins)


class FakeSource:
    """A source that calls *action* and returns these posts, whether they are eligible or not."""

    def __init__(self, *post_ids, action=lambda: None, origin=Origin.FRESH):
        self.post_ids, self.action, self.origin = np.array(post_ids, np.int64), action, origin

    def __call__(self, query, eligible):
        self.action()
        return self.post_ids


@mandatory_filter
def not_removed(query, candidates):
    return ~candidates.is_removed


@mandatory_filter
def has_even_id(query, candidates):
    return candidates.post_ids % 2 == 0


def collect(catalogue, *sources, filters=(not_removed, has_even_id), hydrators=(), rerankers=()):
    trace = Trace()
    pipeline = Pipeline(catalogue, sources, filters, (), rerankers, None, hydrators)
    return run_pipeline(pipeline, QUERY, trace).candidates.post_ids.tolist(), trace


def counts(trace, stage):
    return [(timing.component, timing.remaining, timing.dropped) for timing in trace.timings if timing.stage == stage]


def test_eligible_posts_pass_and_every_filter_is_in_the_trace():
    slate, trace = collect(FakeCatalogue(), FakeSource(2, 6), FakeSource(4, 6))
    assert slate == [2, 4, 6]
    assert counts(trace, "eligible") == [("not_removed", 6, 0), ("has_even_id", 3, 3)]
    assert counts(trace, "filter") == [("not_removed", 3, 0), ("has_even_id", 3, 0)]


def test_posts_that_are_not_eligible_are_dropped_after_a_wrong_source():
    slate, trace = collect(FakeCatalogue(4), FakeSource(1, 2, 4, 6))
    assert slate == [2, 6]
    assert counts(trace, "filter") == [("not_removed", 3, 1), ("has_even_id", 2, 1)]


def test_a_post_that_is_removed_while_the_sources_run_is_dropped():
    catalogue = FakeCatalogue()

    def remove_post():
        catalogue.posts = FakeCatalogue(2).posts

    slate, trace = collect(catalogue, FakeSource(2, 4, action=remove_post))
    assert slate == [4]
    assert counts(trace, "filter") == [("not_removed", 1, 1), ("has_even_id", 1, 0)]


def test_the_filters_run_on_the_facts_of_hydrators():
    class RemovingHydrator:
        name = "removing"

        def __call__(self, query, candidates):
            return replace(candidates, is_removed=candidates.post_ids == 4)

    assert collect(FakeCatalogue(), FakeSource(2, 4), hydrators=(RemovingHydrator(),))[0] == [2]


def test_a_filter_that_fails_raises_a_filter_error():
    @mandatory_filter
    def broken(query, candidates):
        raise RuntimeError("a bug in a filter")

    with pytest.raises(FilterError, match="Filter broken failed"):
        collect(FakeCatalogue(), FakeSource(2), filters=(not_removed, broken))


@pytest.mark.parametrize(
    "result",
    [
        True,
        np.True_,
        np.ones(1, np.bool_),
        np.ones((6, 1), np.bool_),
        np.ones(6, np.int64),
        [True] * 6,
        None,
    ],
    ids=["True", "a NumPy True", "one value", "a column", "numbers", "a list", "None"],
)
def test_a_filter_that_returns_no_mask_raises_a_filter_error(result):
    """Also for a result that NumPy would broadcast to all candidates, or convert."""
    broken = Filter("broken", lambda query, candidates: result)
    with pytest.raises(FilterError, match="Filter broken failed"):
        collect(FakeCatalogue(), FakeSource(2), filters=(not_removed, broken))


def test_sources_without_posts_give_an_empty_slate():
    assert collect(FakeCatalogue(), FakeSource())[0] == []
    assert collect(FakeCatalogue())[0] == []


def test_other_sources_run_while_the_nearest_source_runs():
    barrier = threading.Barrier(2)
    thread_names = []

    def wait_for_other():
        thread_names.append(threading.current_thread().name)
        barrier.wait(20)

    nearest, fresh = (
        FakeSource(2, action=wait_for_other, origin=Origin.NEAREST),
        FakeSource(4, 2, action=wait_for_other),
    )
    slate, trace = collect(FakeCatalogue(), fresh, nearest, FakeSource(6, origin=Origin.TRENDING))
    assert slate == [2, 4, 6]
    assert counts(trace, "source") == [("fresh", 2, 0), ("nearest", 1, 0), ("trending", 1, 0)], (
        "in the order of the feed"
    )
    assert len(set(thread_names)) == 2


class FakePart:
    """A hydrator, scorer or reranker with this name that calls *function*."""

    def __init__(self, name, function):
        self.name, self.function = name, function

    def __call__(self, query, posts):
        return self.function(posts)


def failed_components(trace):
    return [(timing.stage, timing.component) for timing in trace.timings if timing.failed]


def raise_error(posts):
    raise RuntimeError("a bug in a component")


@pytest.mark.parametrize(
    "result",
    [None, [2, 4], np.array([2.0, 4.0]), np.array([[2, 4]]), np.array(["2", "4"])],
    ids=["nothing", "a list", "floats", "rows", "text"],
)
def test_a_source_that_returns_no_ids_costs_its_posts(result):
    broken = FakeSource()
    broken.post_ids = result
    slate, trace = collect(FakeCatalogue(), broken, FakeSource(6, origin=Origin.TRENDING))
    assert (slate, failed_components(trace)) == ([6], [("source", "fresh")])


def test_duplicate_ids_are_candidates_once_and_unknown_ids_are_dropped():
    """Each post is a candidate once, with every source that returned it. An unknown id counts as a removed post."""

    class CheckingCatalogue(FakeCatalogue):
        def load_facts(self, candidates, now):
            is_known = np.isin(candidates.post_ids, self.posts.post_ids)
            return replace(
                Candidates.unknown(candidates.post_ids, candidates.origins),
                rows=np.where(is_known, candidates.post_ids - 1, -1).astype(np.int32),
                is_removed=~is_known,
            )

    slate, trace = collect(
        CheckingCatalogue(), FakeSource(4, 2, 4, -1, 0, 10**12), FakeSource(4, 2, origin=Origin.TRENDING)
    )
    assert (slate, failed_components(trace)) == ([2, 4], [])
    assert trace.inputs[1].origins.tolist() == [1 << Origin.FRESH | 1 << Origin.TRENDING] * 2


@pytest.mark.parametrize(
    "function",
    [
        raise_error,
        lambda candidates: None,
        lambda candidates: candidates.take(slice(1)),
        lambda candidates: candidates.take(np.array([1, 0])),
        lambda candidates: replace(candidates, quality=candidates.quality[:1]),
        lambda candidates: replace(candidates, similarity=candidates.similarity.astype(str)),
        lambda candidates: replace(candidates, rows=candidates.rows + np.int32(1)),
    ],
    ids=["an error", "nothing", "fewer", "another order", "a short column", "text", "other rows"],
)
def test_a_hydrator_that_fails_costs_its_facts(function):
    slate, trace = collect(FakeCatalogue(), FakeSource(2, 4), hydrators=(FakePart("cold_facts", function),))
    assert (slate, failed_components(trace)) == ([2, 4], [("hydrate", "cold_facts")])


@pytest.mark.parametrize(
    "function",
    [
        raise_error,
        lambda scored: None,
        lambda scored: np.array([0]),
        lambda scored: np.array([0, 0, 1]),
        lambda scored: np.array([2, 1, 3]),
        lambda scored: np.array([-1, 1, 0]),
        lambda scored: np.array([2.0, 1.0, 0.0]),
        lambda scored: np.array([[2, 1, 0]]),
    ],
    ids=["an error", "nothing", "fewer", "one twice", "one beyond", "from the end", "floats", "rows"],
)
def test_a_reranker_that_returns_no_permutation_costs_its_order(function):
    """It never drops or duplicates a post, and the next reranker starts from the order before it."""
    reversed_ = FakePart("reversed", lambda scored: np.arange(len(scored.scores))[::-1])
    slate, trace = collect(FakeCatalogue(), FakeSource(2, 4, 6), rerankers=(FakePart("wrong", function), reversed_))
    assert (slate, failed_components(trace)) == ([6, 4, 2], [("rerank", "wrong")])


@pytest.mark.parametrize(
    "function",
    [
        raise_error,
        lambda candidates: None,
        lambda candidates: 1.0,
        lambda candidates: np.ones(1, np.float32),
        lambda candidates: np.ones((3, 1), np.float32),
        lambda candidates: np.array([1, np.nan, 1], np.float32),
        lambda candidates: np.array([1, np.inf, 1], np.float32),
        lambda candidates: np.array([1, 1, -1e300]),
        lambda candidates: np.array(["1", "2", "3"]),
        lambda candidates: np.ones(3, np.complex64),
    ],
    ids=["an error", "nothing", "a number", "one", "rows", "NaN", "infinity", "too much", "text", "complex"],
)
def test_a_scorer_that_fails_costs_its_part(function, caplog):
    """The part is 0 for every post, the other parts still rank, and the log has the name of the scorer."""
    scorers = (
        FakePart("quality", function),
        FakePart("recency", lambda candidates: candidates.post_ids.astype(np.float32)),
    )
    trace = Trace()
    candidates = FakeCatalogue().posts.take(np.array([1, 3, 5]))
    scored = rank_candidates(Pipeline(FakeCatalogue(), (), (), scorers, (), None), QUERY, candidates, trace)
    assert scored.candidates.post_ids.tolist() == [6, 4, 2]
    assert scored.parts[:, 0].tolist() == [0, 0, 0]
    assert failed_components(trace) == [("score", "quality")]
    assert [(line.message, line.component) for line in caplog.records] == [("scorer_failed", "quality")]


def test_a_scorer_without_a_weight_in_the_policy_fails():
    trace = Trace()
    scorers = (FakePart("sparkle", lambda candidates: candidates.is_seen),)
    scored = rank_candidates(Pipeline(FakeCatalogue(), (), (), scorers, (), None), QUERY, FakeCatalogue().posts, trace)
    assert scored.scores.tolist() == [0] * 6
    assert failed_components(trace) == [("score", "sparkle")]


def test_a_score_part_may_be_a_mask_or_integers():
    trace = Trace()
    scorers = (FakePart("follow", lambda c: c.post_ids > 3), FakePart("topic", lambda c: c.post_ids))
    scored = rank_candidates(Pipeline(FakeCatalogue(), (), (), scorers, (), None), QUERY, FakeCatalogue().posts, trace)
    assert not failed_components(trace)
    assert scored.parts[0].tolist() == pytest.approx([QUERY.policy.follow, 6 * QUERY.policy.topic])


@pytest.mark.parametrize("broken", [Origin.NEAREST, Origin.FRESH])
def test_a_source_that_fails_in_any_thread_costs_its_posts(broken):
    def fail():
        raise RuntimeError("a bug in a source")

    sources = [
        FakeSource(2 + 2 * i, action=fail if origin == broken else lambda: None, origin=origin)
        for i, origin in enumerate((Origin.NEAREST, Origin.FRESH, Origin.TRENDING))
    ]
    slate, trace = collect(FakeCatalogue(), *sources)
    assert len(slate) == 2
    assert [timing.component for timing in trace.timings if timing.failed] == [broken.name.lower()]


def test_a_timing_ends_at_the_given_moment_or_now():
    trace = Trace()
    trace.add_timing("stage", "component", 0.5, 3, ended_at=7.0)
    before = time.perf_counter()
    trace.add_timing("stage", "component", 0.5, 3)
    assert trace.timings[0].ended_at == 7.0 and before <= trace.timings[1].ended_at <= time.perf_counter()
    assert trace.candidate_count == 0
