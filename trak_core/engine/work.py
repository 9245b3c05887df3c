"""Work as a list of tasks without state: each says what is to be done and on what, and nothing else.

Whoever has the run's directory can do a task, in any process, and doing it twice is harmless: its block is written in
one transaction together with its name in the journal of the store, which is the record of what is done. An executor for
processes or machines takes the same list as `Inline`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from trak_core.engine.progress import ProgressReporter, run_blocks
from trak_core.errors import RunMismatchError
from trak_core.store.writer import StoreWriter


class Kind(StrEnum):
    """What is to be done; the value begins the name of the block."""

    DESCRIBE = "data"
    TRAIN = "checkpoints"
    PREDICT = "predictions"
    RETRAIN = "ledger"
    FEATURIZE = "features"
    GRAM = "ridge"
    SCORE = "scores"
    LABEL_FOLD = "labels"
    SIGNALS = "signals"
    MEASURE = "lds"
    MAP = "map"


@dataclass(frozen=True)
class Work:
    """One task."""

    kind: Kind  # what is to be done
    fingerprint: str  # of the run that it is a part of
    checkpoint: int | None = None  # that it is done at; None where it is for all of them, or for none
    rows: range | None = None  # that it is done for, such as subsets of the ledger; None for all
    state: str | None = None  # of the ledger that it is done with, where it is done again once that has grown

    @property
    def block(self) -> str:
        """The name in the journal of what it writes."""
        told = [self.checkpoint, None if self.rows is None else self.rows.start, self.state]
        return " ".join([self.kind, *(str(each) for each in told if each is not None)])


class Inline:
    """Gets tasks done in this process, one after the other; the journal of the working store tells what is done."""

    def __init__(self, writer: StoreWriter, progress: ProgressReporter) -> None:
        self._writer, self._progress = writer, progress

    def run(
        self,
        step: str,
        tasks: Sequence[Work],
        do: Callable[[Work], None],
        may: Callable[[Work], bool] = lambda work: True,
    ) -> None:
        """Returns when the tasks of a step are done, those included that were done before, or one may not be begun.

        `do` does one task and writes its block; neighbours of one kind need not wait for each other. `may` is asked
        before each task that is not done yet.

        Raises:
            RunMismatchError: a task is part of another run.
        """
        of_run = self._writer.meta("fingerprint")
        for work in tasks:
            if work.fingerprint != of_run:
                raise RunMismatchError(
                    f"task {work.block!r} is part of the run {work.fingerprint[:12]}, but this is {of_run[:12]}; do it "
                    "in its own directory."
                )
        named = {work.block: work for work in tasks}
        blocks: dict[str, Callable[[], None]] = {block: partial(do, work) for block, work in named.items()}
        run_blocks(self._writer, self._progress, step, blocks, may=lambda block: may(named[block]))
