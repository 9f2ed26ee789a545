"""The product is evaluated by the pipeline that serves, on a database of its own that holds the training set only."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
from dataclasses import asdict, replace
from datetime import timedelta
from io import StringIO

import numpy as np
import psutil
import pytest
from django.core.management import CommandError, call_command

from monitoring import maintenance as monitoring_maintenance
from recommendations.contracts import Policy
from recommendations.evaluation.interactions import KINDS, Interactions
from recommendations.evaluation.ragged import Ragged
from recommendations.evaluation.splits import last_one_out, split_by_time
from recommendations.models import (
    EmbeddingModel,
    Evaluation,
    Interaction,
    Member,
    Post,
    PostEmbedding,
    PrivacySettings,
    RankingPolicy,
    Relationship,
    SeenPost,
)
from recommendations.services import policies, wiring
from recommendations.services.evaluating import live, rank_cases, scratch, tune
from recommendations.services.evaluating.data_files import build_plain_platform
from recommendations.services.evaluating.data_sets import Data, split_data
from recommendations.services.evaluating.platform import Platform, PostVectors, member_key, post_key
from recommendations.services.evaluating.scratch import ProductSystem, ScratchError, ScratchPlatform, scratch_folder
from recommendations.services.extensions import maintenance
from recommendations.services.learning.learn import learn_all
from recommendations.services.measuring import evaluations
from recommendations.services.serving.query import WASM_ASSIGNMENT
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

MEMBERS, POSTS, TOPICS = 30, 60, 3
PEERS = {"random", "popularity", "popularity, last week", "popularity, decayed", "item neighbors", "EASE"}
HOUR = 3600.0
START = NOW.timestamp() - 40 * 24 * HOUR


def draw_events():
    """Yield (member, post, kind, Unix seconds): each member likes posts of one topic, and rejects one of another."""
    rng = np.random.default_rng(5)
    for member in range(MEMBERS):
        liked = rng.permutation(np.arange(member % TOPICS, POSTS, TOPICS))[:9]
        rejected = (member + 1) % TOPICS + TOPICS * int(rng.integers(POSTS // TOPICS))
        for post, kind in [*((int(post), "like") for post in liked), (rejected, "not_interested")]:
            yield member, post, kind, START + int(rng.integers(30 * 24)) * HOUR


@pytest.fixture(scope="module")
def interactions():
    members, posts, kinds, times = zip(*draw_events(), strict=True)
    return Interactions.from_columns(
        [str(member) for member in members],
        [str(post) for post in posts],
        is_positive=[kind == "like" for kind in kinds],
        kinds=[KINDS.index(kind) for kind in kinds],
        times=times,
        catalogue=[str(post) for post in range(POSTS)],
    )


@pytest.fixture(scope="module")
def platform(interactions):
    texts = {str(post): f"topic{post % TOPICS} post" for post in range(POSTS)}
    return build_plain_platform(interactions, texts)


@pytest.fixture
def live_platform():
    """The same platform as rows of this database, with vectors and learned interests."""
    authors = [factories.member(f"author-{i}", at=NOW - timedelta(days=60)) for i in range(6)]
    posts = [
        factories.post(
            authors[i % 6],
            f"p{i}",
            text=f"secret topic{i % TOPICS}",
            tags=[f"topic{i % TOPICS}"],
            language="en" if i else "",
            created_at=NOW - timedelta(days=50, minutes=i),
        )
        for i in range(POSTS)
    ]
    members = [factories.member(f"m{i}", region="DE", languages=["en"]) for i in range(MEMBERS)]
    factories.embed_all_posts()
    model = wiring.embedder()
    EmbeddingModel.objects.create(
        space="content",
        name=model.name,
        embedder="tiny",
        dimension=model.dimension,
        state="active",
        created_at=NOW,
        activated_at=NOW,
        changed_at=NOW,
    )
    for member, post, kind, time in draw_events():
        factories.interaction(
            members[member], posts[post], kind, at=NOW - timedelta(seconds=NOW.timestamp() - time), received_at=NOW
        )
    learn_all(now=NOW, progress=lambda done, total: None)
    return members, posts


@pytest.fixture(scope="module")
def fold(interactions):
    return last_one_out(interactions)[0]


@pytest.fixture(scope="module")
def ranked(tmp_path_factory, platform, fold):
    """The lists of a real child process, the folder with its database, and its lines."""
    folder, lines = tmp_path_factory.mktemp("scratch"), []
    product = ScratchPlatform(folder, platform, seed=1, progress=lines.append)
    product.rank(fold, 20)
    return product, folder, lines


@pytest.fixture
def in_process(monkeypatch):
    """Rank on the database of the tests instead of a child's. Saves the start of a process."""
    monkeypatch.setattr(scratch, "run_child", rank_cases.rank_cases)


