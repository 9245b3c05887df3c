"""Keeps count of a build, predicts the time left, and tells whoever listens."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from trak_core.stopping import raise_if_asked_to_stop
from trak_core.store.files import RunFiles
from trak_core.store.progress import BuildState, BuildStatus, write_status
from trak_core.store.writer import StoreWriter

WRITE_EVERY_SECONDS = 0.3


@dataclass(frozen=True)
class Step:
    """A part of a build."""

    name: str  # its key
    label: str  # in words
    units: int  # how many times it advances
    seconds: float  # what it takes on two CPU cores; only the proportions matter
    before_scores: bool  # True when the run cannot be browsed before it is done


class ProgressReporter:
    """Writes the status of a build beside its working store and passes it on.

    Args:
        files: of the run.
        steps: in the order in which they are done.
        command: the arguments of `build` that go on with this build.
        listener: called with every new status.
    """

    def __init__(
        self,
        files: RunFiles,
        steps: list[Step],
        command: list[str],
        listener: Callable[[BuildStatus], None],
    ) -> None:
        self._files = files
        self._steps = {step.name: step for step in steps}
        self._done = {step.name: 0.0 for step in steps}
        self._skipped = 0.0
        self._command = command
        self._listener = listener
        self._current = steps[0]
        self._started = time.monotonic()
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
        self._done[self._current.name] += units
        self._report("running")

    def end(self, state: BuildState, message: str = "") -> None:
        """The build ends before its time."""
        self._report(state, message, force=True)

    def _report(self, state: BuildState, message: str = "", force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._written < WRITE_EVERY_SECONDS:
            return
        self._written = now
        total = sum(step.seconds for step in self._steps.values())
        done = sum(self._done[name] * self._seconds_a_unit(step) for name, step in self._steps.items())
        # How many real seconds a planned second takes on this machine; 1 until something is known.
        worked = done - self._skipped
        pace = (now - self._started) / worked if worked > 0.05 * total else 1.0
        to_scores = sum(self._remaining(step) for step in self._steps.values() if step.before_scores)
        status = BuildStatus(
            state=state,
            step=self._current.label,
            fraction=min(1.0, done / total),
            seconds_left=pace * max(0.0, total - done),
            seconds_to_scores=pace * to_scores,
            message=message,
            command=self._command,
            updated_at=time.time(),
        )
        write_status(self._files, status)
        self._listener(status)

    def _remaining(self, step: Step) -> float:
        return max(0.0, step.units - self._done[step.name]) * self._seconds_a_unit(step)

    @staticmethod
    def _seconds_a_unit(step: Step) -> float:
        return step.seconds / step.units


def run_blocks(
    writer: StoreWriter,
    progress: ProgressReporter,
    step: str,
    blocks: dict[str, Callable[[], None]],
    on_done: Callable[[], None] = lambda: None,
) -> None:
    """Computes the blocks of a step that are not written yet, in order.

    Args:
        writer: knows what is written.
        progress: told that the step begins, and of what an earlier build has done of it.
        step: its name.
        blocks: name to what computes and writes the block.
        on_done: called after each block that is computed.
    """
    progress.begin(step)
    for block, compute in blocks.items():
        if writer.has(block):
            progress.skip(1 / len(blocks))
        else:
            raise_if_asked_to_stop()
            compute()
            on_done()
