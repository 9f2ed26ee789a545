"""Which embedder a setting means. A module is loaded when it is asked for: it may not be installed."""

import functools
import importlib

from recommendations.ports import Embedder

MODULES = {
    "wordllama": ("recommendations.embedders.text", "WordLlamaText"),
    "fastembed": ("recommendations.embedders.fastembed_text", "FastembedText"),
    "tiny": ("recommendations.embedders.tiny", "TinyText"),
}


class EmbedderError(RuntimeError):
    """The embedder asked for cannot be used here."""


@functools.cache
def embedder_named(name: str, model: str = "") -> Embedder:
    """Return the embedder *name*, once a process; *model* is for those that know several."""
    if name not in MODULES:
        raise EmbedderError(f"EMBEDDER={name}: no such embedder; there are {', '.join(MODULES)}.")
    module, part = MODULES[name]
    try:
        build = getattr(importlib.import_module(module), part)
    except ModuleNotFoundError as error:
        advice = f"pip install {error.name}, or choose EMBEDDER=wordllama."
        raise EmbedderError(f"EMBEDDER={name} needs the package {error.name}: {advice}") from error
    embedder: Embedder = build(model) if name == "fastembed" else build()
    return embedder