def read_database(folder, statement):
    with sqlite3.connect(folder / scratch.DATABASE) as database:
        return database.execute(statement).fetchall()


STORED = """
    SELECT member.external_id, post.external_id FROM recommendations_interaction AS interaction
    JOIN recommendations_member AS member ON member.id = interaction.member_id
    JOIN recommendations_post AS post ON post.id = interaction.post_id
"""


# The scratch platform


def test_the_scratch_platform_holds_the_training_set_and_no_target(ranked, fold):
    product, folder, _ = ranked
    stored = sorted(read_database(folder, STORED))
    train = zip(fold.train.members.tolist(), fold.train.posts.tolist(), strict=True)
    assert stored == sorted((member_key(member), post_key(post)) for member, post in train)
    hidden = {(member_key(fold.members[case]), post_key(fold.targets[case][0])) for case in range(len(fold))}
    assert len(hidden) == MEMBERS
    assert not hidden & set(stored)
    assert (product.rank(fold, 20).lists["discovery"][:, 0] >= 0).all()


def test_every_interaction_is_learned_and_every_post_has_a_vector(ranked):
    _, folder, _ = ranked
    assert read_database(folder, "SELECT count(*) FROM recommendations_interaction WHERE NOT is_learned") == [(0,)]
    assert read_database(folder, "SELECT count(*) FROM recommendations_postembedding") == [(POSTS,)]


def test_a_child_ranks_all_feeds_of_a_fold_once(ranked, fold):
    product, _, lines = ranked
    lists = product.rank(fold, 20)
    assert product.rank(fold, 20) is lists
    assert len(lines) == 1
    assert set(lists.lists) == set(scratch.RANKED_FEEDS)
    assert lists.fallbacks == dict.fromkeys(scratch.RANKED_FEEDS, 0)


def test_no_list_has_a_post_that_the_member_knows(ranked, fold):
    product, _, _ = ranked
    for feed in ("discovery", "trending"):  # the non-personalized feed knows nothing of its viewer
        lists = product.rank(fold, 20).lists[feed]
        assert not any(set(row) & set(known) for row, known in zip(lists.tolist(), fold.known, strict=True))


@pytest.mark.usefixtures("in_process")
def test_a_second_run_on_another_database_gives_equal_lists(ranked, fold, platform, tmp_path):
    product, _, _ = ranked
    again = ScratchPlatform(tmp_path, platform, seed=1).rank(fold, 20)
    for feed, lists in product.rank(fold, 20).lists.items():
        np.testing.assert_array_equal(again.lists[feed], lists)


@pytest.mark.usefixtures("in_process")
def test_a_growing_training_set_is_added_to_the_same_database(tmp_path, platform, interactions):
    folds = split_by_time(interactions, [START + 15 * 24 * HOUR, START + 22 * 24 * HOUR], min_history=1)
    product = ProductSystem("trending", "trending", ScratchPlatform(tmp_path, platform, seed=1, feeds=["trending"]))
    sizes = []
    for fold in folds:
        assert product.rank(fold, 20).shape == (len(fold), 20)
        sizes.append(Interaction.objects.filter(is_learned=True).count())
    assert sizes == [len(fold.train) for fold in folds]
    added = (tmp_path / "interactions.jsonl").read_text().splitlines()
    assert len(added) == sizes[1] - sizes[0]


