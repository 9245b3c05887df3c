"""Exceptions of the compute core; each also derives from the built-in one that fits it.

Every message names what was got, what is allowed and what to do next, because the command line and the pages show it
as it is.
"""

from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_REASON = 160
MADE_WITHOUT_ARGUMENTS = "register an object in place of the class, or let its __init__ take no arguments"


class TrakCoreError(Exception):
    """Anything that trak_core refuses to do; the text is meant for the person who asked."""


class InvalidSettingError(TrakCoreError, ValueError):
    """A setting has a value that cannot work."""


class UnknownRecipeError(TrakCoreError, LookupError):
    """There is no recipe of that name."""


class RunNotFoundError(TrakCoreError, LookupError):
    """There is no run of that name or at that path."""


class RunNotReadyError(TrakCoreError, LookupError):
    """The run exists, but it has published nothing that can be read yet."""


class NotInRunError(TrakCoreError, LookupError):
    """The run holds no such example, class, method or evidence."""


class NeedNotMetError(TrakCoreError, LookupError):
    """A method needs something that the run does not have; the text says what supplies it."""


class RunMismatchError(TrakCoreError, ValueError):
    """The run on disk was made with other settings, data or weights."""


class RunBusyError(TrakCoreError, RuntimeError):
    """Another process is building the run."""


class StoreDamagedError(TrakCoreError, ValueError):
    """The store cannot be read or contradicts itself."""


class StoreVersionError(TrakCoreError, ValueError):
    """The store has a schema version that this program does not read."""


class StorageError(TrakCoreError, OSError):
    """The disk is full, read-only or failing."""


class DownloadError(TrakCoreError, OSError):
    """A data set cannot be fetched, or what came is not what it should be."""


class SingularKernelError(TrakCoreError, ArithmeticError):
    """The kernel cannot be solved with the ridge given."""


class TrainingDivergedError(TrakCoreError, ArithmeticError):
    """A trained model gives outputs that are not finite."""


class InvalidModelError(TrakCoreError, ValueError):
    """The model cannot be attributed as it is."""


class NoLogitsError(InvalidModelError):
    """The model does not return what the task needs."""


class CheckpointMismatchError(TrakCoreError, ValueError):
    """The weights do not fit the model."""


class InvalidDataError(TrakCoreError, ValueError):
    """The examples cannot be attributed as they are."""


class EmptyDataError(InvalidDataError):
    """There are no examples."""


class LabelError(InvalidDataError):
    """Labels of the wrong kind or out of range."""


class ShapeMismatchError(InvalidDataError):
    """Train and test examples differ in shape or kind."""


class ShuffledDataError(InvalidDataError):
    """The examples come in another order or another form each time, so that rows lose their meaning."""


class NonFiniteGradientError(TrakCoreError, ArithmeticError):
    """A gradient or a model output is NaN or infinite."""


class HalfPrecisionOverflowError(NonFiniteGradientError, OverflowError):
    """A gradient or a model output left the range of a half-precision number."""


class OutOfMemoryError(TrakCoreError, MemoryError):
    """What is asked for does not fit into memory, or into the memory budget."""


class AttributionWarning(UserWarning):
    """A setting that works, but hardly as hoped; the text names the numbers."""


def in_words(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    said = str(error).strip().splitlines()
    first = said[0].rstrip(".") if said else ""
    first = first if len(first) <= LONGEST_REASON else first[:LONGEST_REASON].rsplit(" ", 1)[0] + " ..."
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


@contextmanager
def running_own_code(what: str, kind: type[TrakCoreError], then: str = "fix that") -> Iterator[None]:
    """Whatever somebody's own code raises in here is raised as an error of this kind, whose sentence ends in `then`."""
    try:
        yield
    except TrakCoreError:
        raise
    except (Exception, SystemExit) as error:
        raise kind(f"{what} fails with {in_words(error)}; {then}.") from error
