"""
Create the secrets of docker-compose.yml, one per file in secrets/: `python3 deploy/create_secrets.py [FOLDER]`.

An existing file is not changed, so the command can be repeated after an update. Only the folder's owner can open the
folder. The files themselves are readable, because Docker mounts them with the mode that they have here, and the
processes in the containers have other users.
"""

import secrets
import sys
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "secrets"
RANDOM = (
    "secret_key",
    "admin_password",
    "metrics_token",
    "qdrant_api_key",
    "postgres_password",
    "database_owner_password",
    "database_password",
    "database_reader_password",
    "redis_password",
    "grafana_password",
)
EMPTY = (
    "secret_key_fallbacks",
    "token_signing_keys",
    "cache_encryption_keys",
    "email_password",
    "redis_sentinel_password",
)
"""Optional settings. An empty file counts as not set."""
DERIVED = {
    "database_url": "postgresql://recsys_application:{database_password}@postgres:5432/recsys",
    "database_owner_url": "postgresql://recsys_owner:{database_owner_password}@postgres:5432/recsys",
    "redis_url": "redis://:{redis_password}@redis-broker:6379/0",
    "cache_redis_url": "redis://:{redis_password}@redis-cache:6379/0",
    "flower_basic_auth": "admin:{flower_password}",
}


def create_secrets(folder: Path, token: Callable[[], str]) -> list[str]:
    """Create the missing files in *folder*; return their names. *token* returns a new random text, safe in a URL."""
    folder.mkdir(mode=0o700, exist_ok=True)
    new = {name: token() for name in RANDOM} | dict.fromkeys(EMPTY, "")
    values = {name: read_existing(folder / name) or value for name, value in new.items()}
    values["flower_password"] = token()
    values |= {name: template.format(**values) for name, template in DERIVED.items()}
    created = [name for name in (*RANDOM, *EMPTY, *DERIVED) if not (folder / name).exists()]
    for name in created:
        (folder / name).write_text(values[name], encoding="utf-8")
        (folder / name).chmod(0o444)
    return created


def read_existing(path: Path) -> str:
    """Return the content of a file, or an empty text if there is none."""
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    names = create_secrets(target, lambda: secrets.token_urlsafe(36))
    sys.stdout.write(f"Created {len(names)} files in {target}.\n")
