"""The servers of the tests of inputs: the web server on PostgreSQL and, in `make nightly`, on SQLite."""

from __future__ import annotations

from dataclasses import replace

import pytest

from access.scopes import Scope
from tests.servers import postgres_server, run_manage, web_server


@pytest.fixture(scope="package", params=[pytest.param("sqlite", marks=pytest.mark.nightly), "postgresql"])
def server(request, tmp_path_factory):
    """Return a real web server on a database of its own, with a key for everything."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        with web_server(folder) as site:
            yield site
        return
    with postgres_server(folder / "postgres") as url:
        env = {"DATABASE_URL": url}
        run_manage(env, "migrate", "-v0")
        scopes = [word for scope in Scope for word in ("--scope", scope)]
        key = run_manage(env, "key", "create", "platform", "--per-minute", "0", *scopes).split()[-1]
        with web_server(folder, **env) as site:
            yield replace(site, key=key)
