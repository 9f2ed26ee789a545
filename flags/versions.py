"""
Conditions on versions, for GrowthBook's engine.

The engine compares padded texts part by part, so that 2 is below 2.0.0, and 1.2.3.5 below 1.2.3. Here a missing part
counts as 0, and a pre-release comes before its release (Semantic Versioning 2.0, section 11). A condition therefore
has one alternative for each number of parts that a version may have.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from growthbook.core import evalCondition

VERSION = re.compile(r"v?(\d{1,5}(?:\.\d{1,5}){0,5})(-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?", re.ASCII)
"""One to six numbers of up to five digits, which the engine pads to five characters; a pre-release; a build."""
MAX_PARTS = 6
SEMVER_PARTS = 3
"""The number of parts after which the engine appends a mark that puts a release after its pre-releases."""
NUMBER, BUILD = r"\d{1,5}", r"(\+[0-9A-Za-z.-]+)?"
PRE_RELEASE = r"-[0-9A-Za-z.-]+"


def is_version(text: object) -> bool:
    """Return whether *text* is a version such as 2, 1.10 or 2.0.0-rc.1."""
    return isinstance(text, str) and VERSION.fullmatch(text.strip()) is not None


def build_at_least(attribute: str, version: str) -> dict[str, Any]:
    """Return the condition that the attribute is *version* or a later one. Raises `ValueError` if it is no version."""
    match = VERSION.fullmatch(version.strip())
    if match is None:
        raise ValueError(version)
    wanted = [int(part) for part in match[1].split(".")]
    return {"$or": [{attribute: test} for test in alternatives(wanted, match[2] or "")]}


def is_at_least(version: str, bound: str) -> bool:
    """Return whether *version* is *bound* or a later one."""
    return bool(evalCondition({"version": version}, build_at_least("version", bound), {}))


def build_below(attribute: str, version: str) -> dict[str, Any]:
    """Return the condition that the attribute is a version before *version*."""
    pattern = rf"^v?{NUMBER}(\.{NUMBER}){{0,{MAX_PARTS - 1}}}({PRE_RELEASE})?{BUILD}$"
    return {"$and": [{attribute: {"$regex": pattern}}, {"$not": build_at_least(attribute, version)}]}


def alternatives(wanted: list[int], pre_release: str) -> Iterator[dict[str, Any]]:
    """Yield the tests of a version with each number of parts, released and not."""
    significant = wanted[: max((n for n, part in enumerate(wanted, 1) if part), default=1)]
    for count in range(1, MAX_PARTS + 1):
        released = rf"^v?{NUMBER}(\.{NUMBER}){{{count - 1}}}"
        bound = [*significant, *[0] * count][:count]
        if count >= len(significant):
            # As many parts as the bound: a release of the same numbers is at least any pre-release of them.
            yield {"$regex": f"{released}{BUILD}$", "$vgte": join(bound)}
            yield {"$regex": f"{released}{PRE_RELEASE}{BUILD}$", **after(bound)}
            if pre_release and count == SEMVER_PARTS:
                yield {"$regex": f"{released}{PRE_RELEASE}{BUILD}$", "$vgte": join(bound) + pre_release}
        else:
            yield {"$regex": rf"{released}({PRE_RELEASE})?{BUILD}$", **after(bound)}


def after(bound: list[int]) -> dict[str, Any]:
    """Return the test that the numbers of a version, with or without a pre-release, are after *bound*."""
    if len(bound) == SEMVER_PARTS:
        return {"$vgt": join(bound)}
    return {"$vgte": join([*bound[:-1], bound[-1] + 1])}


def join(parts: list[int]) -> str:
    """Return a version."""
    return ".".join(map(str, parts))
