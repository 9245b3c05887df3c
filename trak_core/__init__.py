"""Training-data attribution: which training examples made the model say this, and can that be believed?

`import trak_core as tc` gives the Python interface. Reading a run needs no torch, so the explorer starts at once;
`Attributor` and `CustomTask` bring it in when they are first used.
"""

from typing import TYPE_CHECKING, Any

from trak_core.errors import AttributionWarning, TrakCoreError
from trak_core.live.run import LiveRun as Run
from trak_core.live.run import open_run
from trak_core.store.catalog import list_runs
from trak_core.store.run import Lds, RunInfo

if TYPE_CHECKING:
    from trak_core.engine import Attributor, Calibration, build, measure
    from trak_core.exchange.exporting import export_table
    from trak_core.exchange.importing import Imported, import_scores
    from trak_core.subjects import Subject
    from trak_core.tasks import CustomTask
    from trak_core.training import TrainingSettings
    from trak_core.views.inline import show

__all__ = [
    "AttributionWarning",
    "Attributor",
    "Calibration",
    "CustomTask",
    "Imported",
    "Lds",
    "Run",
    "RunInfo",
    "Subject",
    "TrainingSettings",
    "TrakCoreError",
    "build",
    "export_table",
    "import_scores",
    "list_runs",
    "measure",
    "open_run",
    "show",
]

__version__ = "0.1.0"

_WHEN_USED = {
    "Attributor": "trak_core.engine",
    "Calibration": "trak_core.engine",
    "CustomTask": "trak_core.tasks",
    "Imported": "trak_core.exchange.importing",
    "Subject": "trak_core.subjects",
    "TrainingSettings": "trak_core.training",
    "build": "trak_core.engine",
    "export_table": "trak_core.exchange.exporting",
    "import_scores": "trak_core.exchange.importing",
    "measure": "trak_core.engine",
    "show": "trak_core.views.inline",
}


def __getattr__(name: str) -> Any:
    if name not in _WHEN_USED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHEN_USED[name]), name)
