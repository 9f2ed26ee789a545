"""Import of files: each good row is imported once, each bad row is listed, and no row stops the import."""

import csv
import json
from datetime import UTC, datetime, timedelta

import pytest

from recommendations.contracts import Sensitivity, Visibility
from recommendations.models import (
    ImportCheckpoint,
    Interaction,
    Member,
    Post,
    PostEmbedding,
    PrivacySettings,
    Relationship,
)
from recommendations.services.content import import_file as service
from recommendations.services.content.import_file import import_file
from recommendations.services.content.importing.problems import ImportFileError

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
WHEN = "2026-05-31T18:30:00Z"


@pytest.fixture
def load(tmp_path):
    """Write a file and import it; return the summary and the rows of the errors file."""

    def load(kind, content, name="data.csv", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        summary = import_file(kind=kind, path=path, now=NOW, progress=lambda done, total: None, **options)
        return summary, read_errors(summary.errors_path)

    return load


def read_errors(path):
    if path is None:
        return []
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            return [{**row, "line": int(row["line"])} for row in csv.DictReader(file)]
        return [json.loads(line) for line in file]


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows) + "\n"


@pytest.fixture
def ann_and_bob():
    for name in ("ann", "bob"):
        member = Member.objects.create(external_id=name, created_at=NOW, changed_at=NOW)
        PrivacySettings.objects.create(member=member, changed_at=NOW)


@pytest.fixture
def first_post(ann_and_bob):
    author = Member.objects.get(external_id="ann")
    return Post.objects.create(external_id="p1", author=author, text="hello", created_at=NOW, changed_at=NOW)


# --- good files


def test_members_are_imported_from_csv_with_their_privacy(load):
    summary, _ = load(
        "members",
        "id,is_private,languages,birth_year,is_adult,sensitivity,muted_tags,interest_tags\n"
        "ann,true,en|pt-BR,1990,yes,sensitive,war|horror,art|bread\n"
        "bob,false,,,,,,\n",
    )
    assert (summary.created, summary.rejected, summary.errors_path) == (2, 0, None)
    ann, bob = Member.objects.select_related("privacy").order_by("external_id")
    assert (ann.languages, ann.birth_year, ann.is_adult) == (["en", "pt-BR"], 1990, True)
    assert (ann.privacy.is_private, ann.privacy.sensitivity) == (True, Sensitivity.SENSITIVE)
    assert (ann.privacy.muted_tags, ann.privacy.interest_tags) == (["war", "horror"], ["art", "bread"])
    assert (bob.languages, bob.birth_year, bob.is_adult, bob.privacy.is_private) == ([], None, None, False)


def test_posts_are_imported_from_jsonl(load, ann_and_bob):
    post = {
        "id": 17, "author_id": "ann", "visibility": "followers", "created_at": WHEN,
        "text": "Hi\nthere",
        "tags": ["a", "b", "a"], "language": "en", "kind": "image", "safety_labels": {"nudity": 0.9},
        "media": [{"kind": "image", "url": "https://example.org/1.jpg", "alt": "A cat"}],
    }  # fmt: skip
    summary, errors = load("posts", lines(post), "posts.jsonl")
    assert (summary.created, errors) == (1, [])
    row = Post.objects.get(external_id="17")
    assert (row.text, row.tags, row.visibility) == ("Hi\nthere", ["a", "b"], Visibility.FOLLOWERS)
    assert row.sensitivity == Sensitivity.ADULT
    assert row.media == [{"kind": "image", "url": "https://example.org/1.jpg", "alt": "A cat"}]
    assert row.created_at == datetime(2026, 5, 31, 18, 30, tzinfo=UTC)


