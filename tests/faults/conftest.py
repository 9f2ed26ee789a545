"""Fixtures of the tests with faults."""

import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def folder():
    """
    A folder for a deployment. A test deletes it at its end, so that logs and history stay if it fails.

    Not `tmp_path`: another session of pytest takes the right to read its parent from PostgreSQL's user.
    """
    return Path(tempfile.mkdtemp(prefix="recsys-faults-"))
