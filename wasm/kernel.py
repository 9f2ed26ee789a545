"""One sandbox: a WebAssembly instance with its own memory, a memory limit and a deadline for every call."""

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
    """Memory and call counts of one sandbox, for monitoring."""

    build: str
    memory_bytes: int
    memory_limit_bytes: int
    calls: int
    deadlines_exceeded: int


@dataclass(frozen=True, slots=True)
class _KernelInstance:
    """The instance with its memory. `Kernel.recycle` replaces it."""

    store: wasmtime.Store
    functions: dict[str, wasmtime.Func]
    stack_pointer: wasmtime.Global
    stack_top: int
    memory: LinearMemory


class Kernel:
    """
    An instance and its scratch memory. One thread uses it at a time, holding `lock`; calls release the GIL.

    A kernel belongs to the process that created it: after a fork, every call raises `KernelError`.
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
        """The linear memory of the current instance."""
        return self._current.memory

    def _new_instance(self) -> _KernelInstance:
        """Return a new instance within the memory limit."""
        store = wasmtime.Store(self._module.engine)
        store.set_limits(memory_size=self._memory_limit_bytes, instances=1, tables=1, memories=1)
        store.set_epoch_deadline(self._ticks)
        try:
            instance = wasmtime.Instance(store, self._module.module, [])
        except wasmtime.WasmtimeError as error:
            raise KernelError(
                f"the kernel does not fit into {self._memory_limit_bytes} bytes; raise the memory limit"
            ) from error
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
        Copy everything below the scratch to a new instance with *spare_bytes* of scratch; return the bytes freed.

        Linear memory never shrinks, so the scratch of one large call stays allocated for as long as its instance
        exists. The only way to free it is a new instance. The copy is complete because all state of the code (stack,
        globals in data, layout, rows) is at addresses below `scratch_start`, and the scratch is empty between calls.
        The same bytes at the same addresses give the same results, byte for byte. The lock keeps calls out until
        `_current` is replaced. If the new instance cannot be created or grown, `KernelError` is raised and the old
        instance stays in use. Both instances exist during the copy, so the system needs memory for a second copy of
        the rows.
        """
        with self.lock:
            new = self._new_instance()
            new.memory.grow_to(self.scratch_start + spare_bytes)
            new.memory.copy_from(self.memory, self.scratch_start)
            freed_bytes = self.memory.nbytes - new.memory.nbytes
            self._current = new  # the old instance is freed with its last reference
            return freed_bytes

    def lay_out_scratch(self, *shapes: ArraySpec) -> list[Region]:
        """Return regions of the scratch, valid for the next call only. Raises `KernelError` if it cannot be called."""
        self.require_usable()
        return self.memory.lay_out(self.scratch_start, shapes)

    def run_operation(self, operation: str, *arguments: float) -> Any:
        """Run an operation of `src/abi.h`. A float argument is passed as float32, an int as uint32."""
        codes = "".join("f" if isinstance(argument, float) else "I" for argument in arguments)
        self.memory.write(self._argument_block, struct.pack(f"<{codes}", *arguments))
        return self.call(operation, self._argument_block)

    def require_usable(self) -> None:
        """Raise `KernelError` if this kernel is closed, or belongs to the parent of this process."""
        if os.getpid() != self._module.process_id:
            raise KernelError("this kernel was created before a fork; create it in the process that uses it")
        if self._closed:
            raise KernelError("this kernel is closed; create another")

    def call(self, operation: str, *arguments: int) -> Any:
        """Run an exported function. Raises `KernelDeadlineError` or `KernelError`; a trap never escapes."""
        self.require_usable()
        self._calls += 1
        current = self._current
        current.store.set_epoch_deadline(self._ticks)
        try:
            with self._module.watchdog:
                return current.functions[operation](current.store, *arguments)
        except wasmtime.Trap as trap:
            current.stack_pointer.set_value(current.store, current.stack_top)
            raise self._error_for(operation, trap) from trap

    def _error_for(self, operation: str, trap: wasmtime.Trap) -> KernelError:
        if trap.trap_code == wasmtime.TrapCode.INTERRUPT:
            self._deadlines_exceeded += 1
            return KernelDeadlineError(
                f"{operation} ran longer than {self._deadline_seconds} s and was stopped;"
                " pass less in one call, or raise the deadline"
            )
        return KernelError(f"{operation} stopped with a trap ({trap.trap_code}); this is a bug in the kernel")

    def close(self) -> None:
        """Free the memory now. Every later call raises `KernelError`."""
        with self.lock:
            self._closed = True
            self._current.store.close()

    def statistics(self) -> KernelStatistics:
        """Return the current statistics. Takes no lock."""
        return KernelStatistics(
            build=self._module.build,
            memory_bytes=self.memory.nbytes,
            memory_limit_bytes=self.memory.limit_bytes,
            calls=self._calls,
            deadlines_exceeded=self._deadlines_exceeded,
        )
