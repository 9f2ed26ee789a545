"""What a scratch platform is told about the members and posts of data files, and how their cases are drawn."""

import numpy as np
import pytest

from recommendations.evaluation.families import build_peers
from recommendations.evaluation.interactions import Interactions
from recommendations.evaluation.read_files import DataError
from recommendations.services.evaluating import compare as comparing
from recommendations.services.evaluating import data_sets
from recommendations.services.evaluating.compare import compare
from recommendations.services.evaluating.data_files import build_plain_platform
from recommendations.services.evaluating.data_sets import Data, read_articles_data, read_movielens_data, split_data
from recommendations.services.evaluating.platform import (
    Platform,
    fill_times,
    interaction_rows,
    member_rows,
    post_rows,
)
from recommendations.services.evaluating.scratch import FoldLists, is_start_of

RATINGS = "userId,movieId,rating,timestamp\n1,10,5,100\n1,20,2,200\n2,10,3,300\n2,30,4.5,400\n"
MOVIES = """movieId,title,genres
10,"Misérables, Les (1995)",Drama|War
20,Untitled,(no genres listed)
30,Heat (1995),Action
"""


@pytest.fixture
def films(tmp_path):
    (tmp_path / "ratings.csv").write_text(RATINGS)
    (tmp_path / "movies.csv").write_text(MOVIES)
    return read_movielens_data(tmp_path)


def build_interactions(events, times=None):
    members, posts, likes = zip(*events, strict=True)
    return Interactions.from_columns(members, posts, is_positive=likes, times=times)


# Members and posts


def test_a_film_is_a_post_as_the_importer_of_the_sample_has_it(films):
    first, second, third = films.platform.posts
    assert first == {
        "author_id": "studio:drama-1990s",
        "text": "Les Misérables (1995). Drama, War",
        "tags": ["drama", "war"],
        "kind": "film",
        "language": "en",
    }
    assert (second["author_id"], second["text"], second["tags"]) == ("studio:unsorted-undated", "Untitled", [])
    assert third["author_id"] == "studio:action-1990s"
    assert set(films.platform.others) == {"studio:drama-1990s", "studio:unsorted-undated", "studio:action-1990s"}


def test_a_rated_film_that_is_not_listed_is_a_post_without_text(tmp_path):
    (tmp_path / "ratings.csv").write_text(RATINGS)
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n10,Heat (1995),Action\n")
    posts = read_movielens_data(tmp_path).platform.posts
    assert [row["text"] for row in posts] == ["Heat (1995). Action", "Untitled film", "Untitled film"]


def test_the_text_of_an_article_is_its_tags(tmp_path):
    (tmp_path / "users.dat").write_text("2 0 1\n1 1\n")
    (tmp_path / "item-tag.dat").write_text("2 0 2\n1 1\n")
    (tmp_path / "tags.dat").write_text("ducks\ngeese\nlakes\n")
    data = read_articles_data(tmp_path)
    assert [row["text"] for row in data.platform.posts] == ["ducks lakes", "geese"]
    assert data.tags is not None
    (tmp_path / "item-tag.dat").unlink()
    data = read_articles_data(tmp_path)
    assert [row["text"] for row in data.platform.posts] == ["", ""]
    assert data.tags is None


def test_every_post_of_an_unknown_author_has_its_own():
    interactions = build_interactions([("a", "p", True), ("b", "q", True)], [1, 2])
    platform = build_plain_platform(interactions)
    assert len({row["author_id"] for row in platform.posts} & set(platform.others)) == 2


# Rows


def test_a_post_appears_a_minute_before_its_first_interaction_or_with_the_oldest():
    train = build_interactions([("a", "p", True), ("b", "p", True), ("a", "q", True)], [5000, 7000, 6000])
    train = Interactions.from_columns(
        [train.member_ids[i] for i in train.members],
        [train.post_ids[i] for i in train.posts],
        is_positive=train.is_positive,
        times=train.times,
        catalogue=["r"],
    )
    rows = post_rows(build_plain_platform(train), train, train.times, 8000)
    assert {row["id"]: row["created_at"] for row in rows} == {"post:0": 4940, "post:1": 5940, "post:2": 4940}


