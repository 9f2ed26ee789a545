"""
Co-like counts and the item weight table on Apache Spark, for likes that exceed one machine (docs/scaling.md).

    spark-submit --py-files recommendations.zip on_spark.py LIKES FOLDER

LIKES is a Parquet file or folder with the columns `member`, `post` (whole numbers) and `time` (Unix seconds), each
member and post once: `manage.py export_likes` writes it. FOLDER gets two Parquet folders:

- `co_likes`: source, target, together, after. Equal to the counts that `services/learning/co_likes.py` keeps.
- `item_weights`: source, target, weight. Equal to the table of neighborhoods of `training/item_weights.py`, but for the
  order in which floating-point numbers are added: weights may differ by one unit.

Spark distributes the rows. The arithmetic is that of the functions which train on one machine: each executor counts the
pairs of some members, or solves the regressions of some posts, and needs this package, NumPy, SciPy and PyArrow.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as f
from scipy import sparse

from recommendations.collaborative.pair_counts import add_counts, count_pairs
from recommendations.collaborative.reactions import MAX_REACTIONS
from recommendations.training.item_weights import ItemWeightSettings, regress, to_units

PAIRS_SCHEMA = "source long, target long, together int, after int"
COMMON_SCHEMA = "source long, target long, members int"
WEIGHTS_SCHEMA = "source long, target long, weight short"

Batches = Iterator[pa.RecordBatch]


def collect_histories(likes: DataFrame) -> DataFrame:
    """Return one row per member: `posts`, the newest `MAX_REACTIONS` liked posts, oldest like first."""
    ordered = f.sort_array(f.collect_list(f.struct("time", "post")))
    newest = f.slice(f.col("likes"), f.greatest(f.lit(1), f.size("likes") - MAX_REACTIONS + 1), f.lit(MAX_REACTIONS))
    grouped = likes.groupBy("member").agg(ordered.alias("likes"))
    return grouped.select(f.transform(newest, lambda like: like["post"]).alias("posts"))


def count_co_likes(histories: DataFrame) -> DataFrame:
    """Return the counts of all members: source, target, together, after."""

    def count(batches: Batches) -> Batches:
        for batch in batches:
            pairs = add_counts(count_pairs(np.array(posts, np.int64)) for posts in batch["posts"].to_pylist())
            columns = [pairs.sources, pairs.targets, pairs.together, pairs.after]
            yield pa.RecordBatch.from_arrays(
                [pa.array(column) for column in columns], names=["source", "target", "together", "after"]
            )

    counted = histories.mapInArrow(count, PAIRS_SCHEMA).groupBy("source", "target")
    return counted.agg(f.sum("together").cast("int").alias("together"), f.sum("after").cast("int").alias("after"))


def count_common_likes(histories: DataFrame) -> DataFrame:
    """Return how many members liked each ordered pair of posts, and each post (source = target): the matrix X'X."""

    def count(batches: Batches) -> Batches:
        for batch in batches:
            rows = batch["posts"].to_pylist()
            post_ids, columns = np.unique(np.concatenate(rows).astype(np.int64), return_inverse=True)
            members = np.repeat(np.arange(len(rows)), [len(posts) for posts in rows])
            ones = np.ones(len(columns), np.int32)
            matrix = sparse.csr_matrix((ones, (members, columns)), (len(rows), len(post_ids)))
            common = (matrix.T @ matrix).tocoo()
            yield pa.RecordBatch.from_arrays(
                [pa.array(post_ids[common.row]), pa.array(post_ids[common.col]), pa.array(common.data, pa.int32())],
                names=["source", "target", "members"],
            )

    counted = histories.mapInArrow(count, COMMON_SCHEMA).groupBy("source", "target")
    return counted.agg(f.sum("members").cast("int").alias("members"))


