"""The default embedder works offline, and has no side effects on the process that loads it."""

import subprocess
import sys
from pathlib import Path

import pytest

from recommendations.embedders import wordllama_text
from recommendations.embedders.normalization import MAX_CHARACTERS
from recommendations.embedders.wordllama_text import ModelFileError, WordLlamaText, model_file

ROOT = Path(__file__).parents[2]
OFFLINE = """
import logging, socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("the embedder opened a connection")
socket.socket.connect = refuse
socket.create_connection = refuse
from recommendations.embedders.wordllama_text import WordLlamaText
assert WordLlamaText().embed(["hello"]).any()
assert "wordllama" not in sys.modules and "requests" not in sys.modules, "a module that can download was imported"
assert not logging.getLogger().handlers, "the root logger was configured"
"""


def test_it_opens_no_connection_and_does_not_configure_logging():
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", OFFLINE], capture_output=True, text=True, cwd=ROOT, env={}
    )
    assert process.returncode == 0, process.stderr


def test_the_error_for_a_missing_file_has_its_name_and_the_fix():
    with pytest.raises(ModelFileError, match=r"weights/none\.bin.*pip install"):
        model_file("weights/none.bin")


def test_the_error_for_a_missing_package_has_the_fix(monkeypatch):
    monkeypatch.setattr(wordllama_text.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelFileError, match="Reinstall"):
        model_file(wordllama_text.WEIGHTS)


def test_a_file_with_another_content_is_refused(tmp_path, monkeypatch):
    (tmp_path / "weights").write_bytes(b"other weights")
    monkeypatch.setattr(wordllama_text, "model_file", lambda name: tmp_path / "weights")
    with pytest.raises(ModelFileError, match="is another one"):
        wordllama_text.read_model_file(wordllama_text.WEIGHTS)


def test_similar_meaning_counts_without_shared_words():
    car, automobile, banana = WordLlamaText().embed(["a fast car", "speedy automobile", "ripe banana"])
    assert car @ automobile > car @ banana + 0.2


def test_only_the_first_characters_are_embedded():
    start = "word " * (MAX_CHARACTERS // 5)
    first, second = WordLlamaText().embed([start + "one ending", start + "another"])
    assert (first == second).all()
