"""The servers of the tests of inputs: the web server on SQLite and on PostgreSQL, without keys."""

from __future__ import annotations

import pytest

from tests.servers import postgres_server, run_manage, web_server


@pytest.fixture(scope="package", params=["sqlite", "postgresql"])
def server(request, tmp_path_factory):
    """Return a real web server on a database of its own, in which the API is open."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        with web_server(folder, API_OPEN="1") as site:
            yield site
        return
    with postgres_server(folder / "postgres") as url:
        run_manage({"DATABASE_URL": url}, "migrate", "-v0")
        with web_server(folder, API_OPEN="1", DATABASE_URL=url) as site:
            yield site