def test_another_training_set_starts_with_an_empty_folder(tmp_path, platform, fold, interactions, monkeypatch):
    def write_lists(folder, progress):
        (folder / scratch.DATABASE).touch()
        cases = json.loads((folder / scratch.CASES_FILE).read_text())
        answer = {"lists": {"trending": [["post:3"]] * len(cases["members"])}, "fallbacks": {"trending": 0}}
        (folder / scratch.LISTS_FILE).write_text(json.dumps(answer))

    monkeypatch.setattr(scratch, "run_child", write_lists)
    product = ScratchPlatform(tmp_path, platform, seed=1, feeds=["trending"])
    assert product.rank(fold, 3).lists["trending"][0].tolist() == [3, -1, -1]
    (tmp_path / "of-before").touch()
    (tmp_path / scratch.MODELS).mkdir()
    (shorter,) = last_one_out(interactions.take(interactions.members < 10))
    product.rank(shorter, 3)
    assert not {"of-before", scratch.MODELS} & {path.name for path in tmp_path.iterdir()}
    assert len((tmp_path / "interactions.jsonl").read_text().splitlines()) == len(shorter.train)


@pytest.mark.usefixtures("in_process")
def test_the_policies_of_the_platform_rank(tmp_path, platform, fold):
    settings = {"recency": 3.5}
    known = Platform(platform.members, platform.posts, platform.others, policies={"wasm_conservative": settings})
    ScratchPlatform(tmp_path, known, seed=1, feeds=["trending"]).rank(fold, 5)
    assert RankingPolicy.objects.get(variant="wasm_conservative", is_active=True).settings["recency"] == 3.5


@pytest.mark.usefixtures("in_process")
def test_a_known_vector_is_stored_and_the_other_posts_are_embedded(tmp_path, platform, fold):
    posts = [{**row, "created_at": START + (1e9 if i == 4 else 0)} for i, row in enumerate(platform.posts)]
    vectors = np.eye(2, wiring.embedder().dimension, dtype=np.float32)
    known = PostVectors("tiny", "", wiring.embedder().name, (7, 4), vectors)
    unseen = fold.train.take(fold.train.posts != 4)
    platform = Platform(platform.members, posts, platform.others, vectors=known)
    ScratchPlatform(tmp_path, platform, seed=1, feeds=["trending"]).rank(replace(fold, train=unseen), 5)
    assert bytes(PostEmbedding.objects.get(post__external_id="post:7").vector) == vectors[0].tobytes()
    assert PostEmbedding.objects.count() == POSTS - 1
    assert not Post.objects.filter(external_id="post:4").exists()  # it was created later


@pytest.mark.usefixtures("in_process")
def test_a_rejected_row_is_an_error_with_the_importers_reason(tmp_path, platform, fold):
    wrong = Platform(platform.members, [{**row, "kind": "no slug"} for row in platform.posts], platform.others)
    with pytest.raises(rank_cases.RejectedRowsError, match=r"posts: .*no slug"):
        ScratchPlatform(tmp_path, wrong, seed=1, feeds=["trending"]).rank(fold, 5)


@pytest.mark.usefixtures("in_process")
def test_data_without_times_get_an_order_that_follows_from_the_seed(tmp_path, interactions):
    untimed = Interactions.from_columns(
        [interactions.member_ids[i] for i in interactions.members],
        [interactions.post_ids[i] for i in interactions.posts],
        is_positive=np.ones(len(interactions)),
    )
    data = split_data(Data("lists", untimed, build_plain_platform(untimed)), "last-one", seed=1)
    ScratchPlatform(tmp_path, data.platform, seed=1, feeds=["trending"]).rank(data.folds[0], 5)
    times = Interaction.objects.values_list("occurred_at", flat=True).order_by()
    assert len(set(times)) == len(data.folds[0].train)


def test_relationships_after_the_training_set_are_not_imported(tmp_path, platform, fold):
    newest = float(fold.train.times.max())
    follows = [
        {"source_id": member_key(i), "target_id": "author:1", "kind": "follow", "created_at": newest + age}
        for i, age in enumerate((-1, 0, 1, HOUR))
    ]
    known = Platform(platform.members, platform.posts, platform.others, relationships=follows)
    scratch.write_files(tmp_path, known, fold.train, fold.train.times, 0, newest)
    assert len((tmp_path / "relationships.jsonl").read_text().splitlines()) == 2


