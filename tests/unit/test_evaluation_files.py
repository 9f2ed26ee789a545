"""The readers: what they accept, and errors that name file, line, problem and fix."""

import gzip
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from recommendations.contracts import InteractionKind
from recommendations.evaluation import read_files
from recommendations.evaluation.interactions import KINDS
from recommendations.evaluation.read_files import (
    DataError,
    read_csv,
    read_lists,
    read_movielens,
    read_movielens_genres,
    read_parquet,
    read_tag_lists,
)

CSV = "member,post,kind,time\na,x,like,2026-01-01T00:00:00Z\na,y,view,1767225601\nb,x,hide,2026-01-01T01:00:02+01:00\n"


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a file and returns its path."""

    def write_file(text, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_file


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_with_any_delimiter(write, delimiter):
    data = read_csv(write(CSV.replace(",", delimiter)))
    assert (data.member_ids, data.post_ids) == (("a", "b"), ("x", "y"))
    assert [KINDS[kind].value for kind in data.kinds] == ["like", "view", "hide"]
    assert data.is_positive.tolist() == [True, False, False]
    assert (data.times - 1767225600).tolist() == [0, 1, 2]


def test_csv_with_other_columns_quotes_a_mark_and_empty_lines(write):
    text = '\ufeff"Time", Kind ,note,member,post\r\n0.5,LIKE,"a, b",m,"p ""1"""\r\n\r\n1,view,,m,q\r\n'
    data = read_csv(write(text), positive_kinds=[InteractionKind.VIEW])
    assert data.post_ids == ('p "1"', "q")
    assert data.times.tolist() == [0.5, 1]
    assert data.is_positive.tolist() == [False, True]


def test_a_compressed_file(tmp_path):
    path = tmp_path / "data.csv.gz"
    path.write_bytes(gzip.compress(CSV.encode()))
    assert len(read_csv(path)) == 3


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("", 1, "without the columns member, post, kind, time"),
        ("member,post,kind\n", 1, "'member,post,kind', without the columns"),
        ("member,post,kind,time,time\n", 1, "without the columns"),
        ("member|post|kind|time\n", 1, "a comma, a semicolon or a tab"),
        ("member,post,kind,time\na,x,like\n", 2, "3 values for 4 columns"),
        ("member,post,kind,time\n\na,x,like,1\n ,x,like,1\n", 4, "member ' ' is empty"),
        ("member,post,kind,time\na,,like,1\n", 2, "post '' is empty"),
        ("member,post,kind,time\na,x,love,1\n", 2, "kind 'love' is no kind of interaction. Give one of view, click"),
        ("member,post,kind,time\na,x,like,soon\n", 2, "time 'soon' is not a time. Give RFC 3339"),
        ("member,post,kind,time\na,x,like,nan\n", 2, "time 'nan' is not a time"),
        ("member,post,kind,time\na,x,like,2026-01-01T00:00:00\n", 2, "has no time zone. Add Z"),
        ("member,post,kind,time\na,x,like,1767225600000\n", 2, "Divide milliseconds by 1000"),
        ('member,post,kind,time\na,x,like,1\n"a"b,x,like,1\n', 3, "no CSV"),
        (b"member,post,kind,time\na,x,like,1\n\xff,x,like,1\n", 3, "not in UTF-8"),
        ("member,post,kind,time\na,x,view,1\n", None, "no positive interaction. Give interactions of the kinds like"),
        ("member,post,kind,time\n", None, "no positive interaction"),
    ],
)
def test_errors_of_csv_name_file_line_problem_and_fix(write, text, line, problem):
    path = write(text)
    with pytest.raises(DataError) as raised:
        read_csv(path)
    error = raised.value
    assert error.line == line
    assert problem in str(error)
    assert str(error) == f"{path}{f', line {line}' if line else ''}: {error.problem} {error.fix}"
    assert error.problem.endswith(".") and error.fix.endswith(".")


