"""Environment variables: sizes in bytes, limits of values, and one line for each invalid variable."""

import pytest

from recsys_project.environment import Environment, parse_bytes, read_environment

SECRET = "a-secret-of-the-tests-" + "x" * 32


@pytest.fixture(autouse=True)
def valid_environment(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", SECRET)
    read_environment()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (7, 7),
        ("1048576", 2**20),
        ("12B", 12),
        ("2kb", 2 * 2**10),
        ("2048MB", 2**31),
        (" 1.5 GiB ", 3 * 2**29),
        ("1KiB", 2**10),
        ("3MiB", 3 * 2**20),
    ],
)
def test_a_size_is_in_bytes_or_has_a_binary_unit(text, size):
    assert parse_bytes(text) == size


def test_sizes_are_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("WASM_MEMORY_LIMIT", "64MB")
    monkeypatch.setenv("MEMORY_CLEANUP_THRESHOLD", "1GB")
    env = Environment()
    assert (env.wasm_memory_limit, env.memory_cleanup_threshold) == (2**26, 2**30)


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"WASM_MEMORY_LIMIT": "5GB"}, "WASM_MEMORY_LIMIT: must be between 1MB and 4096MB (got '5GB')"),
        ({"WASM_MEMORY_LIMIT": "1KB"}, "WASM_MEMORY_LIMIT: must be between 1MB and 4096MB (got '1KB')"),
        ({"MEMORY_CLEANUP_THRESHOLD": "0"}, "MEMORY_CLEANUP_THRESHOLD: must be above 0 (got '0')"),
        (
            {"MEMORY_EMERGENCY_SHARE": "1.5"},
            "MEMORY_EMERGENCY_SHARE: must be above 0 and at most 1 (got '1.5')",
        ),
        (
            {"CACHE_ENCRYPTION_KEYS": f"{SECRET},too-short"},
            "CACHE_ENCRYPTION_KEYS: each secret needs at least 32 characters",
        ),
        (
            {"SLATE_FRESH_SECONDS": "100", "SLATE_STALE_SECONDS": "99"},
            "SLATE_FRESH_SECONDS, SLATE_STALE_SECONDS and SLATE_RETENTION_SECONDS must be in ascending order",
        ),
        (
            {"API_OPEN": "1", "ALLOWED_HOSTS": "localhost,*"},
            "API_OPEN needs the names of the hosts in ALLOWED_HOSTS, not *",
        ),
        (
            {"METRICS_PORT": "9101", "PROMETHEUS_MULTIPROC_DIR": ""},
            "METRICS_PORT needs PROMETHEUS_MULTIPROC_DIR, where a worker's child processes write their metrics",
        ),
        (
            {"ALERT_WEBHOOK_URL": "ftp://a.example"},
            "ALERT_WEBHOOK_URL: must start with http:// or https://",
        ),
        (
            {"DATABASE_URL": "mysql://user:password@host/name"},  # pragma: allowlist secret
            "DATABASE_URL: must start with sqlite:// or postgresql://",
        ),
        (
            {"REDIS_SENTINELS": "sentinel-1:26379, sentinel-2"},
            "REDIS_SENTINELS: give HOST:PORT for each sentinel, such as sentinel-1:26379 "
            "(got 'sentinel-1:26379, sentinel-2')",
        ),
        ({"REDIS_URL": "sentinel://a:1/0"}, "REDIS_URL: must start with redis://, rediss:// or unix://"),
        (
            {"REDIS_SENTINELS": "a:1", "REDIS_URL": "unix:///run/redis.sock"},
            "REDIS_SENTINELS needs the name of a primary as the host in REDIS_URL and CACHE_REDIS_URL",
        ),
        ({"REDIS_CA_FILE": "/no/file"}, "REDIS_CA_FILE: cannot be read (got '/no/file')"),
        (
            {"REDIS_KEY_FILE": __file__, "REDIS_URL": "rediss://a/0"},
            "REDIS_CERTIFICATE_FILE and REDIS_KEY_FILE need each other",
        ),
        (
            {"REDIS_CA_FILE": __file__, "REDIS_URL": "redis://a/0", "CACHE_REDIS_URL": "redis://a/1"},
            "REDIS_CA_FILE and REDIS_CERTIFICATE_FILE need rediss:// in REDIS_URL or CACHE_REDIS_URL: "
            "redis:// is not encrypted",
        ),
        (
            {"WASM_ROLLOUT_PERCENTAGE": "101"},
            "WASM_ROLLOUT_PERCENTAGE: must be between 0 and 100 (got '101')",
        ),
    ],
)
def test_each_invalid_variable_is_reported_in_one_line(monkeypatch, variables, line):
    """A secret is not shown."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as error:
        read_environment()
    assert str(error.value) == f"Invalid environment variables:\n  {line}"


def test_a_short_secret_key_is_only_allowed_in_debug_mode(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "short")
    with pytest.raises(SystemExit, match="SECRET_KEY: must have at least 32 characters"):
        read_environment()
    monkeypatch.setenv("DEBUG", "1")
    assert read_environment().debug
