"""
Exit with 1 if a process of this container has no heartbeat in Redis: `python deploy/check_heartbeat.py NAME`.

NAME is `beat` or the part of a worker's name before the @. While Redis does not answer, nothing is known about the
process, and a restart would not help: the exit code is 0, and the check of Redis itself fails. A health check runs this
every 30 seconds, so it imports neither Django nor Celery, which take a second of processor time.
"""

import os
import socket
import sys
from pathlib import Path

import redis

BEAT_KEY = "recsys:redbeat::lock"
"""The lock of the active beat. It expires a few seconds after that process ends."""
WORKER_KEY = "recsys:monitoring:workers:{name}@{host}"


def read_url() -> str:
    """Return REDIS_URL: the variable, else the file redis_url in SECRETS_DIR."""
    if url := os.environ.get("REDIS_URL"):
        return url
    files = {path.name.lower(): path for path in Path(os.environ["SECRETS_DIR"]).iterdir()}
    return files["redis_url"].read_text(encoding="utf-8").strip()


def main(name: str) -> int:
    """Return 1 if the key of the process does not exist, else 0."""
    key = BEAT_KEY if name == "beat" else WORKER_KEY.format(name=name, host=socket.gethostname())
    try:
        with redis.Redis.from_url(read_url(), socket_timeout=4, socket_connect_timeout=4) as client:
            return int(not client.exists(key))
    except (redis.ConnectionError, redis.TimeoutError) as error:
        sys.stderr.write(f"Redis does not answer: {type(error).__name__}\n")
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
