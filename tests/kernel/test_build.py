"""The builds committed in dist/ are the result of compiling the source, byte for byte."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wasm import KernelError, module
from wasm.build import BUILDS, sha256_hex
from wasm.module import BUILD_FILES, DIST, read_build

ROOT = Path(__file__).parents[2]


def test_the_source_compiles_to_the_committed_bytes(tmp_path):
    subprocess.run([sys.executable, "-m", "wasm.build", str(tmp_path)], cwd=ROOT, check=True)
    for name in (*BUILDS, "SHA256SUMS"):
        assert (tmp_path / name).read_bytes() == (DIST / name).read_bytes(), "run `make kernel` and commit wasm/dist"


def test_the_digests_match_the_files():
    lines = [f"{sha256_hex(DIST / name)}  {name}" for name in BUILDS]
    assert (DIST / "SHA256SUMS").read_text().splitlines() == lines
    assert sorted(BUILD_FILES.values()) == sorted(BUILDS)


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    shutil.copytree(DIST, tmp_path / "dist")
    with (tmp_path / "dist" / "kernel.wasm").open("ab") as file:
        file.write(b"\0")
    monkeypatch.setattr(module, "DIST", tmp_path / "dist")
    with pytest.raises(KernelError, match="does not match"):
        read_build("baseline")