def test_the_child_gets_neither_a_server_nor_a_secret_of_the_platform(tmp_path, monkeypatch):
    for name in scratch.NOT_INHERITED:
        monkeypatch.setenv(name, "of-the-platform")
    monkeypatch.setenv("SECRET_KEY", "of-the-platform")
    environment = scratch.child_environment(tmp_path)
    assert "of-the-platform" not in environment.values()
    assert environment["DATABASE_URL"] == f"sqlite:///{tmp_path}/platform.sqlite3"
    assert environment["REDIS_URL"] == environment["CACHE_REDIS_URL"] == "redis://127.0.0.1:0/0"


def test_a_child_is_killed_if_its_parent_is_stopped(tmp_path, monkeypatch):
    waiting = tmp_path / "waiting.py"
    waiting.write_text("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    monkeypatch.setattr(scratch, "MANAGE", waiting)
    children = []

    def stop(line):
        children.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scratch.run_child(tmp_path, stop)
    assert [psutil.pid_exists(pid) for pid in children] == [False]


def test_a_failed_child_is_an_error_with_its_last_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "MANAGE", tmp_path / "missing.py")
    with pytest.raises(ScratchError, match=r"missing\.py"):
        scratch.run_child(tmp_path, lambda line: None)
    (tmp_path / "silent.py").write_text("raise SystemExit(4)")
    monkeypatch.setattr(scratch, "MANAGE", tmp_path / "silent.py")
    with pytest.raises(ScratchError, match="ended with 4"):
        scratch.run_child(tmp_path, lambda line: None)


# Tuning


@pytest.fixture(scope="module")
def captured(ranked, fold, django_db_setup):
    """The candidates of the same fold, from a real child process on the same database."""
    product, _, _ = ranked
    return product.capture(fold)


def test_captured_candidates_ranked_with_the_same_policy_give_the_lists_that_were_served(ranked, captured, fold):
    served = ranked[0].rank(fold, 20).lists["discovery"]
    np.testing.assert_array_equal(captured.rank(Policy(), np.arange(len(fold)), 20), served)


@pytest.mark.nightly
def test_another_policy_ranks_captured_candidates_as_it_would_serve_them(captured, fold, platform, tmp_path):
    settings = {"popularity": 2.0, "item_weights": 0.1, "diversity": 0.7, "exploration_share": 0.2, "author_cap": 1}
    other = replace(platform, policies={"wasm_conservative": settings})
    served = ScratchPlatform(tmp_path, other, seed=1, feeds=["discovery"]).rank(fold, 20).lists["discovery"]
    reranked = captured.rank(Policy.from_settings(settings), np.arange(len(fold)), 20)
    np.testing.assert_array_equal(reranked, served)


def test_the_tuned_variant_is_the_one_that_the_child_ranks_with():
    assert WASM_ASSIGNMENT.variant == scratch.RANKED_VARIANT


def test_members_keep_their_half_and_each_half_has_about_as_many():
    halves = tune.find_validation_members([f"member {i}" for i in range(2_000)])
    assert 900 < np.count_nonzero(halves) < 1_100
    assert tune.find_validation_members(["member 7", "other"])[0] == halves[7]


@pytest.fixture
def captured_set(captured, fold, platform, monkeypatch):
    monkeypatch.setattr(tune, "MIN_CASES", 5)
    return tune.CapturedSet(
        "set", (captured,), fold.members.astype(np.int64), tune.find_validation_cases([fold]), len(platform.posts)
    )


WEAK = Policy(item_weights=0, co_liked=0, liked_next=0, taste=0, popularity=3)


def search(one, start=WEAK):
    weighted = tune.tune_weights([one], start, lambda line: None)
    return tune.tune_variety([one], weighted, lambda line: None)


def test_the_search_finds_more_of_what_the_validation_members_like(captured_set):
    found = search(captured_set)
    before, after = (tune.measure(captured_set, one, validation=True).ndcg.mean() for one in (WEAK, found))
    assert after > before
    assert Policy.from_settings(asdict(found)) == found


