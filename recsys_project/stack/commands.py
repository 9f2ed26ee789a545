"""The commands of the service's processes. The embedded stack and docker-compose.yml run the same commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import quote

from recsys_project.stack.state import StackState

CELERY = (sys.executable, "-m", "celery", "-A", "recsys_project")
ANALYSIS_TASKS = "flags.analysis.tasks"
"""Tasks that only the analysis worker loads: SciPy takes 60 MB and a second."""
TRAINING_TASKS = "recommendations.training_tasks"
"""What only the training worker loads, for the same reason."""


def web_command(port: int) -> list[str]:
    """Return the command of the web server on a port of the loopback interface."""
    options = ["--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--blocking-threads", "4"]
    return [sys.executable, "-m", "granian", *options, "recsys_project.wsgi:application"]


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
        "beat": [*CELERY, "beat", "-S", "redbeat.RedBeatScheduler", "-l", "INFO"],
        "flower": [*CELERY, "flower", *flower],
    }


def worker_options(queues: str, concurrency: int) -> list[str]:
    """Return the options of a worker for these queues."""
    return ["-Q", queues, "-c", str(concurrency), "-l", "INFO"]


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
        "FLOWER_BASIC_AUTH": f"admin:{state.flower_password}",
        "API_OPEN": "1",
        "MODEL_DIR": str(folder.resolve() / "models"),
        "PROMETHEUS_MULTIPROC_DIR": str(folder.resolve() / "metrics"),
        "PYTHONUNBUFFERED": "1",
    }
    return {name: os.environ.get(name) or value for name, value in defaults.items()}
