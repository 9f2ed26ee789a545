"""Likes exported as Parquet, and a training on Spark that gives the same results as on one machine."""

import json
import os
import shutil
import stat
import subprocess
from dataclasses import asdict
from io import StringIO

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from pyarrow import parquet

from recommendations.collaborative.pair_counts import add_counts, count_pairs
from recommendations.management.commands import export_likes as command
from recommendations.models import Post, ReactionHistory
from recommendations.services.training import export_likes
from recommendations.training.item_weights import ItemWeightSettings, train_item_weights
from recommendations.training.likes import Likes
from tests import factories
from tests.factories import NOW
from tests.servers import ROOT, skip_or_fail

pytestmark = pytest.mark.django_db
SPARK_PYTHON = ROOT / "var" / "spark" / "bin" / "python"


def store_history(*signed_ids, times=None):
    """Store the reactions of a new member, at the times 1, 2, 3 …; return the member's id."""
    member = factories.member()
    reactions, times = np.array(signed_ids, "<i8"), np.array(times or range(1, len(signed_ids) + 1), "<f8")
    ReactionHistory.objects.create(member=member, reactions=reactions.tobytes(), reacted_at=times.tobytes())
    return member.pk


@pytest.fixture
def posts():
    """Return the ids of four posts."""
    author = factories.member()
    return [factories.post(author).pk for _ in range(4)]


def run(file):
    """Run the command; return what it wrote."""
    output = StringIO()
    call_command("export_likes", str(file), stdout=output)
    return output.getvalue()


def test_the_file_has_each_like_of_a_post_that_still_exists(posts, tmp_path, monkeypatch):
    monkeypatch.setattr(export_likes, "MEMBERS_PER_GROUP", 2)
    one, two, three = (
        store_history(posts[0], -posts[1], posts[2]),
        store_history(posts[2], posts[3], times=[7.5, 8]),
        store_history(posts[1]),
    )
    Post.objects.filter(pk=posts[3]).update(removed_at=NOW)
    assert run(tmp_path / "likes.parquet").startswith("4 likes written")
    table = parquet.read_table(tmp_path / "likes.parquet")
    assert list(zip(*table.to_pydict().values(), strict=True)) == [
        (one, posts[0], 1.0),
        (one, posts[2], 3.0),
        (two, posts[2], 7.5),
        (three, posts[1], 1.0),
    ]


def test_the_file_of_a_platform_without_likes_is_empty(tmp_path):
    assert run(tmp_path / "likes.parquet").startswith("0 likes written")
    assert len(parquet.read_table(tmp_path / "likes.parquet")) == 0


def test_only_the_owner_may_read_the_file(posts, tmp_path):
    store_history(posts[0])
    run(tmp_path / "likes.parquet")
    assert stat.S_IMODE((tmp_path / "likes.parquet").stat().st_mode) == 0o600


def test_an_export_that_fails_leaves_the_earlier_file(posts, tmp_path, monkeypatch):
    store_history(posts[0])
    run(tmp_path / "likes.parquet")

    def fail(rows, post_ids):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export_likes, "build_table", fail)
    with pytest.raises(CommandError, match="No space left"):
        run(tmp_path / "likes.parquet")
    assert len(parquet.read_table(tmp_path / "likes.parquet")) == 1


def test_the_command_names_the_package_that_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "export_likes", None)
    with pytest.raises(CommandError, match="pip install pyarrow"):
        run(tmp_path / "likes.parquet")


@pytest.mark.nightly
def test_spark_counts_and_trains_as_one_machine_does(tmp_path):
    """The counts are equal. The weights differ by one unit at most, where rounding differs."""
    if not SPARK_PYTHON.exists() or shutil.which("java") is None:
        skip_or_fail("Spark is not installed: `make spark`, and a Java runtime.")
    author = factories.member()
    ids = np.array([factories.post(author).pk for _ in range(120)])
    rng, histories = np.random.default_rng(0), []
    for _ in range(150):
        liked = rng.permutation(ids[(len(ids) * rng.random(rng.integers(1, 40)) ** 2).astype(int)])
        histories.append(liked[np.sort(np.unique(liked, return_index=True)[1])])
        store_history(*histories[-1].tolist())
    settings = ItemWeightSettings(max_exact=10, neighborhood=25, max_entries=20)
    (tmp_path / "settings.json").write_text(json.dumps(asdict(settings)))
    run(tmp_path / "likes.parquet")
    command = [SPARK_PYTHON, "-m", "tests.spark_training", tmp_path]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": str(SPARK_PYTHON)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=280)

    counted = json.loads((tmp_path / "co_likes.json").read_text())
    expected = add_counts(count_pairs(liked) for liked in histories)
    assert counted == {
        "source": expected.sources.tolist(),
        "target": expected.targets.tolist(),
        "together": expected.together.tolist(),
        "after": expected.after.tolist(),
    }
    trained = json.loads((tmp_path / "item_weights.json").read_text())
    columns = parquet.read_table(tmp_path / "likes.parquet").to_pydict().values()
    likes = Likes.from_columns(*(np.array(column) for column in columns))
    table = train_item_weights(likes.matrix, likes.post_ids, settings)
    sources = table.post_ids[np.repeat(np.arange(len(table.post_ids)), np.diff(table.starts))]
    assert trained["source"] == sources.tolist()
    assert trained["target"] == table.post_ids[table.targets].tolist()
    assert np.abs(np.array(trained["weight"]) - table.weights).max() <= 1
