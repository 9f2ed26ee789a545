"""The embedders by name. A module is imported when it is first used, because its packages may not be installed."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

from recommendations.ports import CrossModalEmbedder, Embedder

TEXT_EMBEDDERS = {
    "wordllama": ("recommendations.embedders.wordllama_text", "WordLlamaText"),
    "fastembed": ("recommendations.embedders.fastembed_text", "FastembedText"),
    "tiny": ("recommendations.embedders.tiny", "TinyText"),
}

CROSS_MODAL_EMBEDDERS = {
    "conse": ("recommendations.embedders.conse", "ConseText"),
    "fastembed-clip": ("recommendations.embedders.fastembed_clip", "FastembedClip"),
}


class EmbedderError(RuntimeError):
    """The requested embedder cannot be used."""


@functools.cache
def get_embedder(name: str, model: str = "") -> Embedder:
    """Return the embedder *name*, created once per process. *model* is for fastembed. Raises `EmbedderError`."""
    if name not in TEXT_EMBEDDERS:
        raise EmbedderError(f"There is no embedder {name!r}. Set EMBEDDER to one of {', '.join(TEXT_EMBEDDERS)}.")
    build = load_embedder_class(name, *TEXT_EMBEDDERS[name])
    embedder: Embedder = build(model) if name == "fastembed" else build()
    return embedder


@functools.cache
def get_cross_modal_embedder(name: str) -> CrossModalEmbedder:
    """Return the cross-modal embedder *name*, created once per process. Raises `EmbedderError` if there is none."""
    if name not in CROSS_MODAL_EMBEDDERS:
        raise EmbedderError(
            f"The embedding model {name} cannot embed texts here, because the platform sends its vectors."
        )
    embedder: CrossModalEmbedder = load_embedder_class(name, *CROSS_MODAL_EMBEDDERS[name])()
    return embedder


def load_embedder_class(name: str, module: str, class_name: str) -> Callable[..., Any]:
    """Return the class of an embedder. Raises `EmbedderError` if its package is not installed."""
    try:
        build: Callable[..., Any] = getattr(importlib.import_module(module), class_name)
    except ModuleNotFoundError as error:
        advice = f"Run pip install {error.name}, or set EMBEDDER=wordllama."
        raise EmbedderError(f"EMBEDDER={name} needs the package {error.name}. {advice}") from error
    return build
