"""A process's copy of the active embedding models. It is read rarely: a model changes once in months."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from recommendations.models import EmbeddingModel

MODELS_REFRESH_SECONDS = 30.0
"""A process uses a new active model after this time at most. Changes the answer for that long."""


@dataclass(frozen=True, slots=True)
class ActiveEmbeddingModel:
    """The active model of a space, and the embedder that loads it."""

    space: str
    name: str
    embedder: str
    option: str
    dimension: int


class ActiveEmbeddingModels:
    """The active models by space, as this process read them last."""

    def __init__(self) -> None:
        self._read_at = -MODELS_REFRESH_SECONDS
        self._known: dict[str, ActiveEmbeddingModel] = {}

    def read(self, *, must_be_current: bool = False) -> dict[str, ActiveEmbeddingModel]:
        """
        Return the active models by space, up to `MODELS_REFRESH_SECONDS` old.

        *must_be_current* reads them again in any case. Raises `DatabaseError`.
        """
        if must_be_current or monotonic() - self._read_at >= MODELS_REFRESH_SECONDS:
            rows = EmbeddingModel.objects.filter(state=EmbeddingModel.State.ACTIVE)
            fields = rows.values_list("space", "name", "embedder", "option", "dimension")
            self._known = {row[0]: ActiveEmbeddingModel(*row) for row in fields}
            self._read_at = monotonic()
        return self._known
