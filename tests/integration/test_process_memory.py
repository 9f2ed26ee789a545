"""A process frees memory in a fixed order above a threshold, and its results stay the same."""

import gc
import subprocess
import sys

import numpy as np
import pytest
from django.conf import settings
from django.core.signals import request_finished
from prometheus_client import REGISTRY

from monitoring import system_memory
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.models import InterestProfile
from recommendations.ports import EngineError
from recommendations.services import wiring
from recommendations.services.extensions import maintenance
from recommendations.services.learning import learn
from recommendations.services.serving.pages import page_cache
from recommendations.services.serving.recommend import recommend
from recommendations.services.serving.search import search
from recommendations.services.upkeep import process_memory
from recommendations.stores.profiles import SELECT_PROFILE, profile_version
from recommendations.stores.sql import fetch_rows
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@pytest.fixture
def viewer():
    """A viewer with interests whose profile this process has cached."""
    viewer = factories.member("viewer")
    rows = factories.posts(factories.member(), 30)
    factories.embed_all_posts()
    factories.interaction(viewer, rows[0])
    learn.learn_interactions(member_ids=[viewer.pk], now=NOW)
    recommend(member_id="viewer", now=NOW)
    assert len(wiring.resident_profiles()) == 1
    return viewer


def test_a_profile_that_was_deleted_since_its_version_was_read_is_not_cached(viewer):
    """A reset of the profile may come between the two queries."""
    profiles = wiring.resident_profiles()
    version = profile_version(fetch_rows(SELECT_PROFILE, (viewer.pk,)))
    assert profiles.get(viewer.pk, version) is not None
    profiles.clear()
    InterestProfile.objects.all().delete()
    assert profiles.get(viewer.pk, version) is None
    assert len(profiles) == 0


def test_a_profile_of_another_model_is_cached_as_none_and_counts_in_the_size(viewer):
    profiles = wiring.resident_profiles()
    size = profiles.size_bytes()
    InterestProfile.objects.update(embedding_model="other")
    profiles.clear()
    assert profiles.get(viewer.pk, profile_version(fetch_rows(SELECT_PROFILE, (viewer.pk,)))) is None
    assert len(profiles) == 1
    assert 0 < profiles.size_bytes() < size


def set_limits(monkeypatch, **values):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update=values))


def grow_scratch():
    """Grow the kernel's scratch memory with one large call. Return the kernel's memory in bytes."""
    engine = wiring.engines()["wasm_simd"]
    engine.nearest(np.eye(64, 64, dtype=np.float32), 60_000, np.ones(100, np.bool_))
    return engine.statistics().memory_bytes


def test_a_process_below_its_limits_frees_nothing(viewer, monkeypatch):
    set_limits(monkeypatch, memory_cleanup_threshold=2**40, memory_emergency_share=1.0)
    assert process_memory.check_memory() == {}
    assert len(wiring.resident_profiles()) == 1


def test_a_cleanup_evicts_expired_entries_and_the_next_waits_for_growth(viewer, monkeypatch):
    set_limits(monkeypatch, memory_cleanup_threshold=1, memory_emergency_share=1.0)
    before = count("cleanup")
    assert list(process_memory.check_memory()) == ["expired_profiles", "garbage"]
    assert len(wiring.resident_profiles()) == 1, "valid entries stay"
    assert count("cleanup") == before + 1
    assert process_memory.check_memory() == {}, "memory in use cannot be freed by another clean-up"


def test_an_emergency_clears_every_cache_and_results_stay_the_same(viewer, monkeypatch):
    def results():
        wiring.slate_cache().purge([viewer.pk])
        feed = recommend(member_id="viewer", now=NOW, explain=True)
        result = search(viewer_id="viewer", space="content", text="about post", now=NOW)
        return [(pick.post.id, pick.score) for page in (feed, result) for pick in page.picks]

    before, freed_before = results(), freed_bytes("kernels")
    memory_before = grow_scratch()
    set_limits(monkeypatch, memory_emergency_share=1e-6)
    freed = process_memory.check_memory()
    assert list(freed) == ["profiles", "facts", "garbage", "kernels"], "the cheapest to rebuild goes first"
    assert len(wiring.resident_profiles()) == 0
    assert wiring.engines()["wasm_simd"].statistics().memory_bytes < memory_before / 2
    assert freed["kernels"] > 0 and freed_bytes("kernels") == freed_before + freed["kernels"]
    assert results() == before


def test_a_kernel_is_not_recycled_without_room_for_a_second_copy(viewer, monkeypatch):
    memory_before = grow_scratch()
    monkeypatch.setattr(system_memory, "available_bytes", lambda: 0)
    process_memory.recycle_kernels()
    assert wiring.engines()["wasm_simd"].statistics().memory_bytes == memory_before


