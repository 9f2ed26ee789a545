"""The commands that import and embed data: their output and errors."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from recommendations.models import Member, Post, PostEmbedding
from recommendations.services.content import import_file, import_movielens
from recommendations.services.wiring import embedder

pytestmark = pytest.mark.django_db


def run(*arguments):
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def members(tmp_path):
    path = tmp_path / "members.csv"
    path.write_text("id,is_private\nann,no\nbob,perhaps\n")
    return path


def test_import_data_prints_a_summary_and_the_errors_file(members):
    output = run("import_data", "members", str(members))
    assert "1 created, 0 updated, 0 unchanged, 1 rejected." in output
    assert str(members.with_name("members.errors.csv")) in output


def test_import_data_reports_an_already_imported_file(members):
    members.write_text("id,is_private\nann,no\n")
    run("import_data", "members", str(members))
    assert "This file is already imported." in run("import_data", "members", str(members))
    assert "1 unchanged" in run("import_data", "members", str(members), "--from-start")


def test_a_dry_run_writes_nothing(members):
    assert "Dry run, nothing imported: 1 created" in run("import_data", "members", str(members), "--dry-run")
    assert not Member.objects.exists()


def test_import_data_names_the_line_at_which_an_interrupted_run_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(import_file, "CHUNK_ROWS", 1)
    path = tmp_path / "members.csv"
    path.write_text("id,is_private\nann,no\nbob,yes\n")
    real_write, written = import_file.write_rows, []

    def write_one_chunk(*args):
        if written:
            raise KeyboardInterrupt
        written.append(args)
        return real_write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(import_file, "write_rows", write_one_chunk)
        with pytest.raises(KeyboardInterrupt):
            run("import_data", "members", str(path))
    assert run("import_data", "members", str(path)) == (
        "Resumed at line 3, after an interrupted run.\n2 created, 0 updated, 0 unchanged, 0 rejected.\n"
    )


def test_import_sample_names_a_missing_file(tmp_path, monkeypatch):
    monkeypatch.setitem(import_movielens.import_movielens.__kwdefaults__, "folder", tmp_path)
    with pytest.raises(CommandError, match=r"films\.csv\.gz is missing"):
        run("import_sample", "movielens")


def test_import_data_rejects_an_unknown_kind_and_a_missing_file(tmp_path):
    with pytest.raises(CommandError, match="invalid choice"):
        run("import_data", "films", "x.csv")
    with pytest.raises(CommandError, match=r"none\.csv: cannot be read"):
        run("import_data", "members", str(tmp_path / "none.csv"))


def test_the_help_lists_the_fields_of_every_kind(capsys):
    with pytest.raises(SystemExit):
        call_command("import_data", "--help")
    output = capsys.readouterr().out
    for text in (" id*", "visibility*", "occurred_at*", "source_id*"):
        assert text in output


def test_two_commands_import_and_embed_movielens():
    assert "671 members" in run("import_sample", "movielens")
    assert "Created 0 members" in run("import_sample", "movielens")
    assert f"Embedded 9,066 posts with {embedder().name}." in run("embed")
    assert PostEmbedding.objects.count() == Post.objects.count() == 9_066
    assert "Embedded 0 posts" in run("embed")


def test_rejected_rows_are_written_where_the_option_says(members, tmp_path):
    errors = tmp_path / "elsewhere.csv"
    assert str(errors) in run("import_data", "members", str(members), "--errors", str(errors))
    assert "bob" in errors.read_text() or errors.read_text().startswith("line,field")


def test_an_errors_file_that_cannot_be_written_stops_the_import_with_a_message(members, tmp_path):
    with pytest.raises(CommandError, match=r"cannot be written there .*--errors PATH"):
        run("import_data", "members", str(members), "--errors", str(tmp_path / "nowhere" / "errors.csv"))
    assert not Member.objects.exists()


def test_a_file_without_bad_rows_needs_no_errors_file(tmp_path):
    path = tmp_path / "members.csv"
    path.write_text("id,is_private\nann,no\n")
    output = run("import_data", "members", str(path), "--errors", str(tmp_path / "nowhere" / "errors.csv"))
    assert "1 created" in output
