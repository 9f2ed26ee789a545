"""A web server with a production's sign-in behind a proxy that ends TLS, and sessions of a browser on it."""

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.servers import WebServer, web_server

PASSWORD = "a-long-password-of-staff"
HOST = "recs.example.com"


@dataclass
class BrowserSession:
    """A browser's cookies. It sends requests as the proxy forwards them."""

    server: WebServer
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
def run_staff_server(folder: Path, **env: str) -> Iterator[WebServer]:
    """Run a web server with the defaults of a production, except for *env*. An empty value means the default."""
    limits = ("RATE_PER_MEMBER", "WRITE_RATE_PER_MEMBER", "RATE_PER_STAFF", "RATE_PER_ADDRESS")
    defaults = dict.fromkeys((*limits, "HTTPS", "SECOND_FACTOR"), "")
    with web_server(folder, **defaults | {"ALLOWED_HOSTS": HOST, "TRUSTED_PROXIES": "1"} | env) as server:
        yield server


def run_code(server: WebServer, code: str) -> str:
    """Run Python code in a process of the service; return its output."""
    return server.manage("shell", "-v0", "-c", code).strip()


@pytest.fixture(scope="session")
def staff_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """Return a server whose sign-in is that of a production. The tests of a session share it."""
    with run_staff_server(tmp_path_factory.mktemp("staff")) as server:
        yield server