def test_lists_and_media_of_posts_are_imported_from_csv(load, ann_and_bob):
    media = [{"kind": "image", "url": "https://example.org/1.jpg"}]
    cell = json.dumps(media).replace('"', '""')
    summary, errors = load(
        "posts",
        "id,author_id,visibility,created_at,tags,safety_labels,media\n"
        f'p1,ann,public,{WHEN},a|b|a,nudity:0.9|violence:0.1,"{cell}"\n',
    )
    assert (summary.created, errors) == (1, [])
    row = Post.objects.get()
    assert (row.tags, row.safety_labels) == (["a", "b"], {"nudity": 0.9, "violence": 0.1})
    assert row.media == [media[0] | {"alt": ""}]


def test_interactions_and_relationships_are_imported(load, first_post):
    request_id = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
    summary, _ = load(
        "interactions",
        "event_id,member_id,post_id,kind,occurred_at,value,request_id\n"
        f"e1,bob,p1,dwell,{WHEN},12.5,{request_id}\n"
        f"e2,bob,p1,like,{int(NOW.timestamp()) - 60},,\n",
    )
    assert summary.created == 2
    dwell, like = Interaction.objects.order_by("event_id")
    assert (dwell.value, str(dwell.request_id), dwell.received_at) == (12.5, request_id, NOW)
    assert (like.kind, like.value, like.occurred_at) == ("like", None, NOW - timedelta(seconds=60))
    summary, _ = load("relationships", "source_id,target_id,kind\nann,bob,\nbob,ann,mute\n", "relationships.csv")
    assert summary.created == 2
    assert sorted(Relationship.objects.values_list("kind", flat=True)) == ["follow", "mute"]


@pytest.mark.parametrize("lines", ["ann,bob,follow\nbob,ann,block\n", "bob,ann,block\nann,bob,follow\n"])
def test_a_follow_in_a_file_with_a_block_ends_with_the_block(load, first_post, lines):
    summary, _ = load("relationships", f"source_id,target_id,kind\n{lines}", "relationships.csv")
    assert (summary.created, summary.unchanged, summary.rejected) == (1, 1, 0)
    assert list(Relationship.objects.values_list("kind", flat=True)) == ["block"]
    load("relationships", "source_id,target_id\nann,bob\n", "later.csv")
    assert list(Relationship.objects.values_list("kind", flat=True)) == ["block"]


