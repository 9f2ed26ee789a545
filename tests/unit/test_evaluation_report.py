"""The report of an evaluation, as text, JSON and a page."""

import json
import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recommendations.evaluation.interactions import Interactions
from recommendations.evaluation.measure import FEED_SIZE, METRICS, measure
from recommendations.evaluation.peers import Ease, PeerSystem, Popularity, Random
from recommendations.evaluation.plots import LABEL, Dot, Point, draw_dots, draw_scatter, find_ticks, spread
from recommendations.evaluation.report import Figure, build_json, build_report, format_table
from recommendations.evaluation.report_page import build_page, build_plots
from recommendations.evaluation.slices import slice_by_history
from recommendations.evaluation.splits import last_one_out, split_by_time


class Fixed:
    """A system that returns the same list for every case."""

    def __init__(self, name, posts):
        self.name, self.posts = name, posts

    def rank(self, fold, k):
        """See `System`."""
        assert not fold.targets.lengths.any(), "a system must not see the targets"
        return np.tile(np.array(self.posts, np.int32), (len(fold), 1))


@pytest.fixture(scope="module")
def data():
    """30 members and 25 posts, with times."""
    rng = np.random.default_rng(1)
    pairs = np.argwhere(rng.random((30, 25)) < 0.4)
    return Interactions.from_columns(
        [str(member) for member, _ in pairs],
        [str(post) for _, post in pairs],
        is_positive=np.ones(len(pairs)),
        times=rng.permutation(len(pairs)),
    )


@pytest.fixture(scope="module")
def report(data):
    """Two peers and the product, called <ours>, in a set whose tags are those of every second post."""
    folds = split_by_time(data, [120, 160], window=40, min_history=1)
    tags = csr_array(np.eye(25)[:, ::2])
    measured = [
        measure(PeerSystem("popularity", Popularity()), folds, tags=tags),
        measure(PeerSystem("EASE", Ease(1.0)), folds, tags=tags, note="ridge 1"),
        measure(PeerSystem("<ours>", Random()), folds, tags=tags, is_peer=False),
    ]
    return build_report("Films & more", "Two cuts.", folds, measured, slice_by_history(folds), seed=1, draws=100)


def test_a_report_has_every_metric_with_its_interval(report):
    assert {metric.key for metric in METRICS} == set(report.systems[0].figures)
    for system in report.systems:
        for key, figure in system.figures.items():
            if key in ("coverage", "gini"):
                assert figure.low is None and 0 <= figure.value <= 1
            else:
                assert figure.low <= figure.value <= figure.high
    assert report.fold_count == 2
    assert report.member_count <= report.case_count == sum(part.case_count for part in report.slices)


def test_systems_are_compared_with_the_best_peer(report):
    ndcg = {system.name: system.figures["ndcg"].value for system in report.systems}
    assert report.best_peer == max(("popularity", "EASE"), key=ndcg.get)
    for system in report.systems:
        if system.name == report.best_peer:
            assert not system.differences
        else:
            assert system.differences["ndcg"].value == pytest.approx(ndcg[system.name] - ndcg[report.best_peer])


def test_the_table_has_a_line_for_each_system(report):
    table = format_table(report)
    assert table.startswith(
        f"Films & more: {report.case_count} cases of {report.member_count} members, 2 training sets"
    )
    assert len(re.findall(r"^<ours> ", table, re.MULTILINE)) == 3
    assert re.search(r"^ +HR@10 +NDCG@10", table, re.MULTILINE)
    assert "NDCG@10 by interactions of the member" in table
    assert table.endswith("\n\nEASE: ridge 1\n")


def test_json_holds_the_report(report):
    loaded = json.loads(json.dumps(build_json([report]), allow_nan=False))
    assert loaded["sets"][0]["systems"][1]["note"] == "ridge 1"
    assert [metric["label"] for metric in loaded["metrics"]][:2] == ["HR@10", "NDCG@10"]


