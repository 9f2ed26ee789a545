"""The version before this one, of which an upgrade starts."""

from __future__ import annotations

import subprocess

from tests.servers import ROOT


def git(*words: str) -> str:
    """Run a git command in this clone and return its output. Raises `CalledProcessError`."""
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def find_previous_version() -> str:
    """
    Return the newest tag of a release, or else the commit before the newest migration.

    Raises `OSError` or `CalledProcessError` outside of a clone with its history.
    """
    if tags := git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname"):
        return tags.splitlines()[0]
    return git("log", "-1", "--diff-filter=A", "--format=%H~1", "--", "*/migrations/0*.py")
