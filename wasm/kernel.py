"""One sandbox: an instance with its own memory, a memory limit and a deadline for every call."""

import math
import os
import struct
import threading
from dataclasses import dataclass
from typing import Any, cast

import wasmtime

from wasm.errors import KernelDeadlineError, KernelError
from wasm.memory import ArraySpec, LinearMemory, Region
from wasm.module import TICK_SECONDS, Build, compiled_module

DEFAULT_MEMORY_LIMIT_BYTES = 2 << 30
DEFAULT_DEADLINE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class KernelStatistics:
    """What one sandbox holds and has done, for monitoring."""

    build: str
    memory_bytes: int
    memory_limit_bytes: int
    calls: int
    deadlines_exceeded: int


@dataclass(frozen=True, slots=True)
class _KernelInstance:
    """The code with its memory: what a recycle replaces."""

    store: wasmtime.Store
    functions: dict[str, wasmtime.Func]
    stack_pointer: wasmtime.Global
    stack_top: int
    memory: LinearMemory


class Kernel:
    """
    An instance and its scratch memory. One thread uses it at a time, holding `lock`; calls free the GIL.

    It belongs to the process that made it: after a fork, every call raises `KernelError`.
    """

    def __init__(
        self,
        *,
        memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        build: Build | None = None,
    ) -> None:
        self.lock = threading.Lock()
        self._module = compiled_module(build)
        self._deadline_seconds = deadline_seconds
        self._ticks = math.ceil(deadline_seconds / TICK_SECONDS) + 1
        self._memory_limit_bytes = memory_limit_bytes
        self._current = self._new_instance()
        self._calls = self._deadlines_exceeded = 0
        self._closed = False
        self._argument_block: int = self.call("argument_block")
        self.scratch_start: int = self.call("scratch_base", 0)

    @property
    def memory(self) -> LinearMemory:
        """The linear memory of the instance that serves now."""
        return self._current.memory

    def _new_instance(self) -> _KernelInstance:
        """Return a new instance within the memory limit."""
        store = wasmtime.Store(self._module.engine)
        store.set_limits(memory_size=self._memory_limit_bytes, instances=1, tables=1, memories=1)
        store.set_epoch_deadline(self._ticks)
        try:
            instance = wasmtime.Instance(store, self._module.module, [])
        except wasmtime.WasmtimeError as error:
            raise KernelError(f"no instance within {self._memory_limit_bytes} bytes: raise the memory limit") from error
        exports = dict(instance.exports(store).items())
        stack_pointer = cast(wasmtime.Global, exports["__stack_pointer"])
        return _KernelInstance(
            store=store,
            functions={name: item for name, item in exports.items() if isinstance(item, wasmtime.Func)},
            stack_pointer=stack_pointer,
            stack_top=stack_pointer.value(store),
            memory=LinearMemory(store, cast(wasmtime.Memory, exports["memory"]), self._memory_limit_bytes),
        )

    def recycle(self, spare_bytes: int) -> int:
        """
        Move all that is kept, and room for *spare_bytes* of scratch, to a fresh instance; return the bytes given back.

        Whatever the code knows lies below the scratch, so the same bytes there give the same answers. For a moment
        both instances are there: the system needs room for what is kept, once more.
        """
        with self.lock:
            fresh = self._new_instance()
            fresh.memory.grow_to(self.scratch_start + spare_bytes)
            fresh.memory.copy_from(self.memory, self.scratch_start)
            given_back = self.memory.nbytes - fresh.memory.nbytes
            self._current = fresh  # the old instance goes with its last reference
            return given_back

    def lay_out_scratch(self, *shapes: ArraySpec) -> list[Region]:
        """Return regions of the scratch, valid for the next call only."""
        return self.memory.lay_out(self.scratch_start, shapes)

    def run_operation(self, operation: str, *arguments: float) -> Any:
        """Run an operation with arguments as in `src/abi.h`: a float as float32, an int as uint32."""
        codes = "".join("f" if isinstance(argument, float) else "I" for argument in arguments)
        self.memory.write(self._argument_block, struct.pack(f"<{codes}", *arguments))
        return self.call(operation, self._argument_block)

    def call(self, operation: str, *arguments: int) -> Any:
        """Run an exported function. Raise `KernelDeadlineError` or `KernelError`, never a trap."""
        if os.getpid() != self._module.process_id:
            raise KernelError("this kernel was made before a fork; make it in the process that uses it")
        if self._closed:
            raise KernelError("this kernel is closed; make another")
        self._calls += 1
        at = self._current
        at.store.set_epoch_deadline(self._ticks)
        try:
            with self._module.watchdog:
                return at.functions[operation](at.store, *arguments)
        except wasmtime.Trap as trap:
            at.stack_pointer.set_value(at.store, at.stack_top)
            raise self._error_for(operation, trap) from trap

    def _error_for(self, operation: str, trap: wasmtime.Trap) -> KernelError:
        if trap.trap_code == wasmtime.TrapCode.INTERRUPT:
            self._deadlines_exceeded += 1
            return KernelDeadlineError(
                f"{operation} ran longer than {self._deadline_seconds} s and was stopped;"
                " ask for less in one call, or allow it more time"
            )
        return KernelError(f"{operation} stopped with a trap ({trap.trap_code}); this is a defect of the kernel")

    def close(self) -> None:
        """Give the memory back to the system now; no call may follow."""
        with self.lock:
            self._closed = True
            self._current.store.close()

    def statistics(self) -> KernelStatistics:
        """Return a snapshot; it takes no lock."""
        return KernelStatistics(
            build=self._module.build,
            memory_bytes=self.memory.nbytes,
            memory_limit_bytes=self.memory.limit_bytes,
            calls=self._calls,
            deadlines_exceeded=self._deadlines_exceeded,
        )
