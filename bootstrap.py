"""
Create .venv and install the pinned, hashed requirements: `python3 bootstrap.py requirements.txt`.

This script uses only the standard library. It must parse on old Python versions, to report that they are too old.
"""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
MIN_PYTHON = (3, 11)
MAX_PYTHON = (3, 13)  # newer versions lack wheels of some packages
NEEDED_BYTES = 3 * 2**30


class BootstrapError(Exception):
    """A requirement is missing on this machine. The message names it and how to install it."""


def check_python(version):
    """Raise `BootstrapError` if Python is too old, or too new for the packages."""
    if tuple(version[:2]) > MAX_PYTHON:
        raise BootstrapError(
            "Python %d.%d is newer than the packages support: use %d.%d at most, as in `make PYTHON=python3.13 run`."
            % (version[0], version[1], MAX_PYTHON[0], MAX_PYTHON[1])
        )
    if tuple(version[:2]) < MIN_PYTHON:
        raise BootstrapError(
            "Python %d.%d is too old: %d.%d or newer is required. Install it and run `make PYTHON=python3.11 run`."
            % (version[0], version[1], MIN_PYTHON[0], MIN_PYTHON[1])
        )


def check_venv(has_module):
    """Raise `BootstrapError` if Python lacks venv or ensurepip, which some distributions package separately."""
    for module in ("venv", "ensurepip"):
        if not has_module(module):
            raise BootstrapError(
                "This Python has no %s module. On Debian or Ubuntu, run: apt-get install python3-venv" % module
            )


def check_disk(free):
    """Raise `BootstrapError` if the disk has too little space for the packages."""
    if free < NEEDED_BYTES:
        raise BootstrapError(
            "The disk of %s has %d MB left, but the packages need %d MB. Free some space or clone to another disk."
            % (ROOT, free >> 20, NEEDED_BYTES >> 20)
        )


def has_module(name):
    """Return whether this Python can import *name*."""
    return subprocess.call([sys.executable, "-c", "import " + name], stderr=subprocess.DEVNULL) == 0


def run_installer(*command):
    """Run a command. Raises `BootstrapError` if it fails."""
    if subprocess.call([str(word) for word in command], cwd=str(ROOT)) != 0:
        raise BootstrapError(
            "The packages could not be installed (see above). Check the network connection; offline, the package cache "
            "must be filled. To use a mirror, set UV_DEFAULT_INDEX and PIP_INDEX_URL to its URL."
        )


def installation_stamp(lock):
    """Return a hash that identifies the installed packages: of the lock file and of this Python version."""
    return hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()


def is_installed(lock):
    """Return whether .venv contains the packages of *lock*, or those for development, which include them."""
    stamp = VENV / "installed"
    valid = {installation_stamp(lock), installation_stamp(ROOT / "requirements" / "dev.txt")}
    return stamp.exists() and stamp.read_text() in valid


def install(lock):
    """Create .venv if needed and install exactly the packages of *lock*."""
    python = VENV / "bin" / "python"
    if not python.exists():
        shutil.rmtree(str(VENV), ignore_errors=True)
        run_installer(sys.executable, "-m", "venv", VENV)
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--require-hashes")
    run_installer(*pip, "-r", ROOT / "requirements" / "bootstrap.txt")
    run_installer(VENV / "bin" / "uv", "pip", "sync", "-q", "--require-hashes", "--python", python, lock)
    (VENV / "installed").write_text(installation_stamp(lock))


def main(lock):
    """Install the packages of *lock* unless they are installed; return the exit code."""
    try:
        check_python(sys.version_info)
        if is_installed(lock):
            return 0
        check_venv(has_module)
        check_disk(shutil.disk_usage(str(ROOT)).free)
        install(lock)
    except BootstrapError as error:
        sys.stderr.write("Setup failed: %s\n" % error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(ROOT / sys.argv[1]))
