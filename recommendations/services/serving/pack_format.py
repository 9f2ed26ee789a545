"""
The format of candidate packs, version 1. docs/on-device.md describes it, and `candidate-pack.js` reads it.

A pack is one file, so that whatever stores or forwards it keeps its signature. Numbers are little-endian:

    8 bytes     RECPACK1
    4           h, the length of the header
    h           the header: JSON in UTF-8
    4 n c       the columns: float32 (n, c), one row for each post
    n d         the vectors: int8 (n, d)
    64          the Ed25519 signature of every byte before it
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from recommendations.contracts import Float32Array, Int8Array
from recommendations.stores.signer import SIGNATURE_BYTES, SignatureError, Signer

MAGIC = b"RECPACK1"
HEADER_START = len(MAGIC) + 4
MAX_PACK_BYTES = 100_000
"""A pack that would be larger has fewer posts. Changes the answer."""


class PackError(ValueError):
    """Bytes that are no candidate pack of this service."""


@dataclass(frozen=True, slots=True)
class PackedPost:
    """What a page needs to show a post, and to group it by author and tag."""

    id: str
    author_id: str
    kind: str
    tags: tuple[str, ...]
    text: str
    """The beginning of the text."""


@dataclass(frozen=True, slots=True)
class PackHeader:
    """What a pack is, whom it is for, and how it is ranked."""

    member_id: str
    created_at: datetime
    expires_at: datetime
    embedding_model: str
    dimension: int
    variant: str
    policy_version: int
    weights: dict[str, float]
    """By score part, in the order in which the parts are added."""
    diversity: float
    author_cap: int
    columns: tuple[str, ...]
    """The score parts, before their weights, that the pack contains."""
    posts: tuple[PackedPost, ...]


@dataclass(frozen=True, slots=True)
class CandidatePack:
    """Posts that one member may see, with all that ranking them on a device needs except the interests."""

    header: PackHeader
    columns: Float32Array  # (n, c)
    vectors: Int8Array  # (n, d)

    def take(self, count: int) -> CandidatePack:
        """Return the pack with its first *count* posts."""
        header = replace(self.header, posts=self.header.posts[:count])
        return CandidatePack(header, self.columns[:count], self.vectors[:count])


def quantize(vectors: Float32Array) -> Int8Array:
    """
    Return *vectors* (n, d) as int8: each row scaled so that its largest absolute value is 127, and rounded.

    No scale is stored, because the kernel normalizes every row. A zero row stays zero.
    """
    largest = np.abs(vectors).max(axis=1, initial=0, keepdims=True)
    scaled = np.divide(vectors * np.float32(127), largest, out=np.zeros_like(vectors), where=largest > 0)
    return np.rint(scaled).astype(np.int8)


def encode_pack(pack: CandidatePack, signer: Signer) -> bytes:
    """Return the signed file of *pack*, at most `MAX_PACK_BYTES`: posts that do not fit are left out, last first."""
    content = encode_unsigned(pack, signer.key_id)
    while len(content) + SIGNATURE_BYTES > MAX_PACK_BYTES:
        pack = pack.take(len(pack.header.posts) * MAX_PACK_BYTES // (len(content) + SIGNATURE_BYTES))
        content = encode_unsigned(pack, signer.key_id)
    return content + signer.sign(content)


def encode_unsigned(pack: CandidatePack, key_id: str) -> bytes:
    """Return the file of *pack* without its signature."""
    fields = {"format": "recsys-candidate-pack", "version": 1, "key_id": key_id, **asdict(pack.header)}
    header = json.dumps(fields, default=datetime.isoformat, ensure_ascii=False, separators=(",", ":")).encode()
    columns = pack.columns.astype("<f4").tobytes()
    return MAGIC + len(header).to_bytes(4, "little") + header + columns + pack.vectors.tobytes()


def decode_pack(file: bytes, signer: Signer) -> CandidatePack:
    """Return the pack in *file*. Raises `PackError` if it is not a pack that this service signed."""
    content, signature = file[:-SIGNATURE_BYTES], file[-SIGNATURE_BYTES:]
    length = int.from_bytes(content[len(MAGIC) : HEADER_START], "little")
    if content[: len(MAGIC)] != MAGIC:
        raise PackError("The file is not a candidate pack.")
    try:
        fields = json.loads(content[HEADER_START : HEADER_START + length])
        signer.verify(fields["key_id"], content, signature)
    except SignatureError as error:
        raise PackError(f"The pack cannot be trusted: {error}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise PackError("The header of the pack cannot be read.") from error
    return build_pack_from(fields, content[HEADER_START + length :])


def build_pack_from(fields: dict[str, Any], arrays: bytes) -> CandidatePack:
    """Return the pack of a verified header and the bytes after it."""
    fields = {name: fields[name] for name in PackHeader.__slots__}
    posts = tuple(PackedPost(**post | {"tags": tuple(post["tags"])}) for post in fields["posts"])
    times = {name: datetime.fromisoformat(fields[name]) for name in ("created_at", "expires_at")}
    header = PackHeader(**fields | times | {"columns": tuple(fields["columns"]), "posts": posts})
    count, width = len(posts), len(header.columns)
    columns = np.frombuffer(arrays, "<f4", count * width).reshape(count, width)
    vectors = np.frombuffer(arrays, np.int8, offset=columns.nbytes).reshape(count, header.dimension)
    return CandidatePack(header, columns, vectors)
