"""Which embedder a setting means. A module is loaded when it is asked for: it may not be installed."""

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
    """The embedder asked for cannot be used here."""


@functools.cache
def get_embedder(name: str, model: str = "") -> Embedder:
    """Return the embedder *name*, once a process; *model* is for those that know several."""
    if name not in TEXT_EMBEDDERS:
        raise EmbedderError(f"EMBEDDER={name}: no such embedder; there are {', '.join(TEXT_EMBEDDERS)}.")
    build = load_embedder_class(name, *TEXT_EMBEDDERS[name])
    embedder: Embedder = build(model) if name == "fastembed" else build()
    return embedder


@functools.cache
def get_cross_modal_embedder(name: str) -> CrossModalEmbedder:
    """Return the embedder of texts and pictures *name*, once a process; raise `EmbedderError` if there is none."""
    if name not in CROSS_MODAL_EMBEDDERS:
        raise EmbedderError(f"{name}: nothing here embeds by it; its vectors come from the platform.")
    embedder: CrossModalEmbedder = load_embedder_class(name, *CROSS_MODAL_EMBEDDERS[name])()
    return embedder


def load_embedder_class(name: str, module: str, class_name: str) -> Callable[..., Any]:
    """Return the class of an embedder, whose package may not be installed."""
    try:
        build: Callable[..., Any] = getattr(importlib.import_module(module), class_name)
    except ModuleNotFoundError as error:
        advice = f"pip install {error.name}, or choose EMBEDDER=wordllama."
        raise EmbedderError(f"EMBEDDER={name} needs the package {error.name}: {advice}") from error
    return build
