"""
The environment variables of the service in one table: name, default, meaning and effect.

Only `settings.py` reads it. An invalid value stops the process at start with a message that names the variable. A
setting can also be the content of a file in the folder SECRETS_DIR, as Docker and Kubernetes mount secrets; a variable
that is set and not empty wins.
docs/settings.md is the output of `manage.py print_settings`; a test compares the two.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent

SettingEffect = Literal["results", "speed", "deployment"]
"""What a setting changes: the results, only their speed, or only how and where the service runs."""

UNITS = {"KB": 2**10, "MB": 2**20, "GB": 2**30, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_bytes(text: str | int) -> int:
    """Return the bytes of a text such as `2048MB` or `1048576`. Units are binary: 1 KB is 1,024 bytes."""
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
    """Return *value* if it is above 0, else raise `ValueError`."""
    if value <= 0:
        raise ValueError("must be above 0")
    return value


def require_non_negative(value: int) -> int:
    """Return *value* if it is 0 or more, else raise `ValueError`."""
    if value < 0:
        raise ValueError("must be 0 or more")
    return value


def parse_signing_keys(value: SecretStr) -> dict[str, str]:
    """Return secrets by name from comma-separated name:secret pairs. Raises `ValueError` for any other text."""
    keys: dict[str, str] = {}
    for part in split_secrets(value):
        name, _, secret = part.partition(":")
        if not name or name in keys or len(secret) < MIN_SECRET_LENGTH:
            raise ValueError(
                f"give name:secret pairs with unique names and secrets of at least {MIN_SECRET_LENGTH} characters"
            )
        keys[name] = secret
    return keys


PositiveInt = Annotated[int, AfterValidator(require_positive)]
NonNegativeInt = Annotated[int, AfterValidator(require_non_negative)]


def setting(default: object, effect: SettingEffect, description: str) -> Any:
    """Return a field of `Environment`."""
    return Field(default=default, description=description, json_schema_extra={"effect": effect})


class Environment(BaseSettings):
    """The table of settings. The variable is the field's name in capitals."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True)
    _mask_wrapped: ClassVar[bool] = True
    """`settings.ENV` asks for this attribute at each access. Without it, pydantic raises and catches an error: 4 µs."""

    # Django
    debug: bool = setting(
        False, "results", "Show tracebacks and the extras of the schema browser. Never use it in production."
    )
    secret_key: SecretStr = setting(
        SecretStr(""),
        "deployment",
        "Key that signs sessions and tokens, at least 32 characters. Required unless DEBUG is on.",
    )
    secret_key_fallbacks: SecretStr = setting(
        SecretStr(""),
        "deployment",
        "Earlier values of SECRET_KEY, comma separated, whose sessions, second factors and candidate packs stay "
        "valid after a change.",
    )
    allowed_hosts: Annotated[list[str], NoDecode] = setting(
        ["localhost", "127.0.0.1", "[::1]"],
        "deployment",
        "Host names under which the service answers, comma separated.",
    )
    csrf_trusted_origins: Annotated[list[str], NoDecode] = setting(
        [],
        "deployment",
        "Origins (scheme and host) that may submit forms, comma separated. Needed if a proxy changes the Host header.",
    )
    https: bool = setting(
        True,
        "deployment",
        "Send cookies over HTTPS only, redirect other requests, and send HSTS. 0: for a server on your own machine "
        "without TLS. DEBUG turns it off.",
    )
    hsts_seconds: NonNegativeInt = setting(
        31_536_000, "deployment", "How long browsers refuse plain HTTP after a visit (HSTS). 0: no HSTS."
    )
    second_factor: bool = setting(
        True, "results", "Whether staff need an authenticator app or a security key besides their password."
    )
    database_url: str = setting(
        f"sqlite:///{ROOT / 'var' / 'db.sqlite3'}",
        "deployment",
        "URL of the database: sqlite:///PATH or postgresql://…",
    )
    redis_url: str = setting(
        "redis://127.0.0.1:6379/0", "deployment", "URL of the broker, a Redis that never evicts (noeviction, AOF)."
    )
    cache_redis_url: str = setting(
        "redis://127.0.0.1:6379/1",
        "deployment",
        "URL of the caches, a Redis that may evict. It may be another database of the broker's server.",
    )
    redis_sentinels: Annotated[list[str], NoDecode] = setting(
        [],
        "deployment",
        "HOST:PORT of the sentinels that watch the two Redis, comma separated. The host in REDIS_URL and "
        "CACHE_REDIS_URL is then the name of a primary, such as redis://:PASSWORD@recsys-broker/0. Empty: the URLs "
        "have the addresses.",
    )
    redis_sentinel_password: SecretStr = setting(SecretStr(""), "deployment", "Password of the sentinels.")
    redis_ca_file: str = setting(
        "",
        "deployment",
        "File of the authority that signed the certificates of the two Redis and the sentinels, if the URLs begin with "
        "rediss://. Empty: the authorities of the system.",
    )
    redis_certificate_file: str = setting(
        "", "deployment", "File of the client's certificate, if the two Redis ask for one (tls-auth-clients yes)."
    )
    redis_key_file: str = setting("", "deployment", "File of the key of REDIS_CERTIFICATE_FILE.")
    qdrant_url: str = setting(
        "",
        "deployment",
        "URL of the vector index for non-resident posts, such as http://qdrant:6333. Empty: use resident posts only.",
    )
    qdrant_api_key: SecretStr = setting(SecretStr(""), "deployment", "API key for Qdrant. Empty: Qdrant needs none.")
    personalization_consent: Literal["opt_in", "opt_out"] = setting(
        "opt_out",
        "results",
        "Whether a member whose platform has sent no is_personalized is personalized: opt_in (not until they agree) or "
        "opt_out (until they object). Applies to members without settings at any time, and to new settings.",
    )
    seen_posts: Literal["served", "reported"] = setting(
        "served",
        "results",
        "How the service knows how many members looked at a post. Rates of positive interactions are relative to it: "
        "served (a post on a served page counts by its position) or reported (only what clients report with "
        "POST /api/v1/members/{member_id}/seen counts; for platforms that report every post that was on a screen).",
    )
    api_open: bool = setting(
        False,
        "results",
        "Accept API requests without a key, as the embedded stack does. Never use it in production.",
    )
    graphql_introspection: bool = setting(
        False,
        "results",
        "Allow GraphQL introspection to keys and tokens. DEBUG allows it as well, and staff always may.",
    )
    token_signing_keys: SecretStr = setting(
        SecretStr(""),
        "results",
        "Keys of members' tokens as name:secret, comma separated, newest first, 32 characters or more each. The "
        "first signs new tokens, all verify tokens. Empty: derived from SECRET_KEY.",
    )
    rate_per_key: NonNegativeInt = setting(
        60_000, "results", "Requests per minute of an API key without a limit of its own. 0: no limit."
    )
    rate_per_member: NonNegativeInt = setting(
        600, "results", "Requests per minute with the tokens of one member, without writes. 0: no limit."
    )
    write_rate_per_member: NonNegativeInt = setting(
        300, "results", "Writes per minute with the tokens of one member. 0: no limit."
    )
    rate_per_staff: NonNegativeInt = setting(1200, "results", "API requests per minute of one staff user. 0: no limit.")
    rate_per_address: NonNegativeInt = setting(
        120, "results", "Refused requests per minute of one unauthenticated address before it gets 429. 0: no limit."
    )
    trusted_proxies: NonNegativeInt = setting(
        0,
        "results",
        "Number of proxies in front that set X-Forwarded-For and X-Forwarded-Proto. 0: none, both headers are ignored.",
    )
    cors_allowed_origins: Annotated[list[str], NoDecode] = setting(
        [],
        "results",
        "Origins (scheme and host) whose pages may call the API with a member's token, comma separated. Empty: none.",
    )
    metrics_token: SecretStr = setting(
        SecretStr(""), "deployment", "Bearer token for /metrics. Empty: only staff sessions may read it."
    )
    admin_password: SecretStr = setting(
        SecretStr(""), "deployment", "Password of the user admin that `manage.py ensure_admin` creates."
    )

    # Recommendation
    embedder: Literal["wordllama", "fastembed", "tiny"] = setting(
        "wordllama",
        "results",
        "Text embedding model: wordllama (included in its wheel), fastembed (downloaded) or tiny (tests).",
    )
    fastembed_model: str = setting(
        "BAAI/bge-small-en-v1.5", "results", "Model that is loaded if EMBEDDER is fastembed."
    )
    image_embedder: Literal["", "conse", "fastembed-clip"] = setting(
        "",
        "results",
        "Image embedding model: conse (from wheels) or fastembed-clip (downloaded). Empty: import vectors instead.",
    )
    enable_wasm_recommendations: bool = setting(
        True, "speed", "Whether the wasm_recommendations flag is on when it is created."
    )
    wasm_rollout_percentage: int = setting(
        100, "speed", "Percentage of members on the wasm engine when the flag is created, 0 to 100."
    )
    wasm_memory_limit: Annotated[int, Field(validate_default=True)] = setting(
        2048 * 2**20,
        "deployment",
        "Linear memory that a process may use for vectors, such as 2048MB. Above it, the kernel raises an error.",
    )
    memory_cleanup_threshold: Annotated[int, Field(validate_default=True)] = setting(
        500 * 2**20,
        "speed",
        "Heap of a process (without kernels), such as 500MB, above which it removes expired entries and frees memory.",
    )
    memory_emergency_share: float = setting(
        0.9,
        "speed",
        "Fraction of the machine's or container's memory in use, 0 to 1, above which a process empties all its caches.",
    )
    replay_share: float = setting(
        0.05, "deployment", "Fraction of feed requests whose inputs are stored for replay, 0 to 1."
    )
    interaction_max_age_days: PositiveInt = setting(
        90, "results", "Greatest age of an interaction that the API accepts, in days."
    )
    interaction_retention_days: PositiveInt = setting(
        1095,
        "results",
        "Days from the receipt of an interaction or undo until it is deleted; at least INTERACTION_MAX_AGE_DAYS. What "
        "was learned from it fades without it. Models are trained without it.",
    )
    batch_processing_size: PositiveInt = setting(100, "speed", "Members or posts per chunk of a job.")
    seen_retention_days: PositiveInt = setting(
        365,
        "results",
        "Days until the record that a member saw a post is deleted, unless the member interacted with the "
        "post. The post may then be served again.",
    )
    served_retention_days: PositiveInt = setting(
        90, "results", "Days until served records are deleted: how far back a feed can be explained."
    )
    embeddings_archive_dir: str = setting(
        "",
        "deployment",
        "Folder for the archived vectors of retired embedding models. Empty: they stay in the database.",
    )
    embeddings_archive_days: PositiveInt = setting(
        30,
        "speed",
        "Days until the vectors of a retired embedding model are archived. Reactivating it is quick until then.",
    )
    slate_fresh_seconds: PositiveInt = setting(
        180,
        "results",
        "Age up to which a cached slate is served without a refresh. The final check runs in any case.",
    )
    slate_stale_seconds: PositiveInt = setting(
        600,
        "results",
        "Age up to which a cached slate is served while a worker builds a new one; at least SLATE_FRESH_SECONDS.",
    )
    slate_retention_seconds: PositiveInt = setting(
        86_400, "results", "Age up to which a cached slate may be served as a fallback; at least SLATE_STALE_SECONDS."
    )
    record_buffer_seconds: Annotated[float, Field(ge=0, le=1)] = setting(
        0.02,
        "speed",
        "How long a process buffers served records before it sends them to Redis, 0 to 1. A kill -9 loses the buffer.",
    )
    slate_cache_members: PositiveInt = setting(
        1_000_000,
        "speed",
        "Maximum number of members with cached slates. Above it, the least recently served are evicted.",
    )
    post_vector_cache_size: PositiveInt = setting(
        200_000, "speed", "Maximum number of cached post vectors. Above it, the least recently used are evicted."
    )
    query_cache_size: PositiveInt = setting(
        10_000,
        "speed",
        "Maximum number of cached results of vector queries. Above it, the least recently used are evicted.",
    )
    vector_cache_size: PositiveInt = setting(
        10_000,
        "speed",
        "Maximum number of members whose interests a process caches. Above it, the least recently used are evicted.",
    )
    cache_encryption_keys: SecretStr = setting(
        SecretStr(""),
        "speed",
        "Keys that encrypt personal values in Redis, comma separated, newest first, 32 characters or more each. Empty: "
        "derived from SECRET_KEY. A value that was encrypted with a removed key counts as a cache miss.",
    )
    catalogue_refresh_seconds: float = setting(
        1.0, "results", "Interval at which a process reads changes of the catalogue from the database."
    )
    catalogue_max_posts: PositiveInt = setting(
        1_000_000, "results", "Maximum number of resident posts in a process; the newest posts are resident."
    )

    co_like_min_members: PositiveInt = setting(
        2,
        "results",
        "Members that must have liked both of two posts before one is recommended because of the other, so that "
        "neither recommendations nor reasons reveal what one member liked.",
    )

    # Processes
    prometheus_metrics_enabled: bool = setting(True, "deployment", "Serve /metrics.")
    prometheus_multiproc_dir: str = setting(
        "", "deployment", "Folder in which several processes share their metrics. Empty: a single process."
    )
    metrics_port: int = setting(
        0,
        "deployment",
        "Port on which a worker serves metrics. 0: a web process with the same PROMETHEUS_MULTIPROC_DIR serves them.",
    )
    performance_monitoring_interval: PositiveInt = setting(
        30_000,
        "deployment",
        "Milliseconds between two samples of a process's memory and metrics, which alerts and the dashboard read.",
    )
    alert_emails: Annotated[list[str], NoDecode] = setting(
        [], "deployment", "Email addresses that receive alerts, comma separated. Empty: no emails."
    )
    alert_webhook_url: str = setting("", "deployment", "URL that receives each alert as a JSON POST. Empty: none.")
    alertmanager_url: str = setting(
        "", "deployment", "URL of an Alertmanager that receives alerts, such as http://alertmanager:9093. Empty: none."
    )
    email_host: str = setting("localhost", "deployment", "Host of the mail server that sends alerts.")
    email_port: PositiveInt = setting(25, "deployment", "Port of the mail server.")
    email_user: str = setting("", "deployment", "User name for the mail server. Empty: no login.")
    email_password: SecretStr = setting(SecretStr(""), "deployment", "Password for the mail server.")
    email_tls: bool = setting(False, "deployment", "Whether to use STARTTLS with the mail server.")
    email_from: str = setting("recsys@localhost", "deployment", "Sender address of emails.")
    job_lease_seconds: PositiveInt = setting(
        15, "speed", "Seconds without a heartbeat after which a job's chunk goes to another worker."
    )
    job_window_chunks: PositiveInt = setting(
        8,
        "speed",
        "Chunks of a job that are in the queue or running at once. Set it to the number of worker processes or more.",
    )
    model_dir: str = setting(
        str(ROOT / "var" / "models"),
        "deployment",
        "Folder for the arrays of trained models. The processes of a machine share it, and its pages in memory.",
    )
    training_memory_limit: Annotated[int, Field(validate_default=True)] = setting(
        8192 * 2**20,
        "deployment",
        "Memory that the training worker may use, such as 8192MB. Above it, the training fails.",
    )
    web_threads: PositiveInt = setting(4, "speed", "Requests that a process of the web server answers at once.")
    request_body_seconds: PositiveInt = setting(
        30, "deployment", "Seconds within which the body of a request must arrive. Later, it gets a 408."
    )
    request_seconds: PositiveInt = setting(
        60,
        "deployment",
        "Seconds after its arrival in which a request may get a thread and call the database. Later, it gets a 503.",
    )
    database_seconds: PositiveInt = setting(
        10,
        "deployment",
        "Seconds that a statement of a request may take, 80 % of it for a lock. Later, the request gets a 503.",
    )
    web_port: int = setting(
        0, "deployment", "Port of the web server in the embedded stack. 0: a free port, which is reused on later runs."
    )
    flower_port: int = setting(
        0, "deployment", "Port of Flower in the embedded stack. 0: a free port, which is reused on later runs."
    )
    grafana_url: str = setting(
        "", "deployment", "Address of Grafana for staff, to which the operations dashboard links. Empty: no link."
    )
    flower_url: str = setting(
        "", "deployment", "Address of Flower for staff, to which the operations dashboard links. Empty: no link."
    )
    otel_exporter_otlp_endpoint: str = setting(
        "", "deployment", "OTLP/HTTP endpoint for traces, such as http://collector:4318. Empty: no tracing."
    )
    release: str = setting(
        "", "deployment", "Name of this release, such as a Git revision, which evaluations are stored with."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "INFO", "deployment", "Lowest level that is logged."
    )

    @field_validator(
        "allowed_hosts",
        "csrf_trusted_origins",
        "cors_allowed_origins",
        "alert_emails",
        "redis_sentinels",
        mode="before",
    )
    @classmethod
    def split_commas(cls, value: object) -> object:
        """Return the parts of a comma-separated text."""
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("redis_sentinels")
    @classmethod
    def check_sentinels(cls, value: list[str]) -> list[str]:
        """Return *value* if each part is a host and a port."""
        for part in value:
            host, _, port = part.rpartition(":")
            if not host or not port.isdecimal():
                raise ValueError("give HOST:PORT for each sentinel, such as sentinel-1:26379")
        return value

    @field_validator("redis_url", "cache_redis_url")
    @classmethod
    def check_redis_url(cls, value: str) -> str:
        """Return *value* if it is a URL of Redis."""
        if not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        return value

    @field_validator("redis_ca_file", "redis_certificate_file", "redis_key_file")
    @classmethod
    def check_file(cls, value: str) -> str:
        """Return *value* if it is empty or a file that this process can read."""
        if value and not os.access(value, os.R_OK):
            raise ValueError("cannot be read")
        return value

    @model_validator(mode="after")
    def check_redis(self) -> Environment:
        """Return the settings if those of Redis fit together: what is set and not used would be an open connection."""
        urls = (self.redis_url, self.cache_redis_url)
        if self.redis_sentinels and any(url.startswith("unix:") for url in urls):
            raise ValueError("REDIS_SENTINELS needs the name of a primary as the host in REDIS_URL and CACHE_REDIS_URL")
        if bool(self.redis_certificate_file) != bool(self.redis_key_file):
            raise ValueError("REDIS_CERTIFICATE_FILE and REDIS_KEY_FILE need each other")
        has_files = self.redis_ca_file or self.redis_certificate_file
        if has_files and not any(url.startswith("rediss:") for url in urls):
            raise ValueError(
                "REDIS_CA_FILE and REDIS_CERTIFICATE_FILE need rediss:// in REDIS_URL or CACHE_REDIS_URL: "
                "redis:// is not encrypted"
            )
        return self

    @field_validator("cors_allowed_origins")
    @classmethod
    def check_origins(cls, value: list[str]) -> list[str]:
        """Return *value* if each origin is a scheme and a host, the form that browsers send."""
        if any(not re.fullmatch(r"https?://[^/\s*]+", origin) for origin in value):
            raise ValueError("give each origin as https://host or https://host:port, without a path")
        return value

    @field_validator("token_signing_keys")
    @classmethod
    def check_signing_keys(cls, value: SecretStr) -> SecretStr:
        """Return *value* if each secret has a name and is long enough."""
        parse_signing_keys(value)
        return value

    @field_validator("memory_cleanup_threshold", "training_memory_limit", mode="before")
    @classmethod
    def parse_positive_bytes(cls, value: str | int) -> int:
        """Return the bytes of a text such as 500MB."""
        return require_positive(parse_bytes(value))

    @field_validator("memory_emergency_share")
    @classmethod
    def check_share(cls, value: float) -> float:
        """Return *value* if it is above 0 and at most 1."""
        if not 0 < value <= 1:
            raise ValueError("must be above 0 and at most 1")
        return value

    @field_validator("wasm_memory_limit", mode="before")
    @classmethod
    def parse_wasm_memory_limit(cls, value: str | int) -> int:
        """Return the bytes of a text such as 2048MB; at most 4 GiB, the size of 32-bit linear memory."""
        limit_bytes = parse_bytes(value)
        if not 2**20 <= limit_bytes <= 4 * 2**30:
            raise ValueError("must be between 1MB and 4096MB")
        return limit_bytes

    @field_validator("cache_encryption_keys")
    @classmethod
    def check_encryption_keys(cls, value: SecretStr) -> SecretStr:
        """Return *value* if each secret is long enough. The message must not show a secret."""
        if any(len(secret) < MIN_SECRET_LENGTH for secret in split_secrets(value)):
            raise ValueError(f"each secret needs at least {MIN_SECRET_LENGTH} characters")
        return value

    @model_validator(mode="after")
    def check_slate_ages(self) -> Environment:
        """Return the settings if the three age limits of slates are in ascending order."""
        if not self.slate_fresh_seconds <= self.slate_stale_seconds <= self.slate_retention_seconds:
            raise ValueError(
                "SLATE_FRESH_SECONDS, SLATE_STALE_SECONDS and SLATE_RETENTION_SECONDS must be in ascending order"
            )
        return self

    @model_validator(mode="after")
    def check_interaction_ages(self) -> Environment:
        """Return the settings if every event that the API accepts is stored for a while, so that it counts once."""
        if self.interaction_retention_days < self.interaction_max_age_days:
            raise ValueError("INTERACTION_RETENTION_DAYS must be at least INTERACTION_MAX_AGE_DAYS")
        return self

    @model_validator(mode="after")
    def check_open_api(self) -> Environment:
        """Return the settings if an open API has named hosts: otherwise a page can use it by a host name of its own."""
        if self.api_open and "*" in self.allowed_hosts:
            raise ValueError("API_OPEN needs the names of the hosts in ALLOWED_HOSTS, not *")
        return self

    @model_validator(mode="after")
    def check_metrics_folder(self) -> Environment:
        """Return the settings if a worker that serves metrics can add up those of its child processes."""
        if self.metrics_port and not self.prometheus_multiproc_dir:
            raise ValueError(
                "METRICS_PORT needs PROMETHEUS_MULTIPROC_DIR, where a worker's child processes write their metrics"
            )
        return self

    @field_validator("database_url")
    @classmethod
    def check_database_url(cls, value: str) -> str:
        """Return *value* if it is the URL of a supported database."""
        if not value.startswith(("sqlite:", "postgres:", "postgresql:")):
            raise ValueError("must start with sqlite:// or postgresql://")
        return value

    @field_validator("alert_webhook_url", "alertmanager_url")
    @classmethod
    def check_web_url(cls, value: str) -> str:
        """Return *value* if it is an HTTP URL or empty."""
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value

    @field_validator("wasm_rollout_percentage")
    @classmethod
    def check_percentage(cls, value: int) -> int:
        """Return *value* if it is a percentage."""
        if not 0 <= value <= 100:
            raise ValueError("must be between 0 and 100")
        return value


