"""An empty platform starts with a folder of files instead of the sample: CSV, JSON lines and Parquet."""

import csv
import importlib
import io
import json
import shutil
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from django.core.management import CommandError, call_command
from pyarrow import parquet

from recommendations.management.commands import prepare
from recommendations.models import Interaction, Member, Post, Relationship
from recommendations.services.content.import_file import import_file
from recommendations.services.content.importing import parquet_files
from recommendations.services.content.importing.problems import ImportFileError
from recommendations.services.learning.learn import learn_all
from tests import factories

ROOT = Path(__file__).resolve().parents[2]
PLATFORM = ROOT / "examples" / "platform"
NOW = datetime(2026, 11, 29, tzinfo=UTC)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@pytest.fixture
def steps(monkeypatch):
    """Return the commands that `prepare` runs. Only imports run."""
    commands = []

    def run_step(self, title, command, *words, **_):
        commands.append(" ".join([command, *words]) if command == "import_sample" else command)
        if command == "import_data":
            call_command(command, *words, stdout=self.stdout)

    monkeypatch.setattr(prepare.Command, "run_step", run_step)
    return commands


def prepare_database(*words):
    output = io.StringIO()
    call_command("prepare", *words, stdout=output)
    return output.getvalue()


def test_the_files_of_a_folder_are_imported_instead_of_the_sample(steps):
    """Also on a later start without the folder: the sample is for an empty database."""
    output = prepare_database("--data", str(PLATFORM))
    assert steps[2:6] == ["import_data"] * 4 and "import_sample" not in str(steps)
    assert output.count(" 0 rejected") == 4
    counts = [Member.objects.count(), Post.objects.count(), Relationship.objects.filter(kind="block").count()]
    assert counts == [24, 60, 2]
    assert Interaction.objects.count() == len((PLATFORM / "interactions.csv").read_text().splitlines()) - 1
    prepare_database()
    assert "import_sample" not in str(steps)


def test_the_example_has_three_languages_pictures_private_posts_and_blocks():
    posts = [json.loads(line) for line in (PLATFORM / "posts.jsonl").read_text().splitlines()]
    assert {post["language"] for post in posts} == {"en", "de", "es"}
    assert {post["visibility"] for post in posts} == {"public", "followers", "unlisted", "private"}
    assert all(item["alt"] for post in posts for item in post.get("media", []))
    assert any("media" in post for post in posts)


@pytest.mark.parametrize("words", [[], ["--sample", "movielens"]])
def test_an_empty_database_gets_a_sample_and_one_with_a_sample_nothing_else(steps, words):
    sample = words[-1] if words else "demo"
    prepare_database(*words)
    assert steps[2] == f"import_sample {sample}"
    factories.member(f"{sample}:1")
    prepare_database()
    prepare_database("--sample", sample)
    assert steps.count(steps[2]) == 3, "an import of the sample that was interrupted is completed"
    for other in (["--data", str(PLATFORM)], ["--sample", {"demo": "movielens", "movielens": "demo"}[sample]]):
        with pytest.raises(CommandError, match=f"the members of the sample {sample}. Run `make clean`"):
            prepare_database(*other)
    assert not Post.objects.exists()


def test_a_database_with_other_members_gets_no_sample(steps):
    factories.member("bob")
    with pytest.raises(CommandError, match="has members already"):
        prepare_database("--sample", "demo")
    prepare_database()
    assert not any("import" in step for step in steps)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has no file of members"),
        (["members.csv"], "has no file of posts: posts.csv, posts.jsonl"),
        (["members.csv", "members.parquet", "posts.csv"], "members.csv and members.parquet. Keep one"),
        (["members.txt", "posts.csv"], "has no file of members"),
    ],
)
def test_a_folder_without_members_or_posts_or_with_two_of_them_is_refused(tmp_path, files, message):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(CommandError, match=message):
        prepare.find_files(tmp_path)
    with pytest.raises(CommandError, match="is not a folder"):
        prepare.find_files(tmp_path / "missing")


def test_members_and_posts_are_enough(tmp_path):
    for name in ("posts.CSV", "members.jsonl", "notes.csv"):
        (tmp_path / name).touch()
    assert prepare.find_files(tmp_path) == {"members": tmp_path / "members.jsonl", "posts": tmp_path / "posts.CSV"}


def test_each_step_is_printed_with_its_duration(capsys):
    output = io.StringIO()
    prepare.Command(stdout=output).run_step("Checking", "check", verbosity=0)
    assert output.getvalue().startswith("Checking …\n  done in ")


def test_recommend_without_a_member_prints_the_feed_of_the_first_with_interests():
    with pytest.raises(CommandError, match="no member"):
        call_command("recommend")
    author, reader = factories.member(), factories.member()
    post = factories.post(author)
    assert recommended_member() == author.external_id
    factories.embed_all_posts()
    factories.interaction(reader, post)
    learn_all(now=factories.NOW, progress=lambda *_: None)
    assert recommended_member() == reader.external_id


def recommended_member():
    output = io.StringIO()
    call_command("recommend", "--json", stdout=output)
    return json.loads(output.getvalue())["member_id"]


def read_members(path):
    with path.open() as file:
        return [row | {"languages": row["languages"].split("|")} for row in csv.DictReader(file)]