@pytest.mark.parametrize(
    "text",
    [
        "👩‍👩‍👧‍👦 🎬",
        "فيلم رائع‏ abc",
        'quotes " and, commas',
        "line\nbreak\r\nand tab\t",
        "七人の侍",
        "x" * 1_000_000,
        "🦊 " * 250_000,
    ],
    ids=["emoji", "right to left", "quotes", "line breaks", "japanese", "a megabyte", "a megabyte of emoji"],
)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_text_is_imported_unchanged(load, ann_and_bob, tmp_path, text, form):
    row = {"id": "p", "author_id": "ann", "visibility": "public", "created_at": WHEN, "text": text}
    content = lines(row)
    if form == "csv":
        with (tmp_path / "row.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, row, lineterminator="\r\n")
            writer.writeheader()
            writer.writerow(row)
        content = (tmp_path / "row.csv").read_bytes()
    _, errors = load("posts", content, f"posts.{form}")
    assert errors == []
    assert Post.objects.get().text == text


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_byte_order_mark_is_not_part_of_the_first_column(load, form):
    content = "id,is_private\nann,no\n" if form == "csv" else lines({"id": "ann", "is_private": False})
    summary, errors = load("members", "\ufeff" + content, f"m.{form}")
    assert (summary.created, errors) == (1, [])


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_empty_lines_are_skipped(load, form):
    header, row = ("id,is_private\n", "ann,no\n") if form == "csv" else ("", lines({"id": "ann", "is_private": False}))
    summary, errors = load("members", f"{header}\n{row}\n\n", f"m.{form}")
    assert (summary.created, errors) == (1, [])


# --- repeated imports


def test_a_file_with_the_same_content_is_already_imported(load):
    content = "id,is_private\nann,no\n"
    load("members", content)
    summary, _ = load("members", content, "renamed.csv")
    assert summary.is_already_imported
    assert Member.objects.count() == 1


def test_a_restarted_import_adds_nothing(load, first_post):
    content = f"member_id,post_id,kind,occurred_at\nbob,p1,like,{WHEN}\nbob,p1,view,{WHEN}\n"
    assert load("interactions", content)[0].created == 2
    summary, _ = load("interactions", content, restart=True)
    assert (summary.created, summary.unchanged) == (0, 2), "an event without an id is identified by its values"
    assert Interaction.objects.count() == 2


def test_a_changed_file_updates_only_the_changed_rows(load):
    load("members", "id,is_private,region\nann,no,DE\nbob,no,FR\n")
    Member.objects.update(changed_at=NOW - timedelta(days=1))
    summary, _ = load("members", "id,is_private\nann,yes\nbob,no\n")
    assert (summary.created, summary.updated, summary.unchanged) == (0, 1, 1)
    ann, bob = Member.objects.select_related("privacy").order_by("external_id")
    assert (ann.privacy.is_private, ann.privacy.changed_at) == (True, NOW)
    assert (bob.region, bob.changed_at) == ("FR", NOW - timedelta(days=1))


def test_a_member_without_settings_gets_those_of_the_row(load):
    ann = Member.objects.create(external_id="ann", created_at=NOW, changed_at=NOW)
    summary, _ = load("members", "id,is_private\nann,yes\n")
    assert (summary.created, summary.updated) == (0, 1)
    assert PrivacySettings.objects.get(member=ann).is_private


def test_a_reworded_post_loses_the_vectors_of_its_old_text(load, first_post):
    for embedding_model in ("one", "two"):
        PostEmbedding.objects.create(
            post=first_post, embedding_model=embedding_model, dimension=8, vector=b"", changed_at=NOW
        )
    row = {"id": "p1", "author_id": "ann", "visibility": "public", "created_at": WHEN, "text": "hello"}
    load("posts", lines(row), "a.jsonl")
    assert PostEmbedding.objects.count() == 2, "the text is unchanged"
    load("posts", lines({**row, "text": "goodbye"}), "b.jsonl")
    assert PostEmbedding.objects.count() == 0


def test_a_file_with_unknown_members_is_imported_again_after_they_are_added(load, first_post):
    content = f"member_id,post_id,kind,occurred_at\ncarol,p1,like,{WHEN}\nbob,p1,like,{WHEN}\n"
    summary, errors = load("interactions", content)
    assert (summary.created, summary.rejected) == (1, 1)
    assert "'carol' is not known" in errors[0]["problem"] and "members first" in errors[0]["advice"]
    load("members", "id,is_private\ncarol,no\n", "members.csv")
    summary, errors = load("interactions", content)
    assert (summary.created, summary.unchanged, summary.rejected, errors) == (1, 1, 0, [])
    assert load("interactions", content)[0].is_already_imported


def test_two_rows_with_one_id_are_one_member(load):
    summary, _ = load("members", "id,is_private,region\nann,no,DE\nann,yes,\n")
    assert (summary.created, summary.unchanged) == (1, 1)
    ann = Member.objects.get()
    assert (ann.region, ann.privacy.is_private) == ("DE", True), "the later row overrides the fields that it gives"


# --- killed imports


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("written_chunks", [0, 1, 2, 3])
def test_a_killed_import_resumes_and_ends_like_an_undisturbed_import(load, monkeypatch, written_chunks, form):
    monkeypatch.setattr(service, "CHUNK_ROWS", 3)
    names = [f"name {n} – é" if n % 4 else "" for n in range(11)]
    if form == "csv":
        content = "id,is_private\n" + "".join(f'"{name}",no\n' for name in names)
    else:
        content = lines(*({"id": name, "is_private": False} for name in names))
    with monkeypatch.context() as patch:
        chunks = []

        def kill(kind, rows, now, write=service.write_rows):
            if len(chunks) == written_chunks:
                raise KilledError
            chunks.append(rows)
            return write(kind, rows, now)

        patch.setattr(service, "write_rows", kill)
        with pytest.raises(KilledError):
            load("members", content, f"m.{form}")
    summary, errors = load("members", content, f"m.{form}")
    assert (summary.resumed_at_line > 1) == (written_chunks > 0)
    assert (summary.created, summary.rejected) == (8, 3)
    assert Member.objects.count() == PrivacySettings.objects.count() == 8
    header = 1 if form == "csv" else 0
    assert [e["line"] for e in errors] == [header + 1, header + 5, header + 9], "each bad row is listed once"


def test_a_dry_run_validates_rows_and_writes_nothing(load):
    summary, errors = load("members", "id,is_private\nann,no\nbob,perhaps\n", dry_run=True)
    assert (summary.created, summary.rejected) == (1, 1)
    assert errors[0]["field"] == "is_private"
    assert not Member.objects.exists() and not ImportCheckpoint.objects.exists()


# --- bad rows: (kind, row, field, part of the problem)

BAD_ROWS = [
    ("members", {"id": "", "is_private": True}, "id", "is not an id"),
    ("members", {"id": "x" * 129, "is_private": True}, "id", "has 129 characters"),
    ("members", {"id": "a\u202eb", "is_private": True}, "id", "is not an id"),
    ("members", {"id": ["a"], "is_private": True}, "id", "is not an id"),
    ("members", {"id": "a"}, "is_private", "is missing"),
    ("members", {"id": "a", "is_private": None}, "is_private", "is missing"),
    ("members", {"id": "a", "is_private": "maybe"}, "is_private", "neither true nor false"),
    ("members", {"id": "a", "is_private": True, "birth_year": 3000}, "birth_year", "cannot be used"),
    ("members", {"id": "a", "is_private": True, "birth_year": True}, "birth_year", "is not a number"),
    (
        "members",
        {"id": "a", "is_private": True, "birth_year": 10**400},
        "birth_year",
        "cannot be used",
    ),
    (
        "members",
        {"id": "a", "is_private": True, "languages": ["English!"]},
        "languages",
        "not a language",
    ),
    ("members", {"id": "a", "is_private": True, "name": "Ann"}, "name", "is not known"),
    ("posts", {"text": "a\x00b"}, "text", "NUL"),
    ("posts", {"text": "a\ud800b"}, "text", "half of a surrogate pair"),
    ("posts", {"text": "x" * 1_048_577}, "text", "1,048,577 characters"),
    ("posts", {"text": 5}, "text", "is not a text"),
    ("posts", {"author_id": "nobody"}, "author_id", "'nobody' is not known"),
    ("posts", {"visibility": "secret"}, "visibility", "is not known"),
    ("posts", {"visibility": None}, "visibility", "is missing"),
    ("posts", {"safety_labels": {"nudity": 1.5}}, "safety_labels", "cannot be used"),
    ("posts", {"safety_labels": ["nudity"]}, "safety_labels", "not an object of up to 100 scores"),
    ("posts", {"safety_labels": "nudity"}, "safety_labels", "not an object of up to 100 scores"),
    ("posts", {"kind": "two words"}, "kind", "cannot be used"),
    ("posts", {"media": [{"kind": "image", "url": "javascript:alert(1)"}]}, "media", "is not a URL"),
    ("posts", {"media": [{"kind": "image", "url": "//example.org/1.jpg"}]}, "media", "is not a URL"),
    ("posts", {"media": [{"kind": "image", "url": "/\\\\example.org/1.jpg"}]}, "media", "is not a URL"),
    ("posts", {"media": [{"kind": "image", "url": "/a b.jpg"}]}, "media", "is not a URL"),
    ("posts", {"media": "[{"}, "media", "not a list of up to 20 media"),
    ("posts", {"media": [{"kind": "image", "url": "https://example.org/1.jpg"}] * 21}, "media", "not a list of up to"),
    ("posts", {"media": [{"kind": "image"}]}, "media", "is not a medium"),
    ("posts", {"tags": [["deep"]]}, "tags", "is not a word"),
    ("posts", {"tags": 5}, "tags", "is not a list of up to 100"),
    ("posts", {"created_at": "2026-05-31T18:30:00"}, "created_at", "is not a time"),
    ("posts", {"created_at": "yesterday"}, "created_at", "is not a time"),
    ("posts", {"created_at": "0001-01-01T00:00:00+23:00"}, "created_at", "is not a time"),
    ("posts", {"created_at": "1950-01-01T00:00:00Z"}, "created_at", "is not a time"),
    ("posts", {"created_at": 1780000000000000}, "created_at", "is not a time"),
    ("posts", {"created_at": "2026-06-01T12:06:00Z"}, "created_at", "0:06:00 in the future"),
    ("posts", {"created_at": "2099-01-01T00:00:00Z"}, "created_at", "in the future"),
    ("interactions", {"member_id": "nobody"}, "member_id", "is not known"),
    ("interactions", {"post_id": "nothing"}, "post_id", "is not known"),
    ("interactions", {"kind": "adore"}, "kind", "is not known"),
    ("interactions", {"value": "NaN"}, "value", "is not a number"),
    ("interactions", {"request_id": "7"}, "request_id", "is not a UUID"),
    ("interactions", {"occurred_at": "2026-06-01T13:00:00Z"}, "occurred_at", "1:00:00 in the future"),
    ("relationships", {"target_id": "ann"}, "target_id", "is the same member as source_id"),
    ("relationships", {"kind": "love"}, "kind", "is not known"),
    ("relationships", {"target_id": "nobody"}, "target_id", "is not known"),
]
GOOD = {
    "members": {},
    "posts": {"id": "new", "author_id": "ann", "visibility": "public", "created_at": WHEN},
    "interactions": {"member_id": "ann", "post_id": "p1", "kind": "like", "occurred_at": WHEN},
    "relationships": {"source_id": "ann", "target_id": "bob"},
}
GOOD_NEXT = {
    "members": {"id": "next", "is_private": True},
    "posts": {**GOOD["posts"], "id": "next"},
    "interactions": {**GOOD["interactions"], "member_id": "bob"},
    "relationships": {"source_id": "bob", "target_id": "ann"},
}


@pytest.mark.parametrize("kind, row, field, problem", BAD_ROWS, ids=[f"{k} {f} {p}" for k, _, f, p in BAD_ROWS])
def test_a_bad_row_is_listed_and_the_next_row_is_imported(load, first_post, kind, row, field, problem):
    summary, errors = load(kind, lines({**GOOD[kind], **row}, GOOD_NEXT[kind]), "rows.jsonl")
    assert (summary.created, summary.rejected) == (1, 1)
    assert (errors[0]["line"], errors[0]["field"]) == (1, field)
    assert problem in errors[0]["problem"]
    assert errors[0]["advice"]
    assert len(errors[0]["problem"]) < 200, "a megabyte in a row does not fill the errors file"


def test_a_time_up_to_five_minutes_ahead_is_accepted(load, first_post):
    ahead = (NOW + timedelta(minutes=4, seconds=59)).isoformat()
    assert load("interactions", lines({**GOOD["interactions"], "occurred_at": ahead}), "i.jsonl")[0].created == 1


@pytest.mark.parametrize(
    "line, problem",
    [
        (b"{", "is not JSON"),
        (b'{"a": NaN}', "not JSON compliant: NaN"),
        (b"[1]", "is not an object"),
        (b'"text"', "is not an object"),
        (b"[" * 100_000, "is not JSON"),
        (b"\xff\xfe{}", "is not UTF-8"),
        (b'{"id": "' + b"9" * 9_000_000 + b'"}', "is longer than"),
        (b"9" * 5_000, "is not an object"),
    ],
    ids=["cut off", "NaN", "array", "string", "deep", "not UTF-8", "9 MB", "huge number"],
)
def test_a_broken_json_line_affects_no_other_line(load, line, problem):
    good = lines({"id": "ann", "is_private": True}).encode()
    after = lines({"id": "bob", "is_private": True}).encode()
    summary, errors = load("members", good + line + b"\n" + after, "m.jsonl")
    assert summary.created == 2
    assert [error["line"] for error in errors] == [2]
    assert problem in errors[0]["problem"]


@pytest.mark.parametrize(
    "line, problem",
    [
        (b"only one cell", "has 1 cells"),
        (b"a,no,more", "has 3 cells"),
        (b'"never closed,no', "has 1 cells"),
        (b'"a"b,no', "is not CSV"),
        (b"\xe9t\xe9,no", "is not UTF-8"),
        (b"x" * 9_000_000 + b",no", "is longer than"),
    ],
    ids=["too few", "too many", "open quote", "text after quote", "latin-1", "9 MB"],
)
def test_a_broken_csv_line_affects_no_other_line(load, line, problem):
    content = b"id,is_private\nann,no\n" + line + b'\nbob,no\n"car,ol",yes\n'
    summary, errors = load("members", content)
    assert set(Member.objects.values_list("external_id", flat=True)) == {"ann", "bob", "car,ol"}
    assert [error["line"] for error in errors] == [3]
    assert problem in errors[0]["problem"] or "is not CSV" in errors[0]["problem"]
    assert summary.created == 3


# --- bad files


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "id\nann\n", "missing: 'is_private'"),
        ("a.csv", "id,is_private,nick\nann,no,a\n", "unknown: 'nick'"),
        ("a.csv", "id,is_private,is_private\nann,no,no\n", "repeated: 'is_private'"),
        ("a.csv", b"\xff\xfee\x00", "is UTF-16"),
        ("a.csv", '"id"x,is_private\n', "is not a CSV header"),
        ("a.txt", "id,is_private\n", "must end in .csv"),
    ],
)
def test_an_unusable_file_is_rejected_with_the_reason(load, name, content, message):
    with pytest.raises(ImportFileError, match=message):
        load("members", content, name)
    assert not ImportCheckpoint.objects.exists()


