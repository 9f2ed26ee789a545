"""Which embedder a setting means. A module is loaded when it is asked for: it may not be installed."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

from recommendations.ports import CrossModalEmbedder, Embedder

MODULES = {
    "wordllama": ("recommendations.embedders.text", "WordLlamaText"),
    "fastembed": ("recommendations.embedders.fastembed_text", "FastembedText"),
    "tiny": ("recommendations.embedders.tiny", "TinyText"),
}

CROSS_MODAL = {
    "conse": ("recommendations.embedders.conse", "ConseText"),
    "fastembed-clip": ("recommendations.embedders.fastembed_clip", "FastembedClip"),
}


class EmbedderError(RuntimeError):
    """The embedder asked for cannot be used here."""


@functools.cache
def embedder_named(name: str, model: str = "") -> Embedder:
    """Return the embedder *name*, once a process; *model* is for those that know several."""
    if name not in MODULES:
        raise EmbedderError(f"EMBEDDER={name}: no such embedder; there are {', '.join(MODULES)}.")
    build = loaded(name, *MODULES[name])
    embedder: Embedder = build(model) if name == "fastembed" else build()
    return embedder


@functools.cache
def cross_modal_named(name: str) -> CrossModalEmbedder:
    """Return the embedder of texts and pictures *name*, once a process; raise `EmbedderError` if there is none."""
    if name not in CROSS_MODAL:
        raise EmbedderError(f"{name}: nothing here embeds by it; its vectors come from the platform.")
    embedder: CrossModalEmbedder = loaded(name, *CROSS_MODAL[name])()
    return embedder


def loaded(name: str, module: str, part: str) -> Callable[..., Any]:
    """Return the class of an embedder, whose package may not be installed."""
    try:
        build: Callable[..., Any] = getattr(importlib.import_module(module), part)
    except ModuleNotFoundError as error:
        advice = f"pip install {error.name}, or choose EMBEDDER=wordllama."
        raise EmbedderError(f"EMBEDDER={name} needs the package {error.name}: {advice}") from error
    return build