def train_item_weights(common: DataFrame, settings: ItemWeightSettings) -> DataFrame:
    """
    Return the table of neighborhoods: source, target, weight as a whole number of `WEIGHT_UNIT`.

    *common* is the result of `count_common_likes`, which the caller should cache: it is joined with itself. Each target
    becomes one group: the counts among its neighbors and itself, which is at most `neighborhood`² rows.
    """
    neighbors = find_neighbors(common, settings.neighborhood)
    system = neighbors.unionByName(common.where("source = target").select("source", f.col("target")))
    first = system.select(f.col("target").alias("goal"), "source")
    second = system.select(f.col("target").alias("goal"), f.col("source").alias("target"))
    # Few targets have long neighborhoods of well-liked posts: a shuffled join by target spreads them evenly.
    among = first.join(second, "goal").join(common, ["source", "target"])

    def solve(key: tuple[pa.Scalar, ...], table: pa.Table) -> pa.Table:
        return solve_target(int(key[0].as_py()), table, settings)

    weights = among.groupBy("goal").applyInArrow(solve, WEIGHTS_SCHEMA)
    strongest = Window.partitionBy("source").orderBy(f.abs("weight").desc(), "target")
    ranked = weights.where("weight != 0").withColumn("place", f.row_number().over(strongest))
    return ranked.where(f.col("place") <= settings.max_entries).drop("place")


def find_neighbors(common: DataFrame, count: int) -> DataFrame:
    """Return the *count* posts (source) with the most common likes of each post (target)."""
    likes = common.where("source = target").select("source", f.col("members").alias("likes"))
    order: list[Column] = [f.col("members").desc(), f.col("likes").desc(), f.col("source")]
    strongest = Window.partitionBy("target").orderBy(*order)
    others = common.where("source != target").join(likes, "source")
    ranked = others.withColumn("place", f.row_number().over(strongest))
    return ranked.where(f.col("place") <= count).select("source", "target")


def solve_target(target: int, table: pa.Table, settings: ItemWeightSettings) -> pa.Table:
    """Return the weights of the neighbors of *target* for it. *table* has the common likes among all of them."""
    sources, targets, members = (table[name].to_numpy() for name in ("source", "target", "members"))
    post_ids = np.unique(sources)
    neighbors = post_ids[post_ids != target]
    order = np.append(neighbors, target)  # the regression is for the last post
    places = np.empty(len(order), np.int64)
    places[np.searchsorted(post_ids, order)] = np.arange(len(order))
    counts = np.zeros((len(order), len(order)))
    counts[places[np.searchsorted(post_ids, sources)], places[np.searchsorted(post_ids, targets)]] = members
    with_target = counts[:-1, -1].copy()
    units = to_units(regress(counts, settings.ridge))
    units[(units > 0) & (with_target < settings.min_members)] = 0
    return pa.table(
        {"source": neighbors, "target": np.full(len(neighbors), target), "weight": pa.array(units, pa.int16())}
    )


def run(spark: SparkSession, likes: str, folder: str, settings: ItemWeightSettings) -> None:
    """Read *likes*, and write both results into *folder*. Each replaces what an earlier run wrote."""
    histories = collect_histories(spark.read.parquet(likes)).cache()
    count_co_likes(histories).write.mode("overwrite").parquet(f"{folder}/co_likes")
    common = count_common_likes(histories).cache()
    train_item_weights(common, settings).write.mode("overwrite").parquet(f"{folder}/item_weights")


def main() -> None:
    """Run with the arguments of the command line."""
    parser = argparse.ArgumentParser(description="Count co-likes and train the item weights on Spark.")
    parser.add_argument("likes", help="Parquet with the columns member, post and time")
    parser.add_argument("folder", help="where co_likes and item_weights are written")
    for field in fields(ItemWeightSettings):
        if field.name != "max_exact":  # one machine only
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    options = vars(parser.parse_args())
    likes, folder = options.pop("likes"), options.pop("folder")
    run(SparkSession.builder.appName("recsys-training").getOrCreate(), likes, folder, ItemWeightSettings(**options))


if __name__ == "__main__":
    main()