def format_problem(name: str, message: str, value: object) -> str:
    """
    Return a line about the problem of a variable; *name* is empty if it concerns several.

    Secrets are not shown. A URL may contain a password.
    """
    if not name:
        return f"  {message}"
    is_secret = Environment.model_fields[name].annotation is SecretStr or name.endswith("_url")
    return f"  {name.upper()}: {message}" + ("" if is_secret else f" (got {value!r})")


def find_secrets_folder() -> Path | None:
    """Return the folder SECRETS_DIR, or None if the variable is not set. Exits if the folder does not exist."""
    name = os.environ.get("SECRETS_DIR")
    if not name:
        return None
    if not Path(name).is_dir():
        raise SystemExit(f"SECRETS_DIR: the folder {name} does not exist. Mount it, or unset SECRETS_DIR.")
    return Path(name)


def read_environment() -> Environment:
    """Return the settings. Exits with one line for each invalid variable."""
    try:
        env = Environment(_secrets_dir=find_secrets_folder())  # type: ignore[call-arg]  # an argument of BaseSettings
    except ValidationError as error:
        lines = [
            format_problem(str(e["loc"][0]) if e["loc"] else "", e["msg"].removeprefix("Value error, "), e["input"])
            for e in error.errors()
        ]
        raise SystemExit("Invalid environment variables:\n" + "\n".join(lines)) from None
    if not env.debug and len(env.secret_key.get_secret_value()) < 32:
        raise SystemExit(
            "SECRET_KEY: must have at least 32 characters (or set DEBUG=1 on your own machine). "
            "`make run` creates one; to create your own: python -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
    return env
