"""The members and posts of data files: films of MovieLens, articles of citeulike-a, and posts known by id only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from recommendations.evaluation.interactions import Interactions
from recommendations.evaluation.read_files import (
    NO_GENRES,
    find_file,
    read_lines,
    read_number_lists,
    read_table,
)
from recommendations.services.content.films import Film
from recommendations.services.evaluating.platform import Platform, Row

MOVIELENS_FILM_COLUMNS = (("movieId", "title", "genres"), ("film", "title", "genres"))
"""Post, title and genres: as MovieLens names them, and as the sample of this repository does."""
YEAR = re.compile(r"\s*\((\d{4})\)\s*$")


def build_movielens_platform(folder: Path, films: Interactions) -> Platform:
    """
    Return the films and members of a MovieLens folder as `manage.py import_sample movielens` imports them.

    Reads movies.csv, or films.csv.gz of the sample. Raises `DataError`.
    """
    known = read_films(folder)
    posts = [build_film_row(known.get(id, Film(id, "", "", ()))) for id in films.post_ids]
    return Platform(
        members=[{"languages": ["en"]}] * len(films.member_ids),
        posts=posts,
        others={str(row["author_id"]): {"languages": ["en"]} for row in posts},
    )


def read_films(folder: Path) -> dict[str, Film]:
    """Return the films of a MovieLens folder by id. A year is in its own column, or ends the title."""
    films = {}
    for row, (post, title, genres) in read_table(find_file(folder, "movies.csv", "films.csv"), MOVIELENS_FILM_COLUMNS):
        text, names = row.values[title].strip(), row.values[genres].strip()
        year = YEAR.search(text)
        film_year = row.values.get("year") or (year[1] if year else "")
        split = () if names == NO_GENRES else tuple(filter(None, names.split("|")))
        films[row.read_id(post)] = Film(row.values[post].strip(), YEAR.sub("", text), film_year, split)
    return films


def build_film_row(film: Film) -> Row:
    """Return the fields of the film's post."""
    return {"author_id": film.studio_id, "text": film.text, "tags": film.tags, "kind": "film", "language": "en"}


def build_articles_platform(folder: Path, articles: Interactions) -> Platform:
    """
    Return the articles of a folder with citeulike-a. The text of an article is its tags.

    Reads item-tag.dat, and tags.dat for the names of the tags; without them, articles have no text. Raises `DataError`.
    """
    tag_file, names_file = folder / "item-tag.dat", folder / "tags.dat"
    if not (tag_file.is_file() and names_file.is_file()):
        return build_plain_platform(articles)
    names = [line.strip() for line in read_lines(names_file)]
    texts = {
        str(article): " ".join(names[tag] for tag in tags if tag < len(names))
        for article, tags in enumerate(read_number_lists(tag_file))
    }
    return build_plain_platform(articles, texts)


def build_plain_platform(interactions: Interactions, texts: Mapping[str, str] | None = None) -> Platform:
    """
    Return a platform of whose posts only the *texts* are known, by id.

    Every post has an author of its own: slates cap the posts of an author, and the authors are unknown.
    """
    authors = [f"author:{index}" for index in range(len(interactions.post_ids))]
    posts: Sequence[Row] = [
        {"author_id": author, "text": (texts or {}).get(id, "")}
        for author, id in zip(authors, interactions.post_ids, strict=True)
    ]
    return Platform(members=[{}] * len(interactions.member_ids), posts=posts, others={author: {} for author in authors})