def test_a_missing_file_and_a_folder_are_rejected(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ImportFileError):
            import_file(kind="members", path=path, now=NOW, progress=lambda done, total: None)


def test_an_empty_jsonl_file_imports_nothing(load):
    summary, errors = load("members", "", "m.jsonl")
    assert (summary.created, errors) == (0, [])


def test_progress_ends_at_the_size_of_the_file(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("id,is_private\nann,no\n")
    calls = []
    import_file(kind="members", path=path, now=NOW, progress=lambda *call: calls.append(call))
    assert calls[-1] == (path.stat().st_size, path.stat().st_size)


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_commas_semicolons_and_tabs_separate_columns(load, separator, quote):
    rows = [["id", "is_private", "languages"], ["ann", "no", "en|pt-br"], ["bob", "yes", ""]]
    lines = [separator.join(f"{quote}{cell}{quote}" for cell in row) for row in rows]
    summary, errors = load("members", "\n".join(lines), "m.csv")
    assert (summary.created, errors) == (2, [])
    assert Member.objects.get(external_id="ann").languages == ["en", "pt-BR"]


def test_an_unknown_column_is_answered_with_the_nearest_one(load):
    with pytest.raises(ImportFileError, match=r"unknown: 'is_privat'.*Did you mean is_private\?"):
        load("members", "id,is_private,is_privat\nann,no,no\n", "m.csv")