def test_the_search_never_reads_the_targets_of_test_members(captured_set):
    (captured,) = captured_set.folds
    shuffled = captured.fold.targets.values.copy()
    shuffled[~captured_set.is_validation] = 0
    blind = replace(captured, fold=replace(captured.fold, targets=Ragged(shuffled, captured.fold.targets.starts)))
    assert search(replace(captured_set, folds=(blind,))) == search(captured_set)


def test_only_searched_settings_change(captured_set):
    settings = {"fatigue": 1.7, "show_less": 3.0, "follow": 0.9, "exploration": 0.3, "dislike": 0.7, "author_cap": 2}
    found = asdict(search(captured_set, replace(WEAK, **settings)))
    assert {name: found[name] for name in settings} == settings


def test_a_source_without_a_weight_finds_candidates_for_the_search():
    assert tune.with_all_sources(WEAK).item_weights == 1.0
    assert tune.with_all_sources(Policy(co_liked=0.3)).co_liked == 0.3


def test_variety_is_selected_only_where_it_costs_little(captured_set, monkeypatch):
    """Every list that is as good is more various: the most various is selected. A worse one is not."""
    covers = {0.0: 0.1, 0.1: 0.2, 0.2: 0.3, 0.3: 0.9, 0.4: 1.0}
    costs = {0.0: 1.0, 0.1: 0.995, 0.2: 0.99, 0.3: 0.9, 0.4: 0.8}

    def measure(one, policy, *, validation):
        figure = np.full(3, costs[policy.diversity])
        return tune.Measured(figure, figure, covers[policy.diversity])

    monkeypatch.setattr(tune, "measure", measure)
    assert tune.tune_variety([captured_set], WEAK, lambda line: None).diversity == 0.2


@pytest.mark.nightly
def test_tune_stores_a_draft_and_activates_nothing(live_platform, tmp_path, monkeypatch):
    """With a real child process, on the data of the platform."""
    monkeypatch.setattr(tune, "MIN_CASES", 5)
    policies.put_policy(variant="wasm_conservative", settings=asdict(WEAK), note="", version=None)
    active = set(RankingPolicy.objects.filter(is_active=True).values_list("pk", flat=True))
    out, output = StringIO(), tmp_path / "policy.json"
    call_command("tune", "--draft", "--output", str(output), stdout=out, stderr=StringIO())
    document = json.loads(output.read_text())
    draft = RankingPolicy.objects.filter(variant="wasm_conservative").first()
    assert set(RankingPolicy.objects.filter(is_active=True).values_list("pk", flat=True)) == active
    assert (draft.is_active, draft.settings, draft.note) == (False, document["settings"], document["note"])
    assert document["settings"] != asdict(WEAK)
    assert "last 5 out, after" in out.getvalue() and str(draft) in out.getvalue()
    assert not SeenPost.objects.exists()


def test_too_few_cases_are_an_error(live_platform):
    with pytest.raises(CommandError, match="each half needs 30"):
        call_command("tune", stdout=StringIO(), stderr=StringIO())


def test_an_unknown_variant_is_an_error(live_platform):
    with pytest.raises(CommandError, match="nobody"):
        call_command("tune", "--variant", "nobody", stdout=StringIO(), stderr=StringIO())


def test_data_without_a_like_are_an_error(live_platform, tmp_path):
    (tmp_path / "events.csv").write_text("member,post,kind,time\n1,1,view,1700000000\n")
    with pytest.raises(CommandError, match="no positive interaction"):
        call_command("tune", "--files", str(tmp_path / "events.csv"), stdout=StringIO(), stderr=StringIO())


# Folders


@pytest.fixture
def parent(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_is_private_and_deleted_after_an_error(parent):
    with pytest.raises(ZeroDivisionError), scratch_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "members.jsonl").write_text("{}")
        raise ZeroDivisionError
    assert not list(parent.iterdir())


def test_the_folder_of_a_dead_run_is_deleted_and_that_of_a_running_one_stays(parent):
    dead = parent / f"{scratch.FOLDER_PREFIX}dead"
    dead.mkdir()
    (dead / "members.jsonl").write_text("{}")
    with scratch_folder() as running, scratch_folder() as other:
        assert not dead.exists()
        assert running.exists()
        assert other.exists()