def test_the_page_loads_nothing_and_escapes_names(report):
    page = build_page("Quality", [report, replace(report, slices=[], best_peer="", systems=[report.systems[2]])])
    assert not re.search(r"(?:src|href|url|import)\s*[=(]|https?:", page)
    assert "<ours>" not in page and "&lt;ours&gt;" in page
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page
    assert page.count("<section>") == page.count("</section>") == 2
    body = page[page.index("<body>") : page.index("</html>")]
    ElementTree.fromstring(body.replace("&nbsp;", " "))  # well-formed
    assert page.count("<svg") == 6
    assert 'class="best"' in page and 'class="ours"' in page


def test_a_metric_without_values_is_a_dash():
    """One post: no list has two posts to compare, and without tags nothing can be calibrated."""
    data = Interactions.from_columns(["a", "b"], ["x", "x"], is_positive=[1, 1], times=[1, 2])
    folds = last_one_out(data)
    measured = [measure(PeerSystem("popularity", Popularity()), folds, tags=csr_array((1, 2)))]
    report = build_report("One post", "", folds, measured, [], seed=1, draws=10)
    assert report.systems[0].figures["similarity"].value is None
    assert "1 training set\n" in format_table(report)
    assert " –" in format_table(report)
    assert "<td>–</td>" in build_page("One post", [report])
    without_tags = measure(PeerSystem("popularity", Popularity()), folds)
    mixed = build_report(
        "One post", "", folds, [*measured, replace(without_tags, name="untagged")], [], seed=1, draws=10
    )
    assert "miscalibration" not in mixed.systems[1].figures
    assert build_page("Mixed", [mixed])
    ours = {"figures": dict.fromkeys(mixed.systems[0].figures, Figure(None)), "name": "unknown"}
    plots = "".join(build_plots(replace(mixed, systems=[mixed.systems[0], replace(mixed.systems[0], **ours)])))
    assert "popularity" in plots and "unknown" not in plots, "what is unknown is not drawn at 0"


def test_a_report_without_peers_compares_nothing(data):
    folds = last_one_out(data)
    report = build_report(
        "Ours", "", folds, [measure(PeerSystem("ours", Ease()), folds, is_peer=False)], [], seed=1, draws=10
    )
    assert report.best_peer == "" and not report.systems[0].differences
    assert "minus" not in format_table(report)


@pytest.mark.parametrize(
    ("posts", "problem"),
    [
        ([0], "not "),
        ([99] + [-1] * (FEED_SIZE - 1), "not in the catalogue"),
        ([-2] * FEED_SIZE, "not in the catalogue"),
        ([3, 4, 3] + [-1] * (FEED_SIZE - 3), "a post twice"),
    ],
)
def test_a_system_with_invalid_lists_is_rejected(data, posts, problem):
    with pytest.raises(ValueError, match=problem):
        measure(Fixed("fixed", posts), last_one_out(data))


def test_known_posts_are_counted(data):
    folds = last_one_out(data)
    post = int(folds[0].known[0][0])
    by_case = measure(Fixed("fixed", [post] + [-1] * (FEED_SIZE - 1)), folds).by_case
    assert by_case["known"].tolist() == [float(post in known) for known in folds[0].known]


@pytest.mark.parametrize("end", [0.001, 0.01, 0.07, 0.2, 0.5, 1.0, 3.3, 9.99, 10.0, 1234.0])
def test_ticks_are_few_and_within_the_axis(end):
    ticks = find_ticks(end)
    assert ticks[0] == 0 and ticks[-1] <= end * (1 + 1e-9)
    assert 3 <= len(ticks) <= 6


@given(st.lists(st.integers(0, 200), max_size=14))
def test_labels_do_not_overlap(heights):
    moved = spread(sorted(heights), 200)
    assert all(b - a >= LABEL for a, b in pairwise(moved))
    assert all(height <= 200 for height in moved)
    apart = [20.0 * number for number in range(len(heights) // 2)]
    assert spread(apart, 200) == apart


def test_plots_of_nothing_and_of_zeros():
    for dots in ([], [Dot("a", 0.0, None, None, True)], [Dot("a", 0.0, 0.0, 0.0, False)]):
        ElementTree.fromstring(draw_dots("t", dots))
    for points in ([], [Point("a & b", 0.0, 0.0, True)]):
        ElementTree.fromstring(draw_scatter("t", "x", "y", points))
