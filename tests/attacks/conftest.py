"""The server that the attacks are run against."""

from collections.abc import Iterator

import pytest

from tests.servers import WebServer, web_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """
    Return a real web server on the loopback interface that requires credentials.

    The tests of the session share it, so each test adds members and posts under ids of its own. A test that needs
    other settings starts a server with `tests.servers.web_server`.
    """
    with web_server(tmp_path_factory.mktemp("attacks")) as server:
        yield server
