"""The commands of docs/getting-started.md, run as they are printed, on the example's data and a real web server."""

import json
import re
import shlex
import subprocess
from types import SimpleNamespace

import pytest

from recsys_project.stack import __main__ as runner
from tests.servers import ROOT, run_manage, web_server

PAGE = (ROOT / "docs" / "getting-started.md").read_text()
BLOCKS = re.findall(r"<!-- tested -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
PLATFORM = ROOT / "examples" / "platform"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Return a web server whose database `manage.py prepare` filled, as `make run DATA=examples/platform` does."""
    options = {"API_OPEN": "1", "EMBEDDER": "wordllama", "ADMIN_PASSWORD": "a-long-password-of-the-test"}
    with web_server(tmp_path_factory.mktemp("getting-started"), **options) as server:
        output = run_manage(server.env, "prepare", "--data", str(PLATFORM))
        assert "60 created" in output and "Importing the sample" not in output
        yield server


def run_block(server, number):
    """Run the commands of a block of the page; return the output of each."""
    outputs = []
    for line in BLOCKS[number].strip().splitlines():
        words = shlex.split(line.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}"))
        if words[0] == "./manage.py":
            outputs.append(run_manage(server.env, *words[1:]))
            continue
        done = subprocess.run([*words, "--fail-with-body"], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append(done.stdout)
    return outputs


def ids(page):
    return [pick["post"]["id"] for pick in json.loads(page)["picks"]]


def test_the_page_starts_the_service_with_the_example(monkeypatch, tmp_path):
    """The command of step 2 gives the folder to the stack."""
    assert "make run DATA=examples/platform\n" in PAGE
    words = ["make", "--dry-run", "run", "DATA=examples/platform"]
    printed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    command = next(line for line in printed.splitlines() if "recsys_project.stack run" in line)
    sources = []

    class StackStub:
        def __init__(self, folder, source):
            self.processes = SimpleNamespace(stop=lambda: None)
            sources.append(source)

        def start(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(runner, "Stack", StackStub)
    monkeypatch.setattr(runner.signal, "signal", lambda *_: None)
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    monkeypatch.chdir(ROOT)
    assert runner.main(shlex.split(command.partition("recsys_project.stack ")[2])) == 0
    assert sources == [["--data", str(PLATFORM)]]


def test_a_feed_of_own_posts_has_no_post_of_a_blocked_author(server):
    table, page = run_block(server, 0)
    assert "ada" in table
    posts = [json.loads(line) for line in (PLATFORM / "posts.jsonl").read_text().splitlines()]
    allowed = {
        post["id"] for post in posts if post["visibility"] in ("public", "followers") and post["author_id"] != "dario"
    }
    assert len(ids(page)) == 5 and set(ids(page)) <= allowed


def test_a_first_event_changes_the_next_page(server):
    answer, page = run_block(server, 1)
    assert json.loads(answer)["results"][0]["status"] == "recorded"
    assert "post-4" not in ids(page) and len(ids(page)) == 5


def test_a_new_post_is_accepted(server):
    answer, similar = run_block(server, 2)
    assert json.loads(answer)["created"] == 1
    assert "picks" in json.loads(similar)
