"""Every store on Redis has an in-memory twin, and both have the calls that their port asks for."""

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
"""The stores of each port. The tests of a port's law are in a file of their own, beside this one."""
PAIRS = [(port, store) for port, pair in STORES.items() for store in pair]


def calls(of):
    """Return the parameters of each public call, by its name."""
    found = inspect.getmembers(of, inspect.isfunction)
    return {name: inspect.signature(call).parameters for name, call in found if not name.startswith("_")}


@pytest.mark.parametrize(("port", "store"), PAIRS, ids=lambda one: one.__name__)
def test_a_store_has_the_calls_of_its_port(port, store):
    """With the same parameters; what it has beside them is its own."""
    asked, offered = calls(port), calls(store)
    assert asked, "a port asks for something"
    assert {name: list(offered[name].values()) for name in asked} == {
        name: list(parameters.values()) for name, parameters in asked.items()
    }


def test_no_store_on_redis_is_without_a_twin():
    """A class `RedisX` in `stores/redis_*.py` is in the list above, beside its twin."""
    files = Path(stores.__file__).parent.glob("redis_*.py")
    modules = [import_module(f"{stores.__name__}.{file.stem}") for file in files]
    classes = {name for module in modules for name in vars(module) if re.fullmatch("Redis[A-Z].*", name)}
    assert classes == {pair[0].__name__ for pair in STORES.values()}
