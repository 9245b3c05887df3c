"""The growth of a ledger: models are retrained on random halves, block by block, while there is time."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.engine.clock import Blocks, Clock
from trak_core.engine.pace import Pace
from trak_core.engine.progress import ProgressReporter
from trak_core.engine.settings import BuildSettings
from trak_core.engine.training_step import retrain_block
from trak_core.engine.work import Inline, Kind, Work
from trak_core.engine.working_run import WorkingRun
from trak_core.errors import TrainingDivergedError
from trak_core.evidence.lds import MIN_SUBSETS
from trak_core.store.files import RunFiles
from trak_core.store.ledger import subset_columns
from trak_core.store.writer import StoreWriter
from trak_core.subjects import Subject
from trak_core.training import OnShare, draw_half_subsets

LEAST_REPORTED = 8
"""Subsets to report on that there has to be time for, before the first are retrained."""
MOST_PREDICTED = 200
"""Subsets that outcomes are predicted for with fewer checkpoints."""
SUBSETS_AS_LONG = 200
"""Subsets with which measuring takes twice as long as with few."""
PUBLISHED_AFTER = ("suspects", "signals", "map")
"""Steps after which readers are shown what is there."""


class LedgerSteps(WorkingRun, ABC):
    """A run that is built or extended step by step, with a ledger.

    Args:
        build, subject, files, writer: as `WorkingRun`.
        progress: told of every step.
        clock: tells how long the ledger may grow.
        pace: what is expected of the ledger before anything was retrained and measured.
    """

    def __init__(
        self,
        build: BuildSettings,
        subject: Subject,
        files: RunFiles,
        writer: StoreWriter,
        progress: ProgressReporter,
        clock: Clock,
        pace: Pace,
    ) -> None:
        super().__init__(build, subject, files, writer)
        self.progress, self.clock, self.pace = progress, clock, pace
        self.executor = Inline(writer, progress)

    @abstractmethod
    def _one(self, work: Work) -> None:
        """Does one task and writes its block."""

    def _work(self, kind: Kind, **of: Any) -> Work:
        return Work(kind, self.writer.meta("fingerprint"), **of)

    def _do(self, step: str, tasks: list[Work], may: Callable[[Work], bool] = lambda work: True) -> None:
        """Does those tasks of a step that are not done yet, while they may be done."""
        if not tasks:
            return
        was_done = all(self.writer.has(work.block) for work in tasks)
        self.executor.run(step, tasks, self._one, may)
        if step in PUBLISHED_AFTER and not was_done:
            self.writer.publish()

    def _advance(self, units: float) -> OnShare:
        return lambda share: self.progress.advance(units * share)

    @cached_property
    def masks(self) -> NDArray[np.bool_]:
        """The ledger's subsets, bool `[n_subsets, n_train]`: the first `n_fit` are for fitting.

        Of a ledger that grows there are some that it may come to later.
        """
        n = max(self.build.n_subsets, MOST_PREDICTED) if self.build.grows else self.build.n_subsets
        return draw_half_subsets(n, self.n_train, self.build.seed)

    def _subset_rows(self, subset_ids: range) -> dict[str, Any]:
        roles = ["fit" if i < self.build.n_fit else "eval" for i in subset_ids]
        return subset_columns(self.masks[subset_ids.start : subset_ids.stop], roles, subset_ids.start)

    def _n_retrained(self, subset_ids: range) -> int:
        """Subsets among these that models were retrained on, those that diverged included."""
        query = "SELECT count(*) AS n FROM subsets WHERE subset_id >= ? AND subset_id < ?"
        return int(self.writer.columns(query, [subset_ids.start, subset_ids.stop])["n"][0])

    @cached_property
    def _pace_of_blocks(self) -> Blocks:
        return Blocks(self.clock, self.build.n_seeds * self.pace.half_model * self.progress.slowness)

    def _retrain_while_there_is_time(self, step: str, subset_ids: range, adds_up: bool = False) -> None:
        """Retrains on the subsets of a step that are left, block by block; `adds_up` as in `add_evidence`."""
        size = max(1, min(self.build.subsets_a_block, self.trainer.at_once // self.build.n_seeds))
        start = subset_ids.start + (self._n_retrained(subset_ids) if self.build.grows else 0)
        blocks = [range(i, min(i + size, subset_ids.stop)) for i in range(start, subset_ids.stop, size)]
        before_evidence = self.build.n_checkpoints * (self.pace.ridge + self.pace.scores) if step == "fit" else 0.0
        if not self.writer.meta("map"):
            before_evidence += self.pace.map

        def may(work: Work) -> bool:
            assert work.rows is not None
            afterwards = before_evidence + self.pace.lds * _times_as_long(work.rows.stop)
            # The first subsets serve nothing without some to report on; once begun, each of them is one less to do.
            is_first = step == "fit" and work.rows.start == 0 and not adds_up
            n_needed = len(subset_ids) + LEAST_REPORTED if is_first else len(work.rows)
            return self._pace_of_blocks.fit(n_needed, afterwards * self.progress.slowness)

        self._do(step, [self._work(Kind.RETRAIN, rows=block) for block in blocks], may)

    def _retrain(self, block: range) -> None:
        """Retrains every seed of a block of subsets and writes what the models say of the test examples."""
        began = self.progress.seconds_worked
        tables, lost = retrain_block(self, self.masks, block, self._advance(len(block)))
        meta = None
        if self.build.grows:
            tables["subsets"], meta = self._subset_rows(block), {"n_subsets": block.stop}
        mark = [("UPDATE subsets SET role = 'diverged' WHERE subset_id = ?", [subset_id]) for subset_id in lost]
        self.writer.write(f"ledger {block.start}", tables, meta, then=mark)
        self._pace_of_blocks.took(len(block), self.progress.seconds_worked - began)
        self.pace = replace(self.pace, half_model=self._pace_of_blocks.seconds_a_unit / self.build.n_seeds)

    def _measuring_took(self, n_subsets: int, seconds: float) -> None:
        """What measuring took with so many subsets tells what it will take with more."""
        self.pace = replace(self.pace, lds=seconds / _times_as_long(n_subsets))

    def _is_enough(self, role: str) -> bool:
        """True when a role of the ledger has the subsets that it needs; a ledger that grows may still get them.

        Raises:
            TrainingDivergedError: it does not, and will not get more.
        """
        n_kept = len(self.ledger.masks(role))
        if n_kept < MIN_SUBSETS and not self.build.grows:
            n_lost = self.writer.columns("SELECT count(*) AS n FROM subsets WHERE role = 'diverged'")["n"][0]
            purpose = "choose settings on" if role == "fit" else "report on"
            raise TrainingDivergedError(
                f"training diverged on {n_lost} random halves; {n_kept} are left to {purpose}, {MIN_SUBSETS} are "
                "needed. Lower the learning rate of the recipe, or give a larger n_subsets."
            )
        return n_kept >= MIN_SUBSETS


def _times_as_long(n_subsets: int) -> float:
    """How much longer measuring takes with so many subsets than with few."""
    return 1 + n_subsets / SUBSETS_AS_LONG
