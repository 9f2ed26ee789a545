"""
Makes .venv and installs the pinned and hashed requirements into it: `python3 bootstrap.py requirements.txt`.

It needs nothing but Python's own library, and runs far enough on an old Python to say that it is too old.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
MIN_PYTHON = (3, 11)
MAX_PYTHON = (3, 13)  # beyond it some packages have no wheels yet
NEEDED_BYTES = 3 * 2**30


class BootstrapError(Exception):
    """The machine lacks something. The message says what, and how to get it."""


def check_python(version):
    """Refuse a Python that is too old, or too new for the packages."""
    if tuple(version[:2]) > MAX_PYTHON:
        raise BootstrapError(
            "Python %d.%d is newer than the packages allow: %d.%d at most. Say `make PYTHON=python3.13 ...`."
            % (version[0], version[1], MAX_PYTHON[0], MAX_PYTHON[1])
        )
    if tuple(version[:2]) < MIN_PYTHON:
        raise BootstrapError(
            "Python %d.%d is too old: %d.%d or newer is needed. Install one and say `make PYTHON=python3.11 run`."
            % (version[0], version[1], MIN_PYTHON[0], MIN_PYTHON[1])
        )


def check_venv(has_module):
    """Refuse a Python whose venv or pip was left out, as some distributions do."""
    for module in ("venv", "ensurepip"):
        if not has_module(module):
            raise BootstrapError(
                "This Python has no %s module. On Debian or Ubuntu: apt-get install python3-venv" % module
            )


def check_disk(free):
    """Refuse a disk without room for the packages."""
    if free < NEEDED_BYTES:
        raise BootstrapError(
            "The disk of %s has %d MB left; the packages need %d MB. Make room, or clone elsewhere."
            % (ROOT, free >> 20, NEEDED_BYTES >> 20)
        )


def has_module(name):
    """Return whether this Python can import *name*."""
    return subprocess.call([sys.executable, "-c", "import " + name], stderr=subprocess.DEVNULL) == 0


def run_installer(*command):
    """Run a command; if it fails, say that the packages could not be installed."""
    if subprocess.call([str(word) for word in command], cwd=str(ROOT)) != 0:
        raise BootstrapError(
            "The packages could not be installed (see above). Without a network, a warm package cache is needed; "
            "behind a mirror, set UV_DEFAULT_INDEX and PIP_INDEX_URL to it."
        )


def installation_stamp(lock):
    """Return what stands for the installed state: the lock's own bytes and this Python."""
    return hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()


def is_installed(lock):
    """Return whether .venv holds this lock, or the one for development, which holds more."""
    stamp = VENV / "installed"
    wanted = {installation_stamp(lock), installation_stamp(ROOT / "requirements" / "dev.txt")}
    return stamp.exists() and stamp.read_text() in wanted


def install(lock):
    """Make .venv anew if needed and install exactly what *lock* says."""
    python = VENV / "bin" / "python"
    if not python.exists():
        shutil.rmtree(str(VENV), ignore_errors=True)
        run_installer(sys.executable, "-m", "venv", VENV)
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--require-hashes")
    run_installer(*pip, "-r", ROOT / "requirements" / "bootstrap.txt")
    run_installer(VENV / "bin" / "uv", "pip", "sync", "-q", "--require-hashes", "--python", python, lock)
    (VENV / "installed").write_text(installation_stamp(lock))


def main(lock):
    """Install *lock* if it is not installed; return the exit code."""
    try:
        check_python(sys.version_info)
        if is_installed(lock):
            return 0
        check_venv(has_module)
        check_disk(shutil.disk_usage(str(ROOT)).free)
        install(lock)
    except BootstrapError as error:
        sys.stderr.write("Cannot set up: %s\n" % error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(ROOT / sys.argv[1]))