def test_a_known_time_of_creation_holds_unless_an_interaction_came_before():
    train = build_interactions([("a", "p", True), ("a", "q", True)], [5000, 6000])
    posts = [{"author_id": "x", "created_at": 4000}, {"author_id": "x", "created_at": 7000}]
    rows = post_rows(Platform([{}], posts), train, train.times, 8000)
    assert [row["created_at"] for row in rows] == [4000, 6000]


def test_a_post_that_does_not_exist_yet_is_left_out_and_the_others_are_ordered_by_age():
    train = build_interactions([("a", "p", True), ("a", "q", True), ("a", "r", True)], [5000, 4000, 3000])
    posts = [{"author_id": "x", "created_at": 4500}, {"author_id": "x"}, {"author_id": "x", "created_at": 9000}]
    without_last = train.take(train.posts < 2)
    rows = post_rows(Platform([{}], posts), without_last, without_last.times, 8000)
    assert [row["id"] for row in rows] == ["post:1", "post:0"]


def test_a_member_who_joins_later_joins_now():
    platform = Platform([{"created_at": 10}, {"created_at": 30}, {}], [], {"author:1": {"is_private": True}})
    rows = {row["id"]: row for row in member_rows(platform, 5, 20)}
    assert [rows[f"member:{i}"]["created_at"] for i in range(3)] == [10, 20, 5]
    assert rows["author:1"]["is_private"] is True
    assert rows["member:0"]["is_private"] is False


def test_interactions_are_written_oldest_first_from_a_row_on(films):
    train = films.interactions
    rows = list(interaction_rows(train, train.times, 1))
    assert [(row["member_id"], row["post_id"], row["kind"], row["value"], row["occurred_at"]) for row in rows] == [
        ("member:0", "post:1", "not_interested", 2, 200),
        ("member:1", "post:0", "view", 3, 300),
        ("member:1", "post:2", "like", 4.5, 400),
    ]
    assert len({row["event_id"] for row in rows}) == 3


def test_unknown_times_are_a_second_apart_in_an_order_of_the_seed():
    train = build_interactions([("a", str(post), True) for post in range(50)])
    times = fill_times(train, 3)
    assert (np.diff(np.sort(times)) == 1).all()
    assert (times == fill_times(train, 3)).all()
    assert (times != fill_times(train, 4)).any()
    assert (np.diff(times) < 0).any()


def test_a_training_set_starts_another_only_if_every_row_is_equal():
    train = build_interactions([("a", "p", True), ("a", "q", True), ("b", "p", True)], [1, 2, 3])
    assert is_start_of(train.take(slice(0, 2)), train)
    assert not is_start_of(train, train.take(slice(0, 2)))
    assert not is_start_of(train.take(slice(1, 3)), train)
    untimed = build_interactions([("a", "p", True), ("a", "q", True)])
    assert not is_start_of(untimed, untimed)


# Cases


def build_data(times=True, members=40):
    events = [(f"m{m}", f"p{(m + i) % 12}", True) for m in range(members) for i in range(8)]
    order = np.random.default_rng(2).permutation(len(events)) if times else None
    return Data("events", build_interactions(events, order), Platform([], []))


@pytest.mark.parametrize(
    ("split", "label"), [("last-one", "last one out"), ("last-n", "last 5 out"), ("time", "global")]
)
def test_at_most_a_number_of_members_has_cases(split, label):
    everyone = split_data(build_data(), split, seed=1)
    some = split_data(build_data(), split, seed=1, members=10)
    assert label in some.name
    tested = np.unique(np.concatenate([fold.members for fold in some.folds]))
    assert len(tested) == 10
    assert len(np.unique(np.concatenate([fold.members for fold in everyone.folds]))) > 10
    assert {part.group for part in some.slices} == {"interactions of the member", "age of the post in days"}


