"""What the steps of a measurement share: the run's data, models and ledger, and what is known of each along the way."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trak_core.engine.evidence_step import Controls, Reported, control_evidence, train_classes
from trak_core.engine.measure_settings import MeasureSettings, Truth
from trak_core.engine.method_context import lds_tuning, run_context
from trak_core.engine.retrained import Answers, answers_of
from trak_core.engine.settings import BuildSettings
from trak_core.engine.steps import SCORES_ARE, UNFITTED
from trak_core.engine.working_run import WorkingRun
from trak_core.evidence.lds import MIN_SUBSETS
from trak_core.inputs import take
from trak_core.methods import Examples, Ledger, MethodContext
from trak_core.seeds import derive_seed
from trak_core.store.files import RunFiles
from trak_core.store.writer import StoreWriter
from trak_core.subjects import Subject
from trak_core.training import Ensemble

Floats = NDArray[np.float64]


class Measurement(WorkingRun):
    """One measurement under way, of the given settings; the other arguments are those of `WorkingRun`."""

    def __init__(
        self, settings: MeasureSettings, build: BuildSettings, subject: Subject, files: RunFiles, writer: StoreWriter
    ) -> None:
        super().__init__(build, subject, files, writer)
        self.settings = settings
        self.tuning = np.zeros(self.n_test, dtype=bool)
        self.tuning[writer.meta("tuning_tests") or []] = True
        # With very few test examples none are set apart, and settings are chosen on all of them.
        self.chosen_on = self.tuning if self.tuning.any() else ~self.tuning
        self._controls: Controls = {}

    @property
    def truths(self) -> list[tuple[int, Truth]]:
        """The further truths by truth_id; none where none are wanted."""
        return list(enumerate(self.settings.truths)) if self.settings.n_truth_subsets else []

    @cached_property
    def context(self) -> MethodContext:
        """All that methods may use, read once it is complete."""
        return self.read_context()

    def read_context(self) -> MethodContext:
        """All that methods may use: fitting subsets and tuning test examples, never those that are reported on."""
        fit, outcomes = self.ledger.masks("fit"), self.ledger.outcomes("fit").mean(1)
        more, more_outcomes = self.ledger.datamodels()
        known = torch.from_numpy(np.concatenate([fit, more]))
        answers = torch.from_numpy(np.concatenate([outcomes, more_outcomes]).astype(np.float32))
        device, logs = self.build.device, self.read_logs()
        seed = derive_seed(self.build.seed, "methods")
        context = run_context(self.subject, self.checkpoints, self.train, self.test, seed)
        return replace(
            context,
            weight_decay=logs[0].weight_decay if logs else context.weight_decay,
            logs=logs,
            ledger=Ledger(known.to(device), answers.to(device)) if len(known) else None,
            tuning=lds_tuning(fit, outcomes, device, self.chosen_on) if len(fit) and self.is_fitted else None,
        )

    def train_subsets(self, masks: NDArray[np.bool_], seeds: list[int]) -> Floats:
        """Margins `[n_models, n_test]` after retraining on subsets; NaN for models that diverged."""
        return self._answers(seeds, lambda part: self.trainer.train_subsets(masks[part], seeds[part])).margins

    def train_weighted(self, weights: NDArray[np.float32], seeds: list[int]) -> Floats:
        """Margins `[n_models, n_test]` after training with loss weights `[n_models, n_train]`, NaN likewise."""
        return self._answers(seeds, lambda part: self.trainer.train_weighted(weights[part], seeds[part])).margins

    def train_without(self, removed: list[NDArray[np.int64]], seeds: list[int], tests: NDArray[np.int64]) -> Answers:
        """Answers for some test examples of models trained without some train examples each."""
        where = torch.from_numpy(tests).to(self.test.targets.device)
        test = Examples(take(self.test.inputs, where), self.test.targets[where])
        return self._answers(seeds, lambda part: self.trainer.train_without(removed[part], seeds[part]), test)

    def _answers(self, seeds: list[int], train: Callable[[slice], Ensemble], test: Examples | None = None) -> Answers:
        return answers_of(self.trainer, self.subject.task, self.test if test is None else test, len(seeds), train)

    def lost(self, kind: str, what: str, n: int) -> dict[str, Any]:
        """The entry of `meta` that counts retrainings that diverged and were left out."""
        counted = {**(self.writer.meta("n_diverged") or {}), f"{kind}: {what}": n}
        return {"n_diverged": {name: count for name, count in counted.items() if count}}

    @property
    def is_fitted(self) -> bool:
        """False where there was no time yet to retrain all of the first subsets, which settings are chosen on."""
        return bool(self.writer.meta(SCORES_ARE) != UNFITTED)

    @property
    def can_report(self) -> bool:
        """True when there are subsets enough to report on."""
        return len(self.ledger.masks("eval")) >= MIN_SUBSETS

    @property
    def reporting(self) -> NDArray[np.bool_]:
        """Test examples that summaries are over, bool `[n_test]`."""
        return ~self.tuning

    @cached_property
    def reported(self) -> Reported:
        """The halves that evidence is reported on."""
        masks, outcomes = self.ledger.masks("eval"), self.ledger.outcomes("eval")
        return Reported.of(masks, outcomes, self.reporting, self.build, train_classes(self.writer))

    @property
    def controls(self) -> Controls:
        """The LDS of the controls that the run has scores of, by name; those that are measured come first."""
        names = self.writer.columns("SELECT method FROM methods WHERE is_control ORDER BY method")["method"].tolist()
        if names != list(self._controls):
            self._controls = control_evidence(self.writer, self.reported)
        return self._controls

    @property
    def test_classes(self) -> NDArray[np.int64]:
        """Classes of the test examples `[n_test]`; where there are none, the same for all."""
        targets = self.test.targets.cpu().numpy()
        return targets if self.subject.task.has_classes else np.zeros(self.n_test, dtype=np.int64)
