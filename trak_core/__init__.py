"""Training-data attribution: which training examples made the model say this, and can that be believed?

`import trak_core as tc` gives the Python interface. Reading a run needs no torch, so the explorer starts at once;
`Attributor` and `CustomTask` bring it in when they are first used.
"""

from typing import TYPE_CHECKING, Any

from trak_core.errors import AttributionWarning, TrakCoreError
from trak_core.store.catalog import list_runs
from trak_core.store.catalog import open_named_run as open_run
from trak_core.store.run import Lds, Run, RunInfo

if TYPE_CHECKING:
    from trak_core.attribution import Attributor, Calibration
    from trak_core.tasks import CustomTask

__all__ = [
    "AttributionWarning",
    "Attributor",
    "Calibration",
    "CustomTask",
    "Lds",
    "Run",
    "RunInfo",
    "TrakCoreError",
    "list_runs",
    "open_run",
]

_WITH_TORCH = {
    "Attributor": "trak_core.attribution",
    "Calibration": "trak_core.attribution",
    "CustomTask": "trak_core.tasks",
}


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WITH_TORCH[name]), name)
