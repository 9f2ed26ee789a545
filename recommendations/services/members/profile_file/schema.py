"""
The form of a profile file, version 1: what each field is, and what a file may hold at most.

docs/profile-file.schema.json is the print of it, and a test keeps the two equal.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from recommendations.contracts import Float32Array
from recommendations.services.learning.affinities import MAX_AFFINITIES
from recommendations.services.learning.interests import MAX_INTERESTS

FORMAT_NAME: Final = "recsys-profile"
FORMAT_VERSION: Final = 1
MAX_RELATIONSHIPS, MAX_NEGATIVE_FEEDBACK, MAX_SEEN, MAX_MUTED_WORDS = 10_000, 5_000, 5_000, 500


def reject_nul(text: str) -> str:
    """Return *text* if a database can hold it."""
    if "\0" in text:
        raise ValueError("must not hold the character NUL")
    return text


def text_constraints(max_length: int, min_length: int = 1) -> tuple[StringConstraints, AfterValidator]:
    """Return what a text of so many characters must keep."""
    return StringConstraints(strict=True, min_length=min_length, max_length=max_length), AfterValidator(reject_nul)


Id = Annotated[str, *text_constraints(128)]
Language = Annotated[str, *text_constraints(8)]
Region = Annotated[str, *text_constraints(16, min_length=0)]
Word = Annotated[str, *text_constraints(100)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class StrictModel(BaseModel):
    """Refuses a field that it does not know: what is misspelt must not be lost in silence."""

    model_config = ConfigDict(extra="forbid")


class ProfilePreferences(StrictModel):
    """What the member wants and allows. A field that is left out stays as it is."""

    languages: list[Language] | None = Field(default=None, max_length=20, description="Best first.")
    region: Region | None = None
    is_private: bool | None = None
    is_personalized: bool | None = Field(default=None, description="Off: what was learned is deleted.")
    sensitivity: Literal["safe", "sensitive", "adult"] | None = None
    muted_words: list[Word] = Field(default=[], max_length=MAX_MUTED_WORDS, description="Added to those there are.")
    muted_tags: list[Word] = Field(default=[], max_length=MAX_MUTED_WORDS, description="Added to those there are.")


class ProfileRelationships(StrictModel):
    """Members whom this one follows, blocks and mutes. Who follows or blocks this one is others' data, and not here."""

    follow: list[Id] = Field(default=[], max_length=MAX_RELATIONSHIPS)
    block: list[Id] = Field(default=[], max_length=MAX_RELATIONSHIPS)
    mute: list[Id] = Field(default=[], max_length=MAX_RELATIONSHIPS)


class ProfileFeedback(StrictModel):
    """Something the member wants less of: a post, or its author, main topic or format."""

    target: Literal["post", "author", "topic", "kind"]
    post_id: Id = Field(description="The post that it was said of.")
    event_id: Id = Field(description="The act that said it; undoing that act takes the wish back.")
    created_at: AwareDatetime


class SeenPostItem(StrictModel):
    """A post that was on the member's screen."""

    post_id: Id
    seen_at: AwareDatetime


class ProfileAffinities(StrictModel):
    """Decayed sums of what the member did, by author, topic and format, as they stand at the reference."""

    author: dict[Id, Finite] = Field(default={}, max_length=MAX_AFFINITIES["author"])
    topic: dict[Id, Finite] = Field(default={}, max_length=MAX_AFFINITIES["topic"])
    kind: dict[Id, Finite] = Field(default={}, max_length=MAX_AFFINITIES["kind"])


def decode_floats(base64_text: str) -> Float32Array:
    """Return the numbers of a text: base64 of float32, little-endian."""
    try:
        found = np.frombuffer(base64.b64decode(base64_text, validate=True), "<f4")
    except (binascii.Error, ValueError) as error:
        raise ValueError("must be base64 of float32 numbers, little-endian") from error
    if not np.isfinite(found).all():
        raise ValueError("must hold finite numbers only")
    return found


def encode_floats(numbers: bytes | memoryview) -> str:
    """Return stored float32 numbers as a text."""
    return base64.b64encode(bytes(numbers)).decode()


class LearnedInterests(StrictModel):
    """What was learned of the member's taste. It means something in the space of its model only."""

    embedding_model: Id
    dimension: int = Field(ge=1, le=4096)
    positive: str = Field(description="base64 of float32 (k, dimension), little-endian: a row for each interest.")
    positive_mass: str = Field(description="base64 of float32 (k,): the weight behind each row.")
    negative: str = Field(description="base64 of float32 (m, dimension): what the member turned down.")
    negative_mass: str = Field(description="base64 of float32 (m,).")
    affinities: ProfileAffinities = ProfileAffinities()
    reference_at: AwareDatetime = Field(description="The moment that the sums stand for.")
    interaction_count: int = Field(default=0, ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def validate_sizes(self) -> LearnedInterests:
        """Return the interests if rows, weights and dimension belong together."""
        for vectors, masses in ((self.positive, self.positive_mass), (self.negative, self.negative_mass)):
            weights = decode_floats(masses)
            if len(weights) > MAX_INTERESTS or len(decode_floats(vectors)) != len(weights) * self.dimension:
                raise ValueError(f"must hold at most {MAX_INTERESTS} interests, with a row and a weight for each")
            if (weights < 0).any():
                raise ValueError("a weight must not be below 0")
        return self


class OmittedCounts(StrictModel):
    """How many older ones the file had no room for."""

    follow: int = 0
    block: int = 0
    mute: int = 0
    negative_feedback: int = 0
    seen: int = 0


class ProfileFile(StrictModel):
    """A member's profile. Names no other person's data but the ids that this member follows, blocks, mutes or likes."""

    format: Literal["recsys-profile"]
    version: Literal[1]
    member_id: Id | None = Field(default=None, description="Whose it was; it may be taken in for another id.")
    exported_at: AwareDatetime | None = None
    preferences: ProfilePreferences = ProfilePreferences()
    relationships: ProfileRelationships = ProfileRelationships()
    negative_feedback: list[ProfileFeedback] = Field(default=[], max_length=MAX_NEGATIVE_FEEDBACK)
    interests: LearnedInterests | None = None
    seen: list[SeenPostItem] = Field(default=[], max_length=MAX_SEEN, description="Newest first.")
    omitted: OmittedCounts = Field(default=OmittedCounts(), description="Not read when a file is taken in.")
