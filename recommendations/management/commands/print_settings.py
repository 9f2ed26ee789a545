"""`manage.py print_settings`: print every environment setting as a Markdown table, or as an example of an env file."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

INTRODUCTION = """# Settings

Settings are environment variables. `recsys_project/environment.py` reads them once, at start; an invalid value stops
the process with a message that names the variable. A setting can also be the content of a file: `SECRETS_DIR` is a
folder whose files are named as the settings, in lower case, such as `secret_key` ([deploying](deploying.md#secrets)).
*Effect* is what a setting changes: **results** (what is returned), **speed** (only how fast), or **deployment** (how
and where the service runs). This page is the output of `manage.py print_settings`.

| Variable | Default | Effect | Meaning |
|---|---|---|---|
"""

ENV_FILE_INTRODUCTION = """\
# Copy this file to .env. Docker Compose passes every variable of it to the service's processes (docs/deploying.md).
# Secrets and the URLs that contain them are files in the folder secrets/: run `python3 deploy/create_secrets.py`.
# This file is the output of `manage.py print_settings --env-file`; the settings below have their defaults.

# Variables of docker-compose.yml
# Host name of the service. The proxy gets a certificate for a public name, and makes its own for localhost.
SITE_ADDRESS=localhost
# Containers of each kind.
WEB_REPLICAS=2
WORKER_INTERACTIVE_REPLICAS=1
WORKER_BATCH_REPLICAS=1
# Optional packages in the image: pictures.
OPTIONAL_PACKAGES=

# Settings that a deployment with docker-compose.yml must review
# Host names of the service, comma separated.
ALLOWED_HOSTS=localhost
# The proxy of docker-compose.yml sets X-Forwarded-For and X-Forwarded-Proto.
TRUSTED_PROXIES=1

# All other settings
"""
REVIEWED_SETTINGS = ("allowed_hosts", "trusted_proxies")
"""Settings that ENV_FILE_INTRODUCTION sets."""
CONTAINER_SETTINGS = (
    "database_url",
    "redis_url",
    "cache_redis_url",
    "metrics_port",
    "prometheus_multiproc_dir",
    "model_dir",
)
"""Settings whose defaults are for one machine. Without a value, a container has those of docker-compose.yml."""


def format_default(value: object) -> str:
    """Return a default in the syntax of the environment, without absolute paths of this machine."""
    if isinstance(value, bool):
        text = str(int(value))
    elif isinstance(value, list):
        text = ",".join(value)
    else:
        text = str(value)
    text = text.replace(str(settings.BASE_DIR), "(this folder)")
    return f"`{text}`" if text else ""


def render_settings_table() -> str:
    """Return the page docs/settings.md."""
    rows = [
        f"| `{name.upper()}` | {format_default(field.default)} | {field.json_schema_extra['effect']} "
        f"| {(field.description or '').replace('|', '&#124;')} |"
        for name, field in type(settings.ENV).model_fields.items()
        if isinstance(field.json_schema_extra, dict)
    ]
    return INTRODUCTION + "\n".join(rows)


def render_env_file() -> str:
    """Return the file .env.example: each setting with its meaning, as a comment, and its default."""
    lines = []
    for name, field in type(settings.ENV).model_fields.items():
        if name not in REVIEWED_SETTINGS:
            default = "" if name in CONTAINER_SETTINGS else format_default(field.default).strip("`")
            lines += [f"# {field.description}", f"# {name.upper()}={default}"]
    return ENV_FILE_INTRODUCTION + "\n".join(lines)


class Command(BaseCommand):
    help = "Print every setting as Markdown, or as an env file. docs/settings.md and .env.example are its output."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--env-file", action="store_true", help="print .env.example instead of docs/settings.md")

    def handle(self, *args: object, **options: Any) -> None:
        self.stdout.write(render_env_file() if options["env_file"] else render_settings_table())