def recycled_kernels():
    return value("recsys_kernel_recycles_total")


def test_a_kernel_with_little_scratch_memory_is_not_recycled(viewer):
    engine, rows = wiring.engines()["wasm_simd"], np.arange(20_000, dtype=np.int32)
    engine.put(rows, rows.astype(np.int64) + 1, np.ones((len(rows), engine.dimension), np.float32))
    process_memory.recycle_kernels()
    before = recycled_kernels()
    process_memory.recycle_kernels()
    assert recycled_kernels() == before, "a new memory has no scratch"
    grow_scratch()
    process_memory.recycle_kernels()
    assert recycled_kernels() == before + 1


def test_a_kernel_that_cannot_be_recycled_is_logged_and_keeps_its_memory(viewer, monkeypatch, caplog):
    def fail(engine):
        raise EngineError("no memory")

    held, before = grow_scratch(), recycled_kernels()
    monkeypatch.setattr(WasmEngine, "recycle", fail)
    process_memory.recycle_kernels()
    assert "kernel_not_recycled" in [record.message for record in caplog.records]
    assert (wiring.engines()["wasm_simd"].statistics().memory_bytes, recycled_kernels()) == (held, before)


def test_an_emergency_in_a_process_without_caches_creates_none(monkeypatch):
    wiring.reset_parts()
    set_limits(monkeypatch, memory_emergency_share=1e-6)
    assert list(process_memory.check_memory()) == ["profiles", "facts", "garbage", "kernels"]
    for part in (wiring.vector_parts_holder, wiring.resident_facts, page_cache):
        assert part.get_if_created() is None


def test_memory_is_cleaned_up_by_one_thread_at_a_time(viewer, monkeypatch):
    set_limits(monkeypatch, memory_emergency_share=1e-6)
    with process_memory.memory_guard().busy:
        assert process_memory.check_memory() == {}
    assert len(wiring.resident_profiles()) == 1
    assert process_memory.check_memory() != {}
    assert len(wiring.resident_profiles()) == 0


def test_memory_is_checked_after_requests_at_most_once_per_interval(viewer, monkeypatch):
    checks = []
    monkeypatch.setattr(
        process_memory, "measure_usage", lambda: checks.append(1) or process_memory.MemoryUsage(0, 0, 0.0)
    )
    process_memory.memory_guard.reset()
    for _ in range(3):
        request_finished.send(type(viewer))
    assert len(checks) == 1
    maintenance.check_memory(NOW)
    assert len(checks) == 2, "the maintenance task checks at once"


def test_a_failing_check_does_not_affect_the_response(viewer, monkeypatch):
    def fail():
        raise OSError("no /proc here")

    monkeypatch.setattr(process_memory, "measure_usage", fail)
    process_memory.memory_guard.reset()
    request_finished.send(type(viewer))


def test_memory_in_use_is_measured(viewer):
    process_memory.check_memory()
    assert value("recsys_memory_bytes", kind="heap") > 10 * 2**20
    assert value("recsys_memory_bytes", kind="kernel") > 0
    assert 400 < value("recsys_cache_bytes", cache="preference_vectors") < 20_000


def test_a_containers_limit_counts_and_inactive_files_do_not(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 400\n")
    assert system_memory.container_usage_share(tmp_path) == 0.5
    (tmp_path / "memory.max").write_text("max\n")
    assert system_memory.container_usage_share(tmp_path) == system_memory.container_usage_share(tmp_path / "none") == 0


def test_a_cleanup_collects_reference_cycles(viewer, monkeypatch):
    class Cycle:
        instances = 0

        def __init__(self):
            self.self = self
            Cycle.instances += 1

        def __del__(self):
            Cycle.instances -= 1

    gc.disable()
    try:
        for _ in range(10):
            Cycle()
        set_limits(monkeypatch, memory_cleanup_threshold=1)
        process_memory.check_memory()
        assert Cycle.instances == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("interface", ["wsgi", "rsgi"])
def test_the_garbage_collector_skips_the_objects_of_a_started_web_server(interface):
    code = f"""
import gc
from recsys_project.{interface} import application
print(gc.get_freeze_count(), len(gc.get_objects()))
"""
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    frozen, others = map(int, completed.stdout.split())
    assert frozen > 100_000 > others


def value(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0


def count(reason):
    return value("recsys_memory_cleanups_total", reason=reason)


def freed_bytes(step):
    return value("recsys_memory_freed_bytes_total", step=step)
