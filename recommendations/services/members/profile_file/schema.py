"""
The schema of a profile file, version 1: its fields and limits.

docs/profile-file.schema.json is generated from it, and a test checks that the two are equal.
"""

from __future__ import annotations

import base64
import binascii
from functools import partial
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic.fields import FieldInfo

from recommendations.contracts import Float32Array
from recommendations.services.learning.affinities import MAX_AFFINITIES
from recommendations.services.learning.interests import MAX_INTERESTS
from values.types import MAX_PREFERENCES, Boolean, Id, Language, ModelName, Region, Time, Word, list_limits

FORMAT_NAME: Final = "recsys-profile"
FORMAT_VERSION: Final = 1
MAX_RELATIONSHIPS, MAX_NEGATIVE_FEEDBACK, MAX_SEEN = 10_000, 5_000, 5_000


def require_size(value: object, *, max_length: int) -> object:
    """Return *value*, or raise `ValueError` if it is a list or an object of more than *max_length* items."""
    if isinstance(value, list | dict) and len(value) > max_length:
        raise ValueError(f"has {len(value):,} items; give at most {max_length:,}")
    return value


def size_limit(max_length: int) -> tuple[FieldInfo, BeforeValidator]:
    """Return the annotations of a list or an object whose size is checked before its items."""
    return Field(max_length=max_length), BeforeValidator(partial(require_size, max_length=max_length))


Words = Annotated[list[Word], *size_limit(MAX_PREFERENCES)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class StrictModel(BaseModel):
    """A model that rejects unknown fields, so that a misspelled field is not silently lost."""

    model_config = ConfigDict(extra="forbid")


class ProfilePreferences(StrictModel):
    """The member's preferences. An import leaves the setting of an omitted field unchanged."""

    languages: Annotated[list[Language], *list_limits(Language)] | None = Field(default=None, description="Best first.")
    region: Region | None = None
    is_private: Boolean | None = None
    is_personalized: Boolean | None = Field(default=None, description="False deletes what was learned.")
    sensitivity: Literal["safe", "sensitive", "adult"] | None = None
    muted_words: Words = Field(default=[], description="Added to the existing words.")
    muted_tags: Words = Field(default=[], description="Added to the existing tags.")
    interest_tags: Words = Field(default=[], description="Tags that the member likes, added to the existing ones.")


class ProfileRelationships(StrictModel):
    """Members whom this member follows, blocks and mutes. The reverse relationships are other members' data."""

    follow: Annotated[list[Id], *size_limit(MAX_RELATIONSHIPS)] = []
    block: Annotated[list[Id], *size_limit(MAX_RELATIONSHIPS)] = []
    mute: Annotated[list[Id], *size_limit(MAX_RELATIONSHIPS)] = []


class ProfileFeedback(StrictModel):
    """Negative feedback on a post, or on its author, main topic or kind."""

    target: Literal["post", "author", "topic", "kind"]
    post_id: Id = Field(description="The post that the feedback was given on.")
    event_id: Id = Field(description="The interaction that gave the feedback; undoing it deletes the feedback.")
    created_at: Time


class SeenPostItem(StrictModel):
    """A post that was on the member's screen, with the time."""

    post_id: Id
    seen_at: Time


class ProfileAffinities(StrictModel):
    """Sums of interaction weights by author, topic and kind of post, decayed to `reference_at`."""

    author: Annotated[dict[Id, Finite], *size_limit(MAX_AFFINITIES["author"])] = {}
    topic: Annotated[dict[Word, Finite], *size_limit(MAX_AFFINITIES["topic"])] = {}
    kind: Annotated[dict[Id, Finite], *size_limit(MAX_AFFINITIES["kind"])] = {}


def decode_floats(base64_text: str) -> Float32Array:
    """Return the float32 numbers (n,) of a base64 text, little-endian. Raises `ValueError`."""
    try:
        numbers = np.frombuffer(base64.b64decode(base64_text, validate=True), "<f4")
    except (binascii.Error, ValueError) as error:
        raise ValueError("must be base64 of float32 numbers, little-endian") from error
    if not np.isfinite(numbers).all():
        raise ValueError("must contain finite numbers only")
    return numbers


def encode_floats(numbers: bytes | memoryview) -> str:
    """Return stored float32 numbers as a base64 text."""
    return base64.b64encode(bytes(numbers)).decode()


class LearnedInterests(StrictModel):
    """The learned interests. Their vectors are valid for the named embedding model only."""

    embedding_model: ModelName
    dimension: int = Field(ge=1, le=4096)
    positive: str = Field(description="base64 of float32 (k, dimension), little-endian: one row per interest.")
    positive_mass: str = Field(description="base64 of float32 (k,): the total weight of each row.")
    negative: str = Field(description="base64 of float32 (m, dimension): the dislikes of the member.")
    negative_mass: str = Field(description="base64 of float32 (m,).")
    affinities: ProfileAffinities = ProfileAffinities()
    reference_at: Time = Field(description="The time that the sums are decayed to.")
    interaction_count: int = Field(default=0, ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def validate_sizes(self) -> LearnedInterests:
        """Return the interests if the sizes of rows and weights match the dimension. Raises `ValueError`."""
        for vectors, masses in ((self.positive, self.positive_mass), (self.negative, self.negative_mass)):
            weights = decode_floats(masses)
            if len(weights) > MAX_INTERESTS or len(decode_floats(vectors)) != len(weights) * self.dimension:
                raise ValueError(f"must contain at most {MAX_INTERESTS} interests, each with a row and a weight")
            if (weights < 0).any():
                raise ValueError("a weight must not be below 0")
        return self


class OmittedCounts(StrictModel):
    """Numbers of older items that the file left out because of its limits."""

    follow: int = 0
    block: int = 0
    mute: int = 0
    negative_feedback: int = 0
    seen: int = 0


class ProfileFile(StrictModel):
    """A member's profile. Of other members it holds only the ids that this member follows, blocks, mutes or likes."""

    format: Literal["recsys-profile"]
    version: Literal[1]
    member_id: Id | None = Field(
        default=None, description="The exported member. A file may be imported for another member."
    )
    exported_at: Time | None = None
    preferences: ProfilePreferences = ProfilePreferences()
    relationships: ProfileRelationships = ProfileRelationships()
    negative_feedback: Annotated[list[ProfileFeedback], *size_limit(MAX_NEGATIVE_FEEDBACK)] = []
    interests: LearnedInterests | None = None
    seen: Annotated[list[SeenPostItem], *size_limit(MAX_SEEN)] = Field(default=[], description="Newest first.")
    omitted: OmittedCounts = Field(default=OmittedCounts(), description="Not read by an import.")
