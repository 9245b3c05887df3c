"""Keeps count of a build, predicts the time left, and tells whoever listens."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from trak_core.engine.clock import Clock, WorkTime
from trak_core.errors import StorageError, TrakCoreError
from trak_core.stopping import is_stop, raise_if_asked_to_stop
from trak_core.store.files import RunFiles
from trak_core.store.progress import BuildState, BuildStatus, write_status
from trak_core.store.writer import StoreWriter

logger = logging.getLogger(__name__)

WRITE_EVERY_SECONDS = 0.3


@dataclass(frozen=True)
class Step:
    """A part of a build."""

    name: str  # its key
    label: str  # in words
    units: int  # how many times it advances
    seconds: float  # what it takes on two CPU cores; only the proportions matter
    before_scores: bool = False  # True when the run cannot be browsed before it is done


class ProgressReporter:
    """Writes the status of a build beside its working store, and passes it on to the listener.

    The steps come in the order in which they are done; the command goes on with this build. The clock is that of a
    build with a budget.
    """

    def __init__(
        self,
        files: RunFiles,
        steps: list[Step],
        command: list[str],
        listener: Callable[[BuildStatus], None],
        clock: Clock | None = None,
    ) -> None:
        self._files, self._command, self._listener = files, command, listener
        self._steps = {step.name: step for step in steps}
        self._done = dict.fromkeys(self._steps, 0.0)
        self._skipped, self._current = 0.0, steps[0]
        self._work_time = WorkTime()
        self._clock = clock
        self._written = float("-inf")

    def begin(self, name: str) -> None:
        """A step starts; a request to stop that was swallowed before is obeyed now."""
        raise_if_asked_to_stop()
        self._current = self._steps[name]
        self._report("running", force=True)

    def skip(self, share: float) -> None:
        """A share of the current step was done by an earlier build; it says nothing about speed."""
        self._done[self._current.name] += share * self._current.units
        self._skipped += share * self._current.seconds

    def advance(self, units: float = 1.0) -> None:
        """Units (or a part of one) of the current step are done."""
        raise_if_asked_to_stop()
        self._work_time.look()
        self._done[self._current.name] += units
        self._report("running")

    def fail(self, error: BaseException) -> None:
        """The build ends by an error, or because it was asked to stop."""
        try:
            if is_stop(error):
                self._report("stopped", force=True)
            else:
                message = str(error) if isinstance(error, TrakCoreError) else f"{type(error).__name__}: {error}"
                self._report("failed", message, force=True)
        except StorageError as failure:
            # On a full disk the status cannot be written either; the error itself is already on its way up.
            logger.warning("%s", failure)

    @property
    def _total(self) -> float:
        return sum(step.seconds for step in self._steps.values())

    @property
    def _seconds_done(self) -> float:
        return sum(self._done[name] * step.seconds / step.units for name, step in self._steps.items())

    @property
    def slowness(self) -> float:
        """How many real seconds a planned second takes on this machine; 1 until something is known."""
        worked = self._seconds_done - self._skipped
        return self.seconds_worked / worked if worked > 0.05 * self._total else 1.0

    @property
    def seconds_worked(self) -> float:
        """Seconds since this was made, without those in which the process was suspended."""
        return self._work_time.look()

    def _report(self, state: BuildState, message: str = "", force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._written < WRITE_EVERY_SECONDS:
            return
        self._written = now
        total, done = self._total, self._seconds_done
        pace, left = self.slowness, math.inf if self._clock is None else max(0.0, self._clock.left)
        to_scores = sum(self._remaining(step) for step in self._steps.values() if step.before_scores)
        status = BuildStatus(
            state=state,
            step=self._current.label,
            fraction=min(1.0, max(0.0, done / total)),
            seconds_left=min(left, pace * max(0.0, total - done)),
            seconds_to_scores=pace * to_scores,
            message=message,
            command=self._command,
            updated_at=time.time(),
            seconds_spent=0.0 if self._clock is None else self._clock.spent,
        )
        write_status(self._files, status)
        self._listener(status)

    def _remaining(self, step: Step) -> float:
        return max(0.0, step.units - self._done[step.name]) * step.seconds / step.units


def run_blocks(
    writer: StoreWriter,
    progress: ProgressReporter,
    step: str,
    blocks: dict[str, Callable[[], None]],
    on_done: Callable[[], None] = lambda: None,
    may: Callable[[str], bool] = lambda block: True,
) -> None:
    """Computes and writes the blocks of a step that are not written yet, in order; `on_done` is called after each.

    It ends before the first that it may not begin.
    """
    is_begun = False
    for block, compute in blocks.items():
        is_done = writer.has(block)
        if not is_done and not may(block):
            return
        if not is_begun:
            progress.begin(step)
            is_begun = True
        if is_done:
            progress.skip(1 / len(blocks))
        else:
            raise_if_asked_to_stop()
            compute()
            on_done()
