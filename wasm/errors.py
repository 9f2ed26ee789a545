"""The kernel's errors: `VectorError` for invalid input, `KernelError` for a limit that was reached."""


class VectorError(ValueError):
    """An input is invalid. The message names the argument, the problem and the expected value."""


class KernelError(RuntimeError):
    """The sandbox could not run the call. No result was returned."""


class KernelMemoryError(KernelError):
    """The rows or the arguments of a call need more linear memory than the limit allows."""


class KernelDeadlineError(KernelError):
    """A call ran past its deadline and was stopped. Resident rows are intact; a row that was being put is lost."""