def test_the_folder_of_another_user_stays(parent, monkeypatch):
    other = parent / f"{scratch.FOLDER_PREFIX}other"
    other.mkdir()
    monkeypatch.setattr(scratch.os, "getuid", lambda: os.geteuid() + 1)
    scratch.delete_abandoned_folders(parent)
    assert other.exists()


# The running platform


def test_an_evaluation_reports_the_product_and_every_peer_and_changes_nothing_else(live_platform, tmp_path):
    """With a real child process, whose database is no other than its own."""

    def count_rows():
        models = (Member, Post, Interaction, PostEmbedding, Relationship, RankingPolicy, PrivacySettings, SeenPost)
        return [model.objects.count() for model in models]

    before, out = count_rows(), StringIO()
    files = {"json": tmp_path / "figures.json", "html": tmp_path / "page.html"}
    arguments = ("--quick", "--store", "--members", "20", "--json", files["json"], "--html", files["html"])
    call_command("evaluate", *map(str, arguments), stdout=out, stderr=StringIO())
    (report,) = json.loads(files["json"].read_text())["sets"]
    assert {system["name"] for system in report["systems"]} == PEERS | set(scratch.RANKED_FEEDS)
    assert report["case_count"] == 20
    assert report["best_peer"] in PEERS
    assert "minus" in out.getvalue()
    assert "<svg" in files["html"].read_text()
    assert count_rows() == before
    row = Evaluation.objects.get()
    figures = {system["name"]: system["figures"]["ndcg"]["value"] for system in row.report["systems"]}
    assert row.quality_score == pytest.approx(min(1, figures["discovery"] / figures[row.best_peer]))
    assert row.policies == dict(RankingPolicy.objects.filter(is_active=True).values_list("variant", "version"))
    assert (row.split, row.member_count) == ("last-one", 20)
    assert evaluations.quality_score(now=row.created_at) == row.quality_score


def test_the_export_has_numbers_instead_of_ids_and_no_text_beside_a_vector(live_platform):
    members, posts = live_platform
    factories.follow(members[0], posts[0].author)
    data = live.export_live_data(now=NOW)
    rows = [*data.platform.members, *data.platform.posts, *data.platform.others.values(), *data.platform.relationships]
    assert "secret" not in json.dumps(rows)
    assert not {member.external_id for member in members} & set(data.interactions.member_ids)
    assert len(data.platform.vectors.posts) == POSTS
    assert [row["kind"] for row in data.platform.relationships] == ["follow"]
    assert data.platform.members[0]["region"] == "DE"
    assert len(data.interactions) == 10 * MEMBERS


def test_a_post_without_a_vector_is_exported_with_its_text(live_platform):
    _, posts = live_platform
    PostEmbedding.objects.filter(post=posts[3]).delete()
    row = live.export_live_data(now=NOW).platform.posts[3]
    assert row["text"].startswith("secret")


def test_without_an_active_model_texts_are_exported_and_no_vectors(live_platform):
    EmbeddingModel.objects.all().delete()
    data = live.export_live_data(now=NOW)
    assert data.platform.vectors is None
    assert all("text" in row for row in data.platform.posts)


def test_an_active_model_without_vectors_counts_as_none(live_platform):
    PostEmbedding.objects.all().delete()
    assert live.export_live_data(now=NOW).platform.vectors is None


@pytest.mark.parametrize("reason", ["opted out", "undone", "inactive", "removed", "reset", "later"])
def test_what_may_not_be_learned_is_not_exported(live_platform, reason):
    members, posts = live_platform
    of_first = Interaction.objects.filter(member=members[0])
    removed = of_first.count()
    if reason == "opted out":
        PrivacySettings.objects.filter(member=members[0]).update(is_personalized=False)
    elif reason == "undone":
        of_first.update(undone_at=NOW)
    elif reason == "inactive":
        Member.objects.filter(pk=members[0].pk).update(is_active=False)
    elif reason == "removed":
        removed = Interaction.objects.filter(post=posts[0]).count()
        Post.objects.filter(pk=posts[0].pk).update(removed_at=NOW)
    elif reason == "reset":
        Member.objects.filter(pk=members[0].pk).update(interests_reset_at=NOW)
    else:
        of_first.update(occurred_at=NOW + timedelta(minutes=1))
    assert len(live.export_live_data(now=NOW).interactions) == 10 * MEMBERS - removed
    assert removed


