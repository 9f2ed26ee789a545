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
from redis.connection import parse_url
from redis.sentinel import Sentinel

BEAT_KEY = "recsys:redbeat::lock"
"""The lock of the active beat. It expires a few seconds after that process ends."""
WORKER_KEY = "recsys:monitoring:workers:{name}@{host}"


def read_url() -> str:
    """Return REDIS_URL: the variable, else the file redis_url in SECRETS_DIR."""
    if url := os.environ.get("REDIS_URL"):
        return url
    files = {path.name.lower(): path for path in Path(os.environ["SECRETS_DIR"]).iterdir()}
    return files["redis_url"].read_text(encoding="utf-8").strip()


def connect(url: str) -> redis.Redis:
    """Return a client of the server at *url*, by the settings REDIS_SENTINELS, REDIS_CA_FILE and the like."""
    patience = {"socket_timeout": 4, "socket_connect_timeout": 4}
    files = {
        "ssl_ca_certs": os.environ.get("REDIS_CA_FILE"),
        "ssl_certfile": os.environ.get("REDIS_CERTIFICATE_FILE"),
        "ssl_keyfile": os.environ.get("REDIS_KEY_FILE"),
    }
    tls = {name: file for name, file in files.items() if file} if url.startswith("rediss:") else {}
    sentinels = [part.strip().rpartition(":") for part in os.environ.get("REDIS_SENTINELS", "").split(",") if part]
    if not sentinels:
        return redis.Redis.from_url(url, **patience, **tls)
    is_encrypted = {"ssl": url.startswith("rediss:")}
    password = os.environ.get("REDIS_SENTINEL_PASSWORD")
    watcher = Sentinel(
        [(host.strip("[]"), int(port)) for host, _, port in sentinels],
        sentinel_kwargs=patience | tls | is_encrypted | {"password": password},
    )
    address = {name: value for name, value in parse_url(url).items() if name in ("db", "username", "password")}
    return watcher.master_for(parse_url(url)["host"], **patience, **tls, **is_encrypted, **address)


def main(name: str) -> int:
    """Return 1 if the key of the process does not exist, else 0."""
    key = BEAT_KEY if name == "beat" else WORKER_KEY.format(name=name, host=socket.gethostname())
    try:
        with connect(read_url()) as client:
            return int(not client.exists(key))
    except (redis.ConnectionError, redis.TimeoutError) as error:
        sys.stderr.write(f"Redis does not answer: {type(error).__name__}\n")
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
