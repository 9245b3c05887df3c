"""Training-data attribution: which training examples made the model say this, and can that be believed?

`import trak_core as tc` gives the Python interface. Reading a run needs no torch, so the explorer starts at once;
`Attributor` and `CustomTask` bring it in when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from trak_core.errors import AttributionWarning, TrakCoreError
from trak_core.live.run import LiveRun as Run
from trak_core.live.run import open_run
from trak_core.store.catalog import list_runs
from trak_core.store.run import Lds, RunInfo

if TYPE_CHECKING:
    from trak_core.engine import Attributor, Calibration, build, extend, measure
    from trak_core.exchange.evaluating import Evaluated, evaluate
    from trak_core.exchange.exporting import export_table
    from trak_core.exchange.importing import Imported, import_scores
    from trak_core.exchange.outcomes import OutcomesAdded, add_outcomes
    from trak_core.subjects import Subject
    from trak_core.subjects.tokens_asked import tokens_asked
    from trak_core.tasks import CustomTask
    from trak_core.training import FineTuning, StepLog, TrainingSettings
    from trak_core.training.trainer_log import TrainerLog
    from trak_core.views.inline import show

__all__ = [
    "AttributionWarning",
    "Attributor",
    "Calibration",
    "CustomTask",
    "Evaluated",
    "FineTuning",
    "Imported",
    "Lds",
    "OutcomesAdded",
    "Run",
    "RunInfo",
    "StepLog",
    "Subject",
    "TrainerLog",
    "TrainingSettings",
    "TrakCoreError",
    "add_outcomes",
    "build",
    "evaluate",
    "export_table",
    "extend",
    "import_scores",
    "list_runs",
    "measure",
    "open_run",
    "show",
    "tokens_asked",
]

__version__ = "0.1.0"

_WHEN_USED = {
    "trak_core.engine": ("Attributor", "Calibration", "build", "extend", "measure"),
    "trak_core.exchange.evaluating": ("Evaluated", "evaluate"),
    "trak_core.exchange.exporting": ("export_table",),
    "trak_core.exchange.importing": ("Imported", "import_scores"),
    "trak_core.exchange.outcomes": ("OutcomesAdded", "add_outcomes"),
    "trak_core.subjects": ("Subject",),
    "trak_core.subjects.tokens_asked": ("tokens_asked",),
    "trak_core.tasks": ("CustomTask",),
    "trak_core.training": ("FineTuning", "StepLog", "TrainingSettings"),
    "trak_core.training.trainer_log": ("TrainerLog",),
    "trak_core.views.inline": ("show",),
}


def __getattr__(name: str) -> Any:
    for module, names in _WHEN_USED.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