def test_a_file_that_cannot_be_read(tmp_path, write):
    with pytest.raises(DataError, match="cannot be read"):
        read_csv(tmp_path / "missing.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_csv(tmp_path)
    compressed = gzip.compress(CSV.encode())
    for broken in (b"plain text", compressed[:-9], compressed[:10] + b"\xff" * 20):
        with pytest.raises(DataError, match="cannot be read"):
            read_csv(write(broken, "broken.csv.gz"))


def test_movielens(write, tmp_path):
    write("userId,movieId,rating,timestamp\n1,10,4.0,7\n1,9,2.0,8\n2,9,3.5,9\n", "ratings.csv")
    write('movieId,title,genres\n9,"A, B (1999)",Comedy|Drama\n10,C,(no genres listed)\n11,D,War\n', "movies.csv")
    data = read_movielens(tmp_path)
    assert data.post_ids == ("9", "10")
    assert [KINDS[kind].value for kind in data.kinds] == ["like", "not_interested", "view"]
    assert data.is_positive.tolist() == [True, False, False]
    assert data.values.tolist() == [4, 2, 3.5]
    genres = read_movielens_genres(tmp_path, [*data.post_ids, "12"])
    assert genres.toarray().tolist() == [[1, 1], [0, 0], [0, 0]]


def test_the_columns_of_the_sample(write, tmp_path):
    write(gzip.compress(b"member,film,rating,rated_at\n1,10,4,7\n"), "ratings.csv.gz")
    write(gzip.compress(b"film,title,year,genres\n10,C,1999,\n"), "films.csv.gz")
    data = read_movielens(tmp_path)
    assert data.times.tolist() == [7]
    assert read_movielens_genres(tmp_path, data.post_ids).shape == (1, 0)


def test_errors_of_movielens(write, tmp_path):
    with pytest.raises(DataError, match=r"There is no ratings\.csv\. Give the folder that contains it"):
        read_movielens(tmp_path)
    with pytest.raises(DataError, match=r"There is no movies\.csv or films\.csv"):
        read_movielens_genres(tmp_path, [])
    write("userId,movieId,rating,timestamp\n1,10,many,7\n", "ratings.csv")
    with pytest.raises(DataError, match=r"line 2: rating 'many' is not a number"):
        read_movielens(tmp_path)


def test_lists(write):
    data = read_lists(write("2 7 3\n0\n1 3\n", "users.dat"))
    assert (data.member_ids, data.post_ids) == (("0", "2"), ("3", "7"))
    assert data.posts.tolist() == [1, 0, 0]
    assert data.is_positive.all() and not data.has_times
    tags = read_tag_lists(write("0\n0\n0\n3 5 2 5\n", "item-tag.dat"), data.post_ids)
    assert tags.toarray().tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("1 3\n2 3\n", 2, "names 2 items and has 1"),
        ("1 3\n\n", 2, "not a list of whole numbers"),
        ("1 x\n", 1, "not a list of whole numbers"),
        ("1 -1\n", 1, "not a list of whole numbers"),
        ("", None, "no positive interaction"),
    ],
)
def test_errors_of_lists(write, text, line, problem):
    with pytest.raises(DataError, match=problem) as raised:
        read_lists(write(text))
    assert raised.value.line == line


@pytest.fixture
def write_parquet(tmp_path):
    """Return a function that writes these columns into a Parquet file and returns its path."""

    def write(**columns):
        path = tmp_path / "data.parquet"
        parquet.write_table(pa.table(columns), path)
        return path

    return write


@pytest.mark.parametrize(
    "times",
    [
        pytest.param([1, 2, 4], id="whole numbers"),
        pytest.param([1.0, 2.0, 4.0], id="fractions"),
        pytest.param([datetime(1970, 1, 1, 0, 0, second, tzinfo=UTC) for second in (1, 2, 4)], id="timestamps"),
    ],
)
def test_parquet(write_parquet, times):
    path = write_parquet(member=[1, 1, 2], post=["x", "y", "x"], kind=["like", "view", "save"], time=times)
    data = read_parquet(path)
    assert data.member_ids == ("1", "2")
    assert data.times.tolist() == [1, 2, 4]
    assert data.is_positive.tolist() == [True, False, True]


def test_errors_of_parquet(write_parquet, monkeypatch, tmp_path):
    with pytest.raises(DataError, match="Columns are missing: time"):
        read_parquet(write_parquet(member=["a"], post=["x"], kind=["like"]))
    with pytest.raises(DataError, match="line 2: member '' is empty"):
        read_parquet(write_parquet(member=["a", None], post=["x", "x"], kind=["like", "like"], time=[1, 1]))
    path = tmp_path / "data.csv"
    path.write_text("member,post")
    with pytest.raises(DataError, match="cannot be read"):
        read_parquet(path)
    monkeypatch.setattr(read_files, "parquet", None)
    with pytest.raises(DataError, match=r"Parquet needs pyarrow\. Run pip install pyarrow"):
        read_parquet(path)


def test_tags_of_no_post():
    assert read_files.build_tag_matrix([]).shape == (0, 0)
    assert np.isnan(read_files.parse_number("nan") or np.nan)
