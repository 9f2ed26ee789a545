"""Every client of Redis has the timeout, the single attempt and the breaker of `monitoring/redis_clients.py`."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("access", "flags", "monitoring", "recommendations", "recsys_project")
CLIENT = re.compile(r"\b(from_url|Redis|StrictRedis|RedisStorage|ConnectionPool)\(")


def test_no_module_creates_a_client_of_its_own():
    """`RateLimiter` gives the storage of the library `limits` the same options."""
    found = {
        str(path.relative_to(ROOT)): CLIENT.findall(path.read_text())
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if CLIENT.search(path.read_text())
    }
    # `redis_client` and `local_client`, which have the same timeout, attempts and breaker.
    assert found == {"access/throttles.py": ["RedisStorage"], "monitoring/redis_clients.py": ["from_url", "from_url"]}
