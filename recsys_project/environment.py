"""
Every setting that the environment may give, in one table: name, default, meaning, and what it changes.

`settings.py` is its only reader. A value that cannot be used stops the start with the variable's name.
`manage.py settings` prints this table; docs/settings.md is that print, and a test keeps the two equal.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent

SettingEffect = Literal["answer", "speed", "place"]
"""What a setting changes: the answers given, only their speed, or only where things are kept."""

UNITS = {"KB": 2**10, "MB": 2**20, "GB": 2**30, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_bytes(text: str | int) -> int:
    """Return a number of bytes from a text such as `2048MB` or a plain number of bytes."""
    if isinstance(text, int):
        return text
    digits = text.strip().upper()
    for unit, factor in UNITS.items():
        if digits.endswith(unit):
            return int(float(digits.removesuffix(unit)) * factor)
    return int(digits.removesuffix("B"))


MIN_SECRET_LENGTH = 32


def split_secrets(value: SecretStr) -> list[str]:
    """Return the secrets of a comma-separated text."""
    return [part.strip() for part in value.get_secret_value().split(",") if part.strip()]


def require_positive(value: int) -> int:
    """Return *value* if it is above 0."""
    if value <= 0:
        raise ValueError("must be above 0")
    return value


def require_non_negative(value: int) -> int:
    """Return *value* if it is not below 0."""
    if value < 0:
        raise ValueError("must not be below 0")
    return value


def parse_signing_keys(value: SecretStr) -> dict[str, str]:
    """Return the secrets of a comma-separated text of name:secret, by name; raise `ValueError` for any other text."""
    found: dict[str, str] = {}
    for part in split_secrets(value):
        name, _, secret = part.partition(":")
        if not name or name in found or len(secret) < MIN_SECRET_LENGTH:
            raise ValueError(
                f"write name:secret, each name once, each secret of at least {MIN_SECRET_LENGTH} characters"
            )
        found[name] = secret
    return found


PositiveInt = Annotated[int, AfterValidator(require_positive)]
NonNegativeInt = Annotated[int, AfterValidator(require_non_negative)]


def setting(default: object, effect: SettingEffect, description: str) -> Any:
    """Return a field of the table below."""
    return Field(default=default, description=description, json_schema_extra={"changes": effect})


class Environment(BaseSettings):
    """The table itself. A field's name, in capitals, is its variable."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True)

    # Django
    debug: bool = setting(False, "answer", "Show tracebacks and the schema browser's extras. Never in production.")
    secret_key: SecretStr = setting(
        SecretStr(""),
        "place",
        "Signs sessions and tokens; at least 32 characters. Needed unless DEBUG is on.",
    )
    allowed_hosts: Annotated[list[str], NoDecode] = setting(
        ["localhost", "127.0.0.1", "[::1]"], "place", "Host names that requests may ask for, comma separated."
    )
    csrf_trusted_origins: Annotated[list[str], NoDecode] = setting(
        [], "place", "Origins (scheme and host) that may post forms, comma separated."
    )
    database_url: str = setting(
        f"sqlite:///{ROOT / 'var' / 'db.sqlite3'}", "place", "The database: sqlite:///PATH or postgresql://…"
    )
    redis_url: str = setting(
        "redis://127.0.0.1:6379/0", "place", "The broker: a Redis that keeps everything (noeviction, AOF)."
    )
    cache_redis_url: str = setting(
        "redis://127.0.0.1:6379/1",
        "place",
        "The caches: a Redis that may evict. May be another database of the same.",
    )
    qdrant_url: str = setting(
        "", "place", "The vector index for posts beyond the resident ones: http://…; empty: only resident posts."
    )
    qdrant_api_key: SecretStr = setting(SecretStr(""), "place", "Key that Qdrant asks for; empty: it asks for none.")
    api_open: bool = setting(
        False,
        "answer",
        "Let the API be used without a key (embedded stack on one's own machine). Never in production.",
    )
    graphql_introspection: bool = setting(
        False, "answer", "Let GraphQL tell its whole schema to whoever may use it; with DEBUG it does anyway."
    )
    token_signing_keys: SecretStr = setting(
        SecretStr(""),
        "answer",
        "Secrets of members' tokens as name:secret, comma separated, newest first, 32 characters or more each; "
        "the first signs, all are accepted. Derived from SECRET_KEY if empty.",
    )
    rate_per_key: NonNegativeInt = setting(
        60_000, "answer", "Requests a minute that an API key may send, if its own row says nothing; 0: no limit."
    )
    rate_per_member: NonNegativeInt = setting(
        600, "answer", "Requests a minute with the tokens of one member; 0: no limit."
    )
    rate_per_staff: NonNegativeInt = setting(
        1200, "answer", "API requests a minute of one member of staff; 0: no limit."
    )
    rate_per_address: NonNegativeInt = setting(
        120, "answer", "Refused requests a minute of a stranger's address, before the answer is 429; 0: no limit."
    )
    trusted_proxies: NonNegativeInt = setting(
        0, "answer", "Proxies in front, whose X-Forwarded-For says a stranger's address; 0: the connection's own."
    )
    cors_allowed_origins: Annotated[list[str], NoDecode] = setting(
        [], "answer", "Origins (scheme and host) whose pages may use the API with a member's token; empty: none."
    )
    metrics_token: SecretStr = setting(
        SecretStr(""), "place", "Bearer token that /metrics asks for; empty leaves it to staff sessions."
    )
    admin_password: SecretStr = setting(
        SecretStr(""), "place", "Password that `manage.py ensure_admin` gives the user admin when it makes it."
    )

    # Recommendation
    embedder: Literal["wordllama", "fastembed", "tiny"] = setting(
        "wordllama", "answer", "Text model: wordllama (in its wheel), fastembed (from a hub) or tiny (tests)."
    )
    fastembed_model: str = setting(
        "BAAI/bge-small-en-v1.5", "answer", "The model that fastembed loads when EMBEDDER=fastembed."
    )
    image_embedder: Literal["", "conse", "fastembed-clip"] = setting(
        "",
        "answer",
        "Model of pictures: conse (from wheels), fastembed-clip (from a hub); empty: the platform's vectors.",
    )
    enable_wasm_recommendations: bool = setting(
        True, "speed", "Whether the wasm_recommendations flag is on when its row is first made."
    )
    wasm_rollout_percentage: int = setting(
        100, "speed", "Share of members on the wasm engine when the flag's row is first made, 0 to 100."
    )
    wasm_memory_limit: Annotated[int, Field(validate_default=True)] = setting(
        2048 * 2**20,
        "place",
        "Linear memory a process may use for vectors, such as 2048MB. Over it: an error.",
    )
    memory_cleanup_threshold: Annotated[int, Field(validate_default=True)] = setting(
        500 * 2**20,
        "speed",
        "What a process may hold beside the kernels' memory, such as 500MB, before it gives up what has expired.",
    )
    memory_emergency_share: float = setting(
        0.9,
        "speed",
        "Share of the machine's or container's memory in use, 0 to 1, from which on a process gives up every cache.",
    )
    replay_share: float = setting(
        0.05, "place", "Share of feed requests whose inputs are kept, so that they can be ranked again, 0 to 1."
    )
    interaction_max_age_days: PositiveInt = setting(
        90, "answer", "How long ago an interaction that the API is told of may have been; older ones are refused."
    )
    batch_processing_size: PositiveInt = setting(100, "speed", "Members or posts per chunk of a job.")
    seen_retention_days: PositiveInt = setting(
        365, "answer", "Days after which it is forgotten that a member saw a post, which may then be shown again."
    )
    served_retention_days: PositiveInt = setting(
        90, "answer", "Days that records of what was served are kept: how far back a feed can be explained."
    )
    embeddings_archive_dir: str = setting(
        "", "place", "Folder that vectors of models long retired go to; empty: they stay in the database."
    )
    embeddings_archive_days: PositiveInt = setting(
        30,
        "speed",
        "Days after its retirement that a model's vectors are archived; it is quick to bring back until then.",
    )
    slate_fresh_seconds: PositiveInt = setting(
        180,
        "answer",
        "Age up to which a cached slate is served as it is (it is looked at again in any case).",
    )
    slate_stale_seconds: PositiveInt = setting(
        600,
        "answer",
        "Age up to which a cached slate is still served, while a worker makes the next; at least SLATE_FRESH_SECONDS.",
    )
    slate_retention_seconds: PositiveInt = setting(
        86_400, "answer", "Age up to which a cached slate may serve as the last good one."
    )
    record_buffer_seconds: Annotated[float, Field(ge=0, le=1)] = setting(
        0.02,
        "speed",
        "How long a process gathers what it served before Redis is told: what a kill -9 may lose. 0: no time.",
    )
    slate_cache_members: PositiveInt = setting(
        1_000_000, "speed", "Members whose slates may lie in the cache; over it those served longest ago go."
    )
    post_vector_cache_size: PositiveInt = setting(
        200_000, "speed", "Posts whose vectors may lie in the cache; over it those used longest ago go."
    )
    query_cache_size: PositiveInt = setting(
        10_000, "speed", "Vector queries whose answers may lie in the cache; over it those used longest ago go."
    )
    vector_cache_size: PositiveInt = setting(
        10_000, "speed", "Members whose interests a process keeps in memory; over it those used longest ago go."
    )
    cache_encryption_keys: SecretStr = setting(
        SecretStr(""),
        "speed",
        "Secrets that personal values in Redis are sealed with, comma separated, newest first, 32 characters or more "
        "each; derived from SECRET_KEY if empty. A value sealed with a secret that is gone is a miss.",
    )
    catalogue_refresh_seconds: float = setting(
        1.0, "answer", "How often a process asks the database what changed in the catalogue."
    )
    catalogue_max_posts: PositiveInt = setting(
        1_000_000, "answer", "Posts, newest first, that a process keeps resident as candidates."
    )

    # Processes
    prometheus_metrics_enabled: bool = setting(True, "place", "Serve /metrics.")
    prometheus_multiproc_dir: str = setting(
        "", "place", "Folder in which several processes add up their metrics; empty for one process."
    )
    metrics_port: int = setting(
        0,
        "place",
        "Port on which a worker tells its metrics; 0: only through a web process that shares PROMETHEUS_MULTIPROC_DIR.",
    )
    performance_monitoring_interval: PositiveInt = setting(
        30_000,
        "place",
        "Milliseconds between two samples of a process's memory and figures, which alerts and the dashboard read.",
    )
    alert_emails: Annotated[list[str], NoDecode] = setting(
        [], "place", "Addresses that alerts are mailed to, comma separated; empty: nobody."
    )
    alert_webhook_url: str = setting("", "place", "Address that each alert is posted to as JSON; empty: none.")
    alertmanager_url: str = setting(
        "", "place", "An Alertmanager that alerts are passed on to, such as http://alertmanager:9093; empty: none."
    )
    email_host: str = setting("localhost", "place", "The mail server that alerts are mailed by.")
    email_port: PositiveInt = setting(25, "place", "Its port.")
    email_user: str = setting("", "place", "User that the mail server asks for; empty: it asks for none.")
    email_password: SecretStr = setting(SecretStr(""), "place", "That user's password.")
    email_tls: bool = setting(False, "place", "Whether mails go by STARTTLS.")
    email_from: str = setting("recsys@localhost", "place", "Whom mails are from.")
    job_lease_seconds: PositiveInt = setting(
        120, "speed", "After this long without a word, a job's chunk is given to another worker."
    )
    web_port: int = setting(0, "place", "The web server's port in the embedded stack; 0: a free one, remembered.")
    flower_port: int = setting(0, "place", "Flower's port in the embedded stack; 0: a free one, remembered.")
    otel_exporter_otlp_endpoint: str = setting(
        "", "place", "Where traces go by OTLP over HTTP, such as http://collector:4318; empty: there are none."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting("INFO", "place", "Least level that is logged.")

    @field_validator("allowed_hosts", "csrf_trusted_origins", "cors_allowed_origins", "alert_emails", mode="before")
    @classmethod
    def split_commas(cls, value: object) -> object:
        """Return the parts of a comma-separated text."""
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("cors_allowed_origins")
    @classmethod
    def check_origins(cls, value: list[str]) -> list[str]:
        """Return *value* if each of it is a scheme and a host, which is what a browser sends."""
        if any(not re.fullmatch(r"https?://[^/\s*]+", origin) for origin in value):
            raise ValueError("write each origin as https://host or https://host:port, without a path")
        return value

    @field_validator("token_signing_keys")
    @classmethod
    def check_signing_keys(cls, value: SecretStr) -> SecretStr:
        """Return *value* if each of its secrets has a name and is long enough."""
        parse_signing_keys(value)
        return value

    @field_validator("memory_cleanup_threshold", mode="before")
    @classmethod
    def parse_cleanup_threshold(cls, value: str | int) -> int:
        """Return the bytes that a text such as 500MB means."""
        return require_positive(parse_bytes(value))

    @field_validator("memory_emergency_share")
    @classmethod
    def check_share(cls, value: float) -> float:
        """Return *value* if it is a share."""
        if not 0 < value <= 1:
            raise ValueError("must be above 0 and at most 1")
        return value

    @field_validator("wasm_memory_limit", mode="before")
    @classmethod
    def parse_wasm_memory_limit(cls, value: str | int) -> int:
        """Return the bytes that a text such as 2048MB means, at most the 4 GiB of 32-bit linear memory."""
        count = parse_bytes(value)
        if not 2**20 <= count <= 4 * 2**30:
            raise ValueError("must be between 1MB and 4096MB")
        return count

    @field_validator("cache_encryption_keys")
    @classmethod
    def check_encryption_keys(cls, value: SecretStr) -> SecretStr:
        """Return *value* if each of its secrets is long enough; a message must not show any."""
        if any(len(secret) < MIN_SECRET_LENGTH for secret in split_secrets(value)):
            raise ValueError(f"each secret needs at least {MIN_SECRET_LENGTH} characters")
        return value

    @model_validator(mode="after")
    def check_slate_ages(self) -> Environment:
        """Return the settings if a slate's ages follow one another."""
        if not self.slate_fresh_seconds <= self.slate_stale_seconds <= self.slate_retention_seconds:
            raise ValueError("SLATE_FRESH_SECONDS, SLATE_STALE_SECONDS and SLATE_KEEP_SECONDS must not fall")
        return self

    @model_validator(mode="after")
    def check_metrics_folder(self) -> Environment:
        """Return the settings if a worker that tells its metrics can add up its children's."""
        if self.metrics_port and not self.prometheus_multiproc_dir:
            raise ValueError("METRICS_PORT needs PROMETHEUS_MULTIPROC_DIR: a worker adds up its children's there")
        return self

    @field_validator("alert_webhook_url", "alertmanager_url")
    @classmethod
    def check_web_url(cls, value: str) -> str:
        """Return *value* if it is an address of the web, or empty."""
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value

    @field_validator("wasm_rollout_percentage")
    @classmethod
    def check_percentage(cls, value: int) -> int:
        """Return *value* if it is a percentage."""
        if not 0 <= value <= 100:
            raise ValueError("must be between 0 and 100")
        return value


def format_problem(name: str, message: str, value: object) -> str:
    """Return a line that says what is wrong with a variable; without *name*, with several. A secret is not shown."""
    if not name:
        return f"  {message}"
    shown = "" if Environment.model_fields[name].annotation is SecretStr else f" (got {value!r})"
    return f"  {name.upper()}: {message}{shown}"


def read_environment() -> Environment:
    """Return the settings, or stop the process with every variable that cannot be used, and why."""
    try:
        env = Environment()
    except ValidationError as error:
        lines = [format_problem(str(e["loc"][0]) if e["loc"] else "", e["msg"], e["input"]) for e in error.errors()]
        raise SystemExit("These environment variables cannot be used:\n" + "\n".join(lines)) from None
    if not env.debug and len(env.secret_key.get_secret_value()) < 32:
        raise SystemExit(
            "SECRET_KEY: needs at least 32 characters (or set DEBUG=1 on your own machine). "
            "`make run` makes one; elsewhere: python -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
    return env
