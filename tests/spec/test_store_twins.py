"""Every Redis store has an in-memory twin, and both have the methods of their port."""

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

from recommendations import ports, stores
from recommendations.stores.memory_neighbors import MemoryNeighbors
from recommendations.stores.memory_record_queue import MemoryRecordQueue
from recommendations.stores.memory_served_history import MemoryServedHistory
from recommendations.stores.memory_slates import MemorySlates
from recommendations.stores.memory_vectors import MemoryVectors
from recommendations.stores.redis_neighbors import RedisNeighbors
from recommendations.stores.redis_record_queue import RedisRecordQueue
from recommendations.stores.redis_served_history import RedisServedHistory
from recommendations.stores.redis_slates import RedisSlates
from recommendations.stores.redis_vectors import RedisVectors

STORES = {
    ports.NeighborCache: (RedisNeighbors, MemoryNeighbors),
    ports.RecordQueue: (RedisRecordQueue, MemoryRecordQueue),
    ports.ServedHistory: (RedisServedHistory, MemoryServedHistory),
    ports.SlateCache: (RedisSlates, MemorySlates),
    ports.VectorCache: (RedisVectors, MemoryVectors),
}
"""The stores of each port. The tests of each port's contract are in a file of their own in this folder."""
PAIRS = [(port, store) for port, pair in STORES.items() for store in pair]


def public_methods(cls):
    """Return the parameters of each public method, by its name."""
    methods = inspect.getmembers(cls, inspect.isfunction)
    return {name: inspect.signature(method).parameters for name, method in methods if not name.startswith("_")}


@pytest.mark.parametrize(("port", "store"), PAIRS, ids=lambda cls: cls.__name__)
def test_a_store_has_the_methods_of_its_port(port, store):
    """With the same parameters. It may have more methods."""
    required, available = public_methods(port), public_methods(store)
    assert required, "a port has methods"
    assert {name: list(available[name].values()) for name in required} == {
        name: list(parameters.values()) for name, parameters in required.items()
    }


def test_every_redis_store_has_a_twin():
    """Each class `RedisX` in `stores/redis_*.py` is in the list above, next to its twin."""
    files = Path(stores.__file__).parent.glob("redis_*.py")
    modules = [import_module(f"{stores.__name__}.{file.stem}") for file in files]
    classes = {name for module in modules for name in vars(module) if re.fullmatch("Redis[A-Z].*", name)}
    assert classes == {pair[0].__name__ for pair in STORES.values()}