def test_first_likes_have_a_case_for_each_number_of_likes_of_the_same_members():
    data = split_data(build_data(), "first-likes", seed=1)
    assert data.name == "events, first likes"
    assert [np.diff(fold.likes.indptr).tolist() for fold in data.folds] == [[count] * 10 for count in (0, 1, 3, 5)]
    assert len({tuple(fold.members) for fold in data.folds}) == 1
    assert [(part.label, len(part.cases)) for part in data.slices if part.group == "likes of the member"] == [
        ("0", 10),
        ("1", 10),
        ("3", 10),
        ("5", 10),
    ]
    some = split_data(build_data(), "first-likes", seed=1, members=4)
    assert [len(fold) for fold in some.folds] == [4] * 4


def test_without_times_a_post_is_held_out_at_random():
    data = split_data(build_data(times=False), "last-one", seed=1)
    assert data.name == "events, random one out"
    assert np.isnan(data.folds[0].moments).all()
    assert {part.group for part in data.slices} == {"interactions of the member"}


@pytest.mark.parametrize("split", ["last-n", "time", "first-likes"])
def test_the_other_splits_need_times(split):
    with pytest.raises(DataError, match="needs times"):
        split_data(build_data(times=False), split, seed=1)


def test_data_without_a_case_is_an_error():
    with pytest.raises(DataError, match="gives no case"):
        split_data(Data("one event", build_interactions([("a", "p", True)], [1]), Platform([], [])), "time", seed=1)


def test_the_reader_of_interactions_follows_the_suffix(tmp_path):
    file = tmp_path / "events.csv"
    file.write_text("member,post,kind,time\na,p,like,1\n")
    data = data_sets.READERS["interactions"](file)
    assert (data.name, data.interactions.post_ids) == ("events.csv", ("p",))
    with pytest.raises(DataError, match="parquet"):
        data_sets.READERS["interactions"](tmp_path / "events.parquet")


# Comparison


@pytest.mark.parametrize("times", [True, False])
def test_peers_that_need_times_are_left_out_without_times(times):
    folds = split_data(build_data(times=times), "last-one", seed=1).folds
    names = [system.name for system, _ in build_peers(folds, budget=1, seed=1)]
    timed = ["popularity, last week", "popularity, decayed"]
    assert names == ["random", "popularity", *(timed if times else []), "item neighbors", "EASE"]


def test_a_tuned_peer_says_how_many_configurations_it_tried():
    folds = split_data(build_data(), "last-one", seed=1).folds
    notes = {system.name: note for system, note in build_peers(folds, budget=2, seed=1)}
    assert "2 tried" in notes["EASE"]
    assert notes["popularity"] == ""


class StubScratch:
    """Ranks the first posts for everyone, by fallback."""

    def __init__(self, *arguments, feeds, **options):
        self.feeds = feeds

    def rank(self, fold, size):
        lists = np.tile(np.r_[np.arange(12), np.full(size - 12, -1)].astype(np.int32), (len(fold), 1))
        return FoldLists(fold, dict.fromkeys(self.feeds, lists), dict.fromkeys(self.feeds, 2))


def test_the_report_says_for_how_many_cases_a_fallback_ranked(monkeypatch):
    monkeypatch.setattr(comparing, "ScratchPlatform", StubScratch)
    lines = []
    data = split_data(build_data(), "last-one", seed=1)
    report = compare(data, feeds=["trending"], has_peers=False, draws=20, progress=lines.append)
    assert [system.name for system in report.systems] == ["trending"]
    assert "a fallback ranked 2 of 40 cases" in report.systems[0].note
    assert lines[0].startswith("trending: ")
    assert report.best_peer == ""
