"""A process gives up memory in a stated order once a threshold is passed, and answers as before."""

import gc
import subprocess
import sys

import numpy as np
import pytest
from django.conf import settings
from django.core.signals import request_finished
from prometheus_client import REGISTRY

from monitoring import system_memory as system_memory
from recommendations.services import wiring
from recommendations.services.extensions import maintenance
from recommendations.services.learning import learn
from recommendations.services.serving.recommend import recommend
from recommendations.services.serving.search import search
from recommendations.services.upkeep import process_memory
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@pytest.fixture
def viewer():
    """Return a viewer with a taste, of whom this process knows the profile."""
    viewer = factories.member("viewer")
    rows = factories.posts(factories.member(), 30)
    factories.embed_all_posts()
    factories.interaction(viewer, rows[0])
    learn.learn_interactions(member_ids=[viewer.pk], now=NOW)
    recommend(member_id="viewer", now=NOW)
    assert len(wiring.resident_profiles()) == 1
    return viewer


def limits(monkeypatch, **changed):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update=changed))


def grow_scratch():
    """Leave a large scratch behind in the kernel, as one large call does."""
    engine = wiring.engines()["wasm_simd"]
    engine.nearest(np.eye(64, 64, dtype=np.float32), 60_000, np.ones(100, np.bool_))
    return engine.statistics().memory_bytes


def test_within_its_bounds_a_process_gives_nothing_up(viewer, monkeypatch):
    limits(monkeypatch, memory_cleanup_threshold=2**40, memory_emergency_share=1.0)
    assert process_memory.check_memory() == {}
    assert len(wiring.resident_profiles()) == 1


def test_a_clean_up_takes_what_has_expired_and_waits_until_memory_has_grown(viewer, monkeypatch):
    limits(monkeypatch, memory_cleanup_threshold=1, memory_emergency_share=1.0)
    done = count("cleanup")
    assert list(process_memory.check_memory()) == ["expired_profiles", "garbage"]
    assert len(wiring.resident_profiles()) == 1, "what is still good is kept"
    assert count("cleanup") == done + 1
    assert process_memory.check_memory() == {}, "what is in use cannot be freed by asking again"


def test_an_emergency_gives_up_every_cache_and_the_answers_stay(viewer, monkeypatch):
    def answers():
        wiring.slate_cache().purge([viewer.pk])
        feed = recommend(member_id="viewer", now=NOW, explain=True)
        found = search(viewer_id="viewer", space="content", text="about post", now=NOW)
        return [(pick.post.id, pick.score) for page in (feed, found) for pick in page.picks]

    before, freed_before = answers(), freed_bytes("kernels")
    held = grow_scratch()
    limits(monkeypatch, memory_emergency_share=1e-6)
    given = process_memory.check_memory()
    assert list(given) == ["profiles", "facts", "garbage", "kernels"], "the cheapest to make anew goes first"
    assert len(wiring.resident_profiles()) == 0
    assert wiring.engines()["wasm_simd"].statistics().memory_bytes < held / 2
    assert given["kernels"] > 0 and freed_bytes("kernels") == freed_before + given["kernels"]
    assert answers() == before


def test_rows_are_not_moved_where_there_is_no_room_for_a_second_copy(viewer, monkeypatch):
    held = grow_scratch()
    monkeypatch.setattr(system_memory, "available_bytes", lambda: 0)
    process_memory.recycle_kernels()
    assert wiring.engines()["wasm_simd"].statistics().memory_bytes == held


def test_a_process_looks_after_a_request_and_a_task_but_not_each_time(viewer, monkeypatch):
    looked = []
    monkeypatch.setattr(
        process_memory, "measure_usage", lambda: looked.append(1) or process_memory.MemoryUsage(0, 0, 0.0)
    )
    process_memory.memory_guard.reset()
    for _ in range(3):
        request_finished.send(type(viewer))
    assert len(looked) == 1
    maintenance.check_memory(NOW)
    assert len(looked) == 2, "beat's duty looks at once"


def test_a_look_that_fails_harms_no_response(viewer, monkeypatch):
    def fail():
        raise OSError("no /proc here")

    monkeypatch.setattr(process_memory, "measure_usage", fail)
    process_memory.memory_guard.reset()
    request_finished.send(type(viewer))


def test_what_is_in_use_is_measured(viewer):
    process_memory.check_memory()
    assert value("recsys_memory_bytes", kind="heap") > 10 * 2**20
    assert value("recsys_memory_bytes", kind="kernel") > 0
    assert 400 < value("recsys_cache_bytes", cache="preference_vectors") < 20_000


def test_a_container_s_limit_counts_and_what_may_be_dropped_does_not(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 400\n")
    assert system_memory.container_usage_share(tmp_path) == 0.5
    (tmp_path / "memory.max").write_text("max\n")
    assert system_memory.container_usage_share(tmp_path) == system_memory.container_usage_share(tmp_path / "none") == 0


def test_garbage_of_a_process_goes(viewer, monkeypatch):
    class Ring:
        living = 0

        def __init__(self):
            self.self = self
            Ring.living += 1

        def __del__(self):
            Ring.living -= 1

    gc.disable()
    try:
        for _ in range(10):
            Ring()
        limits(monkeypatch, memory_cleanup_threshold=1)
        process_memory.check_memory()
        assert Ring.living == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("door", ["wsgi", "asgi"])
def test_the_collector_does_not_go_through_what_a_web_server_has_loaded(door):
    code = (
        f"import gc; from recsys_project.{door} import application; print(gc.get_freeze_count(), len(gc.get_objects()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    frozen, others = map(int, ran.stdout.split())
    assert frozen > 100_000 > others


def value(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0


def count(reason):
    return value("recsys_memory_cleanups_total", reason=reason)


def freed_bytes(step):
    return value("recsys_memory_freed_bytes_total", step=step)