def test_parquet_gives_the_same_rows_as_csv(tmp_path):
    """With the types of Parquet: booleans, integers, lists, times with a zone and decimals."""
    rows = read_members(PLATFORM / "members.csv")
    table = pa.table(
        {
            "id": [row["id"] for row in rows],
            "is_private": [row["is_private"] == "true" for row in rows],
            "languages": [row["languages"] for row in rows],
            "birth_year": pa.array([Decimal(row["birth_year"]) for row in rows]),
            "created_at": pa.array([datetime.fromisoformat(row["created_at"]) for row in rows]),
        }
    )
    parquet.write_table(table, tmp_path / "members.parquet")
    summary = import_file(kind="members", path=tmp_path / "members.parquet", now=NOW, progress=lambda *_: None)
    assert (summary.created, summary.rejected) == (24, 0)
    assert list(tmp_path.iterdir()) == [tmp_path / "members.parquet"]
    shutil.copy(PLATFORM / "members.csv", tmp_path)
    again = import_file(kind="members", path=tmp_path / "members.csv", now=NOW, progress=lambda *_: None)
    assert again.created == 0
    again = import_file(kind="members", path=tmp_path / "members.parquet", now=NOW, progress=lambda *_: None)
    assert again.is_already_imported


def test_a_rejected_row_of_parquet_is_listed_with_its_number(tmp_path):
    table = pa.table({"id": ["a", "b"], "is_private": [False, None]})
    parquet.write_table(table, tmp_path / "members.parquet")
    summary = import_file(kind="members", path=tmp_path / "members.parquet", now=NOW, progress=lambda *_: None)
    assert (summary.created, summary.rejected) == (1, 1)
    assert json.loads(summary.errors_path.read_text())["line"] == 2


def timestamps(unit, *values, zone="UTC"):
    return pa.array(values, pa.timestamp(unit, zone))


IN_2026 = 1_780_228_800


@pytest.mark.parametrize(
    ("columns", "rejected", "field"),
    [
        ({"created_at": timestamps("ns", IN_2026 * 10**9 + 123_456_789, None)}, [], ""),
        ({"created_at": timestamps("s", IN_2026, 10**13)}, [2], "created_at"),
        ({"created_at": timestamps("us", 2**62, IN_2026 * 10**6)}, [1], "created_at"),
        ({"created_at": timestamps("ms", IN_2026 * 1000, IN_2026, zone="Mars/Base")}, [], ""),
        ({"created_at": timestamps("ms", IN_2026 * 1000, None, zone=None)}, [1], "created_at"),
        ({"created_at": pa.array([10**7, None], pa.date32())}, [1], "created_at"),
        ({"birth_year": pa.array([1990.0, float("nan")])}, [2], ""),
        ({"birth_year": pa.array([1990, 10**12])}, [2], "birth_year"),
        ({"region": pa.array(["DE", "AT"]).dictionary_encode()}, [], ""),
        ({"languages": pa.array([["en"], [None]])}, [2], "languages"),
        ({"languages": pa.array(["en|de", None])}, [1], "languages"),
        ({"region": pa.array([None, None])}, [], ""),
    ],
)
def test_a_value_of_parquet_that_cannot_be_used_costs_its_row_only(tmp_path, columns, rejected, field):
    table = pa.table({"id": ["a", "b"], "is_private": [False, False]} | columns)
    parquet.write_table(table, tmp_path / "members.parquet")
    summary = import_file(kind="members", path=tmp_path / "members.parquet", now=NOW, progress=lambda *_: None)
    errors = [] if summary.errors_path is None else map(json.loads, summary.errors_path.read_text().splitlines())
    assert [(row["line"], row["field"]) for row in errors] == [(line, field) for line in rejected]
    assert set(Member.objects.values_list("external_id", flat=True)) == {"a", "b"} - {"-ab"[line] for line in rejected}


def test_the_rejected_rows_of_parquet_go_where_they_may_be_written(tmp_path):
    """Files beside the imported one, whose folder may be read-only, stay as they are."""
    parquet.write_table(pa.table({"id": ["a", ""], "is_private": [False, False]}), tmp_path / "members.parquet")
    (tmp_path / "members.parquet.jsonl").write_text("mine")
    before = sorted(path.name for path in tmp_path.iterdir())
    (tmp_path / "elsewhere").mkdir()
    errors = tmp_path / "elsewhere" / "rejected.jsonl"
    paths = {"path": tmp_path / "members.parquet", "errors_path": errors}
    summary = import_file(kind="members", **paths, now=NOW, progress=lambda *_: None)
    assert summary.errors_path == errors and json.loads(errors.read_text())["line"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "elsewhere"])
    assert (tmp_path / "members.parquet.jsonl").read_text() == "mine"


def test_the_rejected_rows_never_replace_the_imported_file(tmp_path):
    path = tmp_path / "members.csv"
    path.write_text("id,is_private\n")
    with pytest.raises(ImportFileError, match="would replace the file"):
        import_file(kind="members", path=path, errors_path=path, now=NOW, progress=lambda *_: None)
    assert path.read_text() == "id,is_private\n"


@pytest.mark.parametrize("content", ["not Parquet", "binary ids", "repeated columns"])
def test_a_parquet_file_that_cannot_be_read_is_reported(tmp_path, content):
    path = tmp_path / "members.parquet"
    if content == "not Parquet":
        path.write_text("id,is_private\n")
    elif content == "binary ids":
        parquet.write_table(pa.table({"id": [b"\xff\x00"], "is_private": [False]}), path)
    else:
        parquet.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["id", "id"]), path)
    with pytest.raises(
        ImportFileError, match=r"members\.parquet: (cannot be read as Parquet|the columns id are repeated)"
    ):
        import_file(kind="members", path=path, now=NOW, progress=lambda *_: None)
    assert list(tmp_path.iterdir()) == [path]


def test_without_pyarrow_parquet_names_the_package(tmp_path, monkeypatch):
    """Importing the module works without the package."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    without = importlib.reload(parquet_files)
    try:
        with (
            pytest.raises(ImportFileError, match="pip install pyarrow"),
            without.converted_to_json_lines(tmp_path / "a"),
        ):
            pass
    finally:
        monkeypatch.undo()
        importlib.reload(parquet_files)
