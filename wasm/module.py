"""
The compiled code of each process: which build runs, and the watchdog that stops a call after its deadline.

Danger: threads do not survive a fork, and both wasmtime's compiler and the watchdog own threads. A child process
therefore shares nothing with its parent: it compiles its own module when it first needs one.
"""

import hashlib
import os
import threading
import time
from functools import cache
from pathlib import Path
from typing import Literal

import wasmtime

from wasm.errors import KernelError

Build = Literal["relaxed", "baseline", "reference"]

DIST = Path(__file__).parent / "dist"
BUILD_FILES: dict[Build, str] = {
    "relaxed": "kernel-relaxed.wasm",
    "baseline": "kernel.wasm",
    "reference": "kernel-reference.wasm",
}
DEFAULT_BUILD: Build = "relaxed"
"""Changes the speed, never the result."""

TICK_SECONDS = 0.1
"""
Resolution of a deadline. Changes the speed: at each tick, the watchdog's thread takes the GIL from a thread that works.
"""


class Watchdog:
    """Advances the engine's epoch while a call is running, and sleeps otherwise."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._engine = engine
        self._running = 0
        self._idle = False
        self._changed = threading.Condition()
        threading.Thread(target=self._tick, name="wasm-watchdog", daemon=True).start()

    def __enter__(self) -> None:
        with self._changed:
            self._running += 1
            if self._idle:
                self._changed.notify()

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._running -= 1

    def _tick(self) -> None:
        while True:
            with self._changed:
                self._idle = self._running == 0
                while self._running == 0:
                    self._changed.wait()
                self._idle = False
            time.sleep(TICK_SECONDS)
            self._engine.increment_epoch()


class CompiledModule:
    """One build, compiled for this machine and this process."""

    def __init__(self, build: Build) -> None:
        self.build = build
        self.process_id = os.getpid()
        self.engine = wasmtime.Engine(_config())
        self.watchdog = Watchdog(self.engine)
        self.module = wasmtime.Module(self.engine, read_build(build))


def _config() -> wasmtime.Config:
    """Return settings that change the speed, never the result."""
    config = wasmtime.Config()
    config.epoch_interruption = True
    config.cranelift_opt_level = "speed"
    config.wasm_relaxed_simd = True
    # The thread pool of the compiler is lost in a fork, and a child would wait for it forever.
    config.parallel_compilation = False
    # Reserve all 4 GiB of addresses, without using them: memory never moves, and no access needs a bounds check.
    config.memory_reservation = 1 << 32
    config.memory_guard_size = 32 << 20
    return config


def read_build(build: Build) -> bytes:
    """Return the bytes of a build. Raises `KernelError` if they do not match their committed digest."""
    if build not in BUILD_FILES:
        raise KernelError(f"unknown build {build!r}; use one of {', '.join(BUILD_FILES)}")
    code = (DIST / BUILD_FILES[build]).read_bytes()
    line = f"{hashlib.sha256(code).hexdigest()}  {BUILD_FILES[build]}"
    if line not in (DIST / "SHA256SUMS").read_text().splitlines():
        raise KernelError(f"{BUILD_FILES[build]} does not match dist/SHA256SUMS; restore both or run `make kernel`")
    return code


_compile_lock = threading.Lock()


@cache
def _compile(build: Build) -> CompiledModule:
    return CompiledModule(build)


def compiled_module(build: Build | None = None) -> CompiledModule:
    """Return this process's compiled module. Compiles it at the first call."""
    with _compile_lock:
        return _compile(build or DEFAULT_BUILD)


def _reset_after_fork() -> None:
    global _compile_lock
    _compile_lock = threading.Lock()
    _compile.cache_clear()


os.register_at_fork(after_in_child=_reset_after_fork)
