"""A web server with a production's sign-in behind a proxy that ends TLS, and sessions of a browser on it."""

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest

from recsys_project.stack import commands
from recsys_project.stack.state import StackState
from tests.servers import ROOT, free_port, redis_server, run_process, wait_until

PASSWORD = "a-long-password-of-staff"
HOST = "recs.example.com"


@dataclass(frozen=True)
class StaffServer:
    """The server's port, and the variables of its processes."""

    port: int
    env: dict[str, str]

    def shell(self, code: str) -> str:
        """Run Python code in a process of the service; return its output."""
        command = [sys.executable, "manage.py", "shell", "-v0", "-c", code]
        result = subprocess.run(command, cwd=ROOT, env=os.environ | self.env, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()


@dataclass
class BrowserSession:
    """A browser's cookies. It sends requests as the proxy forwards them."""

    server: StaffServer
    address: str = "203.0.113.7"
    cookies: dict[str, str] = field(default_factory=dict)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> http.client.HTTPResponse:
        """Send a request. The body of the response is in its attribute `content`."""
        sent = {"Host": HOST, "X-Forwarded-For": self.address, "X-Forwarded-Proto": "https"}
        sent |= {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            response.content = response.read()
        for name, value in response.getheaders():
            if name.lower() == "set-cookie":
                cookie, _, content = value.split(";")[0].partition("=")
                self.cookies[cookie] = content
        return response

    def post_form(self, path: str, **fields: str) -> http.client.HTTPResponse:
        """Load a page and submit its form, as a browser does."""
        return self.submit_form(path, self.send("GET", path).content.decode(), **fields)

    def submit_form(self, path: str, page: str, **fields: str) -> http.client.HTTPResponse:
        """Submit the form of a page that was loaded before."""
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        body = urlencode(fields | {"csrfmiddlewaretoken": token[1] if token else ""}).encode()
        form = {"Content_Type": "application/x-www-form-urlencoded"}
        return self.send("POST", path, body, Origin=f"https://{HOST}", Referer=f"https://{HOST}{path}", **form)

    def sign_in(self, username: str, password: str = PASSWORD) -> http.client.HTTPResponse:
        """Send the form of the sign-in page."""
        return self.post_form("/account/login/", login=username, password=password)

    def call(self, method: str, path: str, body: object = None) -> http.client.HTTPResponse:
        """Call the API by the session."""
        headers = {"X_CSRFToken": self.cookies.get("csrftoken", ""), "Content_Type": "application/json"}
        sent = None if body is None else json.dumps(body).encode()
        return self.send(method, path, sent, Origin=f"https://{HOST}", Referer=f"https://{HOST}/", **headers)


@contextlib.contextmanager
def run_staff_server(folder: Path, **env: str) -> Iterator[StaffServer]:
    """Run a server with the defaults of a production, except for *env*, on a database and a Redis of its own."""
    port = free_port()
    with redis_server(folder, port=free_port()) as redis_url:
        variables = {
            "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
            "REDIS_URL": redis_url,
            "CACHE_REDIS_URL": redis_url.removesuffix("0") + "1",
            "ALLOWED_HOSTS": HOST,
            "TRUSTED_PROXIES": "1",
            "HTTPS": "",
            "SECOND_FACTOR": "",
        } | env
        server = StaffServer(port, variables)
        migrate = [sys.executable, "manage.py", "migrate", "-v0"]
        subprocess.run(migrate, cwd=ROOT, env=os.environ | variables, check=True)
        command = commands.server_commands(StackState(web_port=port, flower_port=0))["web"]
        with run_process(command, folder, **variables) as (process, log):
            wait_until(lambda: is_up(port), process, log)
            yield server


def is_up(port: int) -> bool:
    """Return whether the server answers."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", "/livez", headers={"Host": HOST})
            return connection.getresponse().status == 200
    except OSError:
        return False


@pytest.fixture(scope="session")
def staff_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StaffServer]:
    """Return a server whose sign-in is that of a production. The tests of a session share it."""
    with run_staff_server(tmp_path_factory.mktemp("staff")) as server:
        yield server
