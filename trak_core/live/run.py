"""A run as people open it from Python: read like any other, and able to explain inputs that it has never seen."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.live import LIVE_METHOD
from trak_core.store.catalog import find_run
from trak_core.store.run import Run


class LiveRun(Run):
    """A published run that also scores new inputs. Made by `open_run`; can be used from many threads at once."""

    def attribute(self, inputs: Any, labels: Any = None, method: str = LIVE_METHOD) -> NDArray[np.float32]:
        """Live scores `[m, n_train]` float32 of new inputs, in the unit of the stored scores for default targets.

        The first call prepares the run's model, which takes seconds; later ones take milliseconds an input.

        Args:
            inputs: array or tensor `[m, ...]` as the model takes them, or texts for a run of texts.
            labels: the classes to explain `[m]`; None explains what the model answers, which is all in a run without
                classes.
            method: "trak"; no other method can score new inputs.

        Raises:
            NotInRunError: the run has no such method.
            NeedNotMetError: the method cannot score new inputs, or the run has no recipe or no checkpoints.
            RunMismatchError: the data or a checkpoint is not what the run was made with.
            InvalidDataError: the inputs or labels cannot be taken; the message says why.
        """
        from trak_core.live.attribution import attribute_inputs  # brings torch in, which reading does not need

        return attribute_inputs(self, inputs, labels, method)


def open_run(name_or_path: str | os.PathLike[str]) -> LiveRun:
    """A read-only view of a run, given its path or its name in the directory of runs.

    Raises:
        RunNotFoundError: there is none; the message lists those that there are.
        RunNotReadyError: its first build has published nothing yet.
        StorageError: it is of an older version, and there is no room to upgrade it.
        StoreDamagedError: the store cannot be read.
        StoreVersionError: the store is of a newer version, or of one too old to be upgraded.
    """
    return LiveRun(find_run(name_or_path))
