"""Exceptions of the compute core; each also derives from the built-in one that fits it.

```
TrakCoreError
├── InvalidSettingError  (ValueError)     a setting that cannot work
├── UnknownRecipeError   (LookupError)    no recipe of that name
├── RunNotFoundError     (LookupError)    no run of that name or at that path
├── RunNotReadyError     (LookupError)    the run is there, but nothing is published yet
├── NotInRunError        (LookupError)    an example, class or method that the run does not hold
├── RunMismatchError     (ValueError)     the run on disk was made with other settings, data or weights
├── RunBusyError         (RuntimeError)   another process is building the run
├── StoreDamagedError    (ValueError)     the store cannot be read
├── StoreVersionError    (ValueError)     the store has another schema version
├── StorageError         (OSError)        the disk is full, read-only or failing
├── SingularKernelError  (ArithmeticError) the kernel cannot be solved
└── TrainingDivergedError (ArithmeticError) a model has outputs that are not finite
```

Every message names what was got, what is allowed and what to do next, because the command line and the
pages show it as it is.
"""


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


class SingularKernelError(TrakCoreError, ArithmeticError):
    """The kernel cannot be solved with the ridge given."""


class TrainingDivergedError(TrakCoreError, ArithmeticError):
    """A trained model gives outputs that are not finite."""
