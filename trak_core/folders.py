"""Where things lie that are no part of the program: runs, and the data that they were built from.

Everything is kept in `data` of the folder where the program is started, never beside the program itself, which may be
installed where nobody writes. The environment variable TRAK_RUNS_DIR names another directory of runs. Each function
looks anew, so that a change of either counts from then on.
"""

import os
from pathlib import Path

PACKAGE_DIR = Path(__file__).resolve().parent
"""The folder of trak_core, in a checkout or among installed packages."""


def runs_dir() -> Path:
    """The directory of all runs, absolute: TRAK_RUNS_DIR, else `data/runs` of the current folder; it may be missing."""
    return Path(os.environ.get("TRAK_RUNS_DIR") or "data/runs").resolve()


def exports_dir() -> Path:
    """Where the explorer writes run files that are too large for a browser: beside the runs."""
    return runs_dir().parent / "exports"


def bases_dir() -> Path:
    """Where small models lie that recipes pretrain here: beside the runs."""
    return runs_dir().parent / "bases"


def sources_dir() -> Path:
    """Where uploaded and downloaded data lie: beside the runs, because builds that go on read them again."""
    return runs_dir().parent / "sources"