def test_an_author_of_unknown_privacy_and_age_is_exported_as_private(live_platform):
    _, posts = live_platform
    PrivacySettings.objects.filter(member=posts[0].author).delete()
    Member.objects.filter(pk=posts[1].author_id).update(is_adult=True)
    others = live.export_live_data(now=NOW).platform.others
    row = others[f"author:{posts[0].author_id}"]
    assert row["is_private"] is True
    assert "region" not in row
    assert "sensitivity" not in row
    assert others[f"author:{posts[1].author_id}"]["is_adult"] is True


# The command


def run_evaluate(*arguments):
    call_command("evaluate", *map(str, arguments), stdout=StringIO(), stderr=StringIO())


@pytest.mark.usefixtures("in_process")
def test_files_of_interactions_are_evaluated(tmp_path):
    file = tmp_path / "events.csv"
    lines = [f"m{member},p{post},{kind},{time:.0f}" for member, post, kind, time in draw_events()]
    file.write_text("\n".join(["member,post,kind,time", *lines]) + "\n")
    run_evaluate("--files", file, "--split", "time", "--no-peers", "--feed", "trending", "--json", tmp_path / "f.json")
    (report,) = json.loads((tmp_path / "f.json").read_text())["sets"]
    assert report["fold_count"] > 1
    assert [system["name"] for system in report["systems"]] == ["trending"]


@pytest.mark.usefixtures("in_process")
def test_the_table_is_printed_and_progress_goes_to_stderr(tmp_path):
    (tmp_path / "users.dat").write_text("".join(f"3 {m % 5} {m % 5 + 1} {m % 5 + 2}\n" for m in range(10)))
    out, err = StringIO(), StringIO()
    arguments = ("--files", str(tmp_path), "--format", "lists", "--no-peers", "--feed", "trending")
    call_command("evaluate", *arguments, stdout=out, stderr=err)
    assert "citeulike-a, random one out: 10 cases" in out.getvalue()
    assert "10 cases: policies" in err.getvalue()


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--store", "--files", "x.csv"], "Leave out --files", 1),
        (["--files", "missing.csv"], "cannot be read", 1),
        ([], "There are no interactions", evaluations.NOTHING_TO_EVALUATE),
    ],
)
def test_a_wrong_call_says_what_to_do(arguments, message, code):
    with pytest.raises(CommandError, match=message) as error:
        run_evaluate(*arguments)
    assert error.value.returncode == code


@pytest.mark.parametrize("count", ["0", "x"])
def test_the_number_of_members_is_checked(count):
    with pytest.raises(CommandError, match="--members"):
        run_evaluate("--members", count)


def test_data_without_a_case_is_told_apart_from_a_failure(live_platform):
    Interaction.objects.filter(kind="like").exclude(pk=Interaction.objects.first().pk).update(kind="view")
    with pytest.raises(CommandError, match="gives no case") as error:
        run_evaluate("--split", "last-n")
    assert error.value.returncode == evaluations.NOTHING_TO_EVALUATE


def test_a_failure_of_the_scratch_platform_is_the_commands(live_platform, monkeypatch):
    monkeypatch.setattr(scratch, "MANAGE", "/nowhere/manage.py")
    with pytest.raises(CommandError, match="nowhere") as error:
        run_evaluate("--no-peers")
    assert error.value.returncode == 1


# Stored evaluations


def store(score, low, high, *, at, split="last-one", peer="EASE"):
    report = {
        "case_count": 10,
        "member_count": 10,
        "best_peer": peer,
        "systems": [
            {
                "name": "discovery",
                "figures": {"ndcg": {"value": score, "low": 0, "high": 1}},
                "differences": {"ndcg": {"value": score - 1, "low": low, "high": high}} if peer else {},
            },
            {"name": "EASE", "figures": {"ndcg": {"value": 1.0, "low": 0, "high": 1}}, "differences": {}},
        ],
    }
    return evaluations.store_evaluation(split=split, report=report, policies={}, seconds=1.0, now=at)


