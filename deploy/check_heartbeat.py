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


def read_setting(name: str) -> str:
    """Return a setting of `recsys_project/environment.py`: the variable, else the file in SECRETS_DIR, else nothing."""
    if value := os.environ.get(name):
        return value
    folder = os.environ.get("SECRETS_DIR")
    files = {path.name.upper(): path for path in Path(folder).iterdir()} if folder else {}
    return files[name].read_text(encoding="utf-8").strip() if name in files else ""


def connect() -> redis.Redis:
    """Return a client of the broker, by the settings of Redis. With sentinels, the host of the URL is a name."""
    url = read_setting("REDIS_URL")
    patience = {"socket_timeout": 4, "socket_connect_timeout": 4}
    files = {
        "ssl_ca_certs": read_setting("REDIS_CA_FILE"),
        "ssl_certfile": read_setting("REDIS_CERTIFICATE_FILE"),
        "ssl_keyfile": read_setting("REDIS_KEY_FILE"),
    }
    is_encrypted = url.startswith("rediss:")
    options = patience | {name: file for name, file in files.items() if file and is_encrypted}
    sentinels = [part.strip().rpartition(":") for part in read_setting("REDIS_SENTINELS").split(",") if part.strip()]
    if not sentinels:
        return redis.Redis.from_url(url, **options)
    options["ssl"] = is_encrypted
    address = parse_url(url)
    watcher = Sentinel(
        [(host.strip("[]"), int(port)) for host, _, port in sentinels],
        sentinel_kwargs=options | {"password": read_setting("REDIS_SENTINEL_PASSWORD") or None},
    )
    user = {name: address[name] for name in ("db", "username", "password") if name in address}
    return watcher.master_for(address["host"], **options, **user)


def main(name: str) -> int:
    """Return 1 if the key of the process does not exist, else 0."""
    key = BEAT_KEY if name == "beat" else WORKER_KEY.format(name=name, host=socket.gethostname())
    try:
        with connect() as client:
            return int(not client.exists(key))
    except (redis.ConnectionError, redis.TimeoutError) as error:
        sys.stderr.write(f"Redis does not answer: {type(error).__name__}\n")
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
