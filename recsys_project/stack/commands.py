"""The commands of the service's processes. The embedded stack and docker-compose.yml run the same commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from recsys_project.environment import MIN_SECRET_LENGTH, ROOT
from recsys_project.stack.state import STATE_FILE, StackState

CELERY = (sys.executable, "-m", "celery", "-A", "recsys_project")
ANALYSIS_TASKS = "flags.analysis.tasks"
"""Tasks that only the analysis worker loads: SciPy takes 60 MB and a second."""
TRAINING_TASKS = "recommendations.training_tasks"
"""What only the training worker loads, for the same reason."""


def web_command(port: int) -> list[str]:
    """Return the command of the web server on a port of the loopback interface."""
    # Only HTTP/1.1: its headers have a deadline, which an idle HTTP/2 connection would not have.
    options = ["--interface", "rsgi", "--http", "1", "--no-ws", "--http1-header-read-timeout", "10000"]
    options += ["--respawn-failed-workers"]  # without it, the server ends if a process that serves requests is killed
    return [
        *(sys.executable, "-m", "granian", *options),
        *("--host", "127.0.0.1", "--port", str(port), "recsys_project.rsgi:application"),
    ]


def server_commands(state: StackState) -> dict[str, list[str]]:
    """Return the command of each process by name. Interactive tasks have their own worker: no batch delays them."""
    flower = ["--address=127.0.0.1", f"--port={state.flower_port}"]
    return {
        "web": web_command(state.web_port),
        "worker-interactive": [*CELERY, "worker", "-n", "interactive@%h", *worker_options("interactive", 1)],
        "worker-batch": [*CELERY, "worker", "-n", "batch@%h", *worker_options("batch,maintenance", 2)],
        "worker-analysis": [
            *CELERY,
            "worker",
            "-n",
            "analysis@%h",
            "-I",
            ANALYSIS_TASKS,
            *worker_options("analysis", 1),
        ],
        "worker-training": [
            *CELERY,
            "worker",
            "-n",
            "training@%h",
            "-I",
            TRAINING_TASKS,
            *worker_options("training", 1),
        ],
        "beat": [*CELERY, "beat", "-S", "recsys_project.beat.Scheduler", "-l", "INFO"],
        "flower": [*CELERY, "flower", *flower],
    }


def worker_options(queues: str, concurrency: int) -> list[str]:
    """Return the options of a worker for these queues."""
    return ["-Q", queues, "-c", str(concurrency), "-l", "INFO"]


def get_folder() -> Path:
    """Return the folder with this clone's data: VAR_DIR, or `var`."""
    return Path(os.environ.get("VAR_DIR") or ROOT / "var")


def complete_environment(arguments: Sequence[str]) -> dict[str, str]:
    """
    Return the variables that a management command with these *arguments* needs and that are not set.

    In a clone that `make setup` or `make run` prepared, these are the clone's URLs and secrets. A deployment sets
    SECRET_KEY, DATABASE_URL or SECRETS_DIR, and gets none of them: a variable that it forgot must be an error, and must
    not make a command use an empty database. `--help` needs a key and does not use it.
    """
    if any(os.environ.get(name) for name in ("SECRET_KEY", "DATABASE_URL", "SECRETS_DIR")):
        return {}
    folder = get_folder()
    if (folder / STATE_FILE).exists():
        return child_environment(StackState.load(folder), folder)
    return {"SECRET_KEY": "-" * MIN_SECRET_LENGTH} if {"--help", "-h"} & set(arguments) else {}


def child_environment(state: StackState, folder: Path) -> dict[str, str]:
    """Return the variables of child processes: this clone's URLs and secrets. Variables that are already set win."""
    address = f"redis://:{state.redis_password}@127.0.0.1:{state.redis_port}"
    defaults = {
        "SECRET_KEY": state.secret_key,
        "DATABASE_URL": f"sqlite:///{quote(str(folder.resolve()))}/db.sqlite3",
        "REDIS_URL": f"{address}/0",
        "CACHE_REDIS_URL": f"{address}/1",
        "ADMIN_PASSWORD": state.admin_password,
        "METRICS_TOKEN": state.metrics_token,
        "FLOWER_URL": f"http://127.0.0.1:{state.flower_port}/",
        "FLOWER_BASIC_AUTH": f"admin:{state.flower_password}",
        "API_OPEN": "1",
        # On this machine there is no TLS, and a second factor would only protect the machine from its owner.
        "HTTPS": "0",
        "SECOND_FACTOR": "0",
        "MODEL_DIR": str(folder.resolve() / "models"),
        "PROMETHEUS_MULTIPROC_DIR": str(folder.resolve() / "metrics"),
        "PYTHONUNBUFFERED": "1",
    }
    return {name: os.environ.get(name) or value for name, value in defaults.items()}
