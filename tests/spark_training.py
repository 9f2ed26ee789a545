"""Runs the training on Spark in local mode, for tests/integration/test_spark.py: in Spark's own environment."""

import json
import sys
from pathlib import Path

from pyarrow import parquet
from pyspark.sql import SparkSession

from recommendations.training import on_spark
from recommendations.training.item_weights import ItemWeightSettings


def main() -> None:
    """Train on the likes in the folder, with the settings in it, and write each result as JSON columns."""
    folder = Path(sys.argv[1])
    options = {"spark.sql.shuffle.partitions": 4, "spark.ui.enabled": False, "spark.driver.bindAddress": "127.0.0.1"}
    spark = SparkSession.builder.master("local[2]").config(map=options).getOrCreate()
    settings = ItemWeightSettings(**json.loads((folder / "settings.json").read_text()))
    on_spark.run(spark, str(folder / "likes.parquet"), str(folder), settings)
    for name in ("co_likes", "item_weights"):
        rows = parquet.read_table(folder / name).sort_by([("source", "ascending"), ("target", "ascending")])
        (folder / f"{name}.json").write_text(json.dumps(rows.to_pydict()))


if __name__ == "__main__":
    main()
