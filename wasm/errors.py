"""What the kernel refuses: bad input is a `VectorError`, a limit reached is a `KernelError`."""


class VectorError(ValueError):
    """An input cannot be used. The message names it, says what is wrong with it and what is wanted."""


class KernelError(RuntimeError):
    """The sandbox could not do the work, and no answer was given."""


class KernelMemoryError(KernelError):
    """The rows or the arguments of a call need more linear memory than the sandbox may have."""


class KernelDeadlineError(KernelError):
    """A call ran past its deadline and was stopped. Resident rows are unharmed; a row being put is lost."""