def test_the_score_is_that_of_the_newest_evaluation_with_peers():
    assert evaluations.quality_score(now=NOW) is None
    store(0.5, -0.6, -0.4, at=NOW - timedelta(days=2))
    store(0.6, -0.6, -0.4, at=NOW - timedelta(days=1))
    store(0.9, 0, 0, at=NOW - timedelta(hours=1), peer="")
    store(0.9, 0, 0, at=NOW + timedelta(days=1))
    assert evaluations.quality_score(now=NOW) == 0.6


@pytest.mark.parametrize(("product", "peer", "expected"), [(0.2, 0.4, 0.5), (0.6, 0.4, 1.0), (0.0, 0.0, 1.0)])
def test_the_score_is_a_ratio_of_at_most_one(product, peer, expected):
    systems = [{"name": n, "figures": {"ndcg": {"value": v}}} for n, v in (("discovery", product), ("EASE", peer))]
    assert evaluations.compute_score({"best_peer": "EASE", "systems": systems}) == expected


def test_a_regression_is_the_gap_between_two_intervals():
    day = timedelta(days=1)
    assert evaluations.quality_regression(now=NOW) is None
    store(0.6, -0.4, -0.2, at=NOW - 3 * day)
    assert evaluations.quality_regression(now=NOW) is None
    store(0.1, -0.9, -0.8, at=NOW - 2.5 * day, split="time")
    assert evaluations.quality_regression(now=NOW) is None
    store(0.5, -0.6, -0.3, at=NOW - 2 * day)
    assert evaluations.quality_regression(now=NOW) == 0
    store(0.2, -0.9, -0.7, at=NOW - day)
    assert evaluations.quality_regression(now=NOW) == pytest.approx(0.1)
    store(0.9, 0, 0, at=NOW, peer="")
    assert evaluations.quality_regression(now=NOW) is None


# The maintenance task


@pytest.fixture
def evaluate_with(monkeypatch):
    """Return a function that runs the task with a line of Python instead of the command."""

    def run(code):
        monkeypatch.setattr(maintenance, "EVALUATE_COMMAND", (sys.executable, "-c", code))
        return monitoring_maintenance.run_maintenance_task(name="evaluate", now=NOW, interval=timedelta(days=1))

    return run


def test_the_nightly_task_reports_the_stored_score(evaluate_with):
    store(0.6, -0.4, -0.2, at=NOW)
    run = evaluate_with("")
    assert (run.rows, run.note) == (10, "quality score 0.60")


def test_the_nightly_task_says_if_there_is_no_peer(evaluate_with):
    store(0.6, -0.4, -0.2, at=NOW, peer="")
    assert evaluate_with("").note == "no peers"


def test_a_new_platform_has_nothing_to_evaluate_and_that_is_no_failure(evaluate_with):
    code = f"import sys; sys.stderr.write('There is no case.'); sys.exit({evaluations.NOTHING_TO_EVALUATE})"
    run = evaluate_with(code)
    assert (run.outcome, run.rows, run.note) == ("done", 0, "There is no case.")


def test_a_failed_evaluation_is_a_failed_run(evaluate_with):
    with pytest.raises(maintenance.EvaluationError, match="the reason"):
        evaluate_with("raise SystemExit('the reason')")


def test_a_failure_without_a_message_is_a_failed_run(evaluate_with):
    with pytest.raises(maintenance.EvaluationError):
        evaluate_with("raise SystemExit(1)")


def test_server_processes_load_neither_scipy_nor_the_evaluation():
    code = (
        "import sys, recsys_project.wsgi, recsys_project.celery, recommendations.tasks, recommendations.admin\n"
        "print(*sorted({'scipy', 'recommendations.evaluation'} & {*sys.modules}))"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "recsys_project.settings"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_the_arguments_of_the_nightly_task_are_those_of_the_command():
    with pytest.raises(CommandError, match="There are no interactions"):
        run_evaluate(*maintenance.EVALUATE_COMMAND[3:])
