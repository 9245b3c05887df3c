"""Training-data attribution: which training examples made the model say this, and can that be believed?

`import trak_core as tc` gives the Python interface. Reading a run needs no torch, so the explorer starts at once.
"""

from trak_core.errors import TrakCoreError
from trak_core.store.catalog import list_runs
from trak_core.store.catalog import open_named_run as open_run
from trak_core.store.run import Lds, Run, RunInfo

__all__ = ["Lds", "Run", "RunInfo", "TrakCoreError", "list_runs", "open_run"]
