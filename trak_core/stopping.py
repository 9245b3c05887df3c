"""Being asked to stop: Ctrl-C, or a request to end, and how to tell it from a failure."""

import signal
import threading
from types import FrameType

_asked = threading.Event()


def stop_when_asked() -> None:
    """From now on Ctrl-C and a request to end (SIGTERM) are remembered, and raise KeyboardInterrupt.

    Remembered, because what is interrupted may swallow the exception or turn it into another: a library half imported,
    a query, a callback. A process that was begun with Ctrl-C ignored, as a shell's background jobs are, goes on
    ignoring it.
    """
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _stop)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    _asked.set()
    raise KeyboardInterrupt


def raise_if_asked_to_stop() -> None:
    """Raises KeyboardInterrupt once more, where the first request to stop was swallowed."""
    if _asked.is_set():
        raise KeyboardInterrupt


def is_stop(error: BaseException) -> bool:
    """True when an error only tells that the process was asked to stop.

    Without `stop_when_asked`, as in a notebook, it goes by the error: DuckDB turns a KeyboardInterrupt that comes
    during a query into a RuntimeError of these words.
    """
    if _asked.is_set() or isinstance(error, KeyboardInterrupt | SystemExit):
        return True
    return type(error) is RuntimeError and str(error) == "Query interrupted"
