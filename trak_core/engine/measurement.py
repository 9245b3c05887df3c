"""What the steps of a measurement share: the run's data, models and ledger, and what is known of each along the way."""

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trak_core.engine.evidence_step import Reported
from trak_core.engine.ledger import Outcomes, RunLedger
from trak_core.engine.measure_settings import MeasureSettings, Truth
from trak_core.engine.method_context import (
    examples_of,
    lds_tuning,
    load_checkpoints,
    load_logs,
    run_context,
)
from trak_core.engine.retrained import Answers, answers_of
from trak_core.engine.settings import BuildSettings
from trak_core.inputs import take
from trak_core.methods import METHODS, Examples, Ledger, MethodContext
from trak_core.seeds import derive_seed
from trak_core.store.files import RunFiles
from trak_core.store.writer import StoreWriter
from trak_core.subjects import Subject
from trak_core.training import Ensemble, Trainer

Floats = NDArray[np.float64]


class Measurement:
    """One measurement under way.

    Args:
        settings: of the measurement.
        build: settings of the run.
        subject: data, model, task and training.
        files: of the run.
        writer: the working store, with everything that is published.
    """

    def __init__(
        self, settings: MeasureSettings, build: BuildSettings, subject: Subject, files: RunFiles, writer: StoreWriter
    ) -> None:
        self.settings = settings
        self.build = build
        self.subject = subject
        self.files = files
        self.writer = writer
        dataset = subject.dataset
        self.train, self.test = (examples_of(split, build.device) for split in (dataset.train, dataset.test))
        self.n_train, self.n_test = len(self.train), len(self.test)
        self.ledger = RunLedger(writer, self.n_train, self.n_test, build.n_seeds)
        self.tuning = np.zeros(self.n_test, dtype=bool)
        self.tuning[writer.meta("tuning_tests") or []] = True
        # With very few test examples none are set apart, and settings are chosen on all of them.
        self.chosen_on = self.tuning if self.tuning.any() else ~self.tuning

    @property
    def is_every_method(self) -> bool:
        """True unless methods were asked for by name."""
        return self.settings.methods == tuple(METHODS)

    @property
    def truths(self) -> list[tuple[int, Truth]]:
        """The further truths by truth_id; none where none are wanted."""
        return list(enumerate(self.settings.truths)) if self.settings.n_truth_subsets else []

    @cached_property
    def trainer(self) -> Trainer:
        """What trains models of the subject."""
        return self.subject.trainer(self.build.device)

    @cached_property
    def checkpoints(self) -> Ensemble:
        """The checkpoints of the run."""
        return load_checkpoints(self.writer, self.files, self.subject, self.build.device)

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
        device = self.build.device
        logs = load_logs(self.writer, self.files, self.subject, device)
        seed = derive_seed(self.build.seed, "methods")
        context = run_context(self.subject, self.checkpoints, self.train, self.test, seed)
        return replace(
            context,
            weight_decay=logs[0].weight_decay if logs else context.weight_decay,
            logs=logs,
            ledger=Ledger(known.to(device), answers.to(device)) if len(known) else None,
            tuning=lds_tuning(fit, outcomes, device, self.chosen_on) if len(fit) else None,
        )

    def train_subsets(self, masks: NDArray[np.bool_], seeds: list[int]) -> Floats:
        """Margins `[n_models, n_test]` after retraining on subsets; NaN for models that diverged."""
        trainer = self.trainer
        return answers_of(
            trainer,
            self.subject.task,
            self.test,
            len(seeds),
            lambda part: trainer.train_subsets(masks[part], seeds[part]),
        ).margins

    def train_weighted(self, weights: NDArray[np.float32], seeds: list[int]) -> Floats:
        """Margins `[n_models, n_test]` after training with loss weights `[n_models, n_train]`, NaN likewise."""
        trainer = self.trainer
        return answers_of(
            trainer,
            self.subject.task,
            self.test,
            len(seeds),
            lambda part: trainer.train_weighted(weights[part], seeds[part]),
        ).margins

    def train_without(self, removed: list[NDArray[np.int64]], seeds: list[int], tests: NDArray[np.int64]) -> Answers:
        """Answers for some test examples of models trained without some train examples each."""
        trainer, where = self.trainer, torch.from_numpy(tests).to(self.test.targets.device)
        return answers_of(
            trainer,
            self.subject.task,
            Examples(take(self.test.inputs, where), self.test.targets[where]),
            len(seeds),
            lambda part: trainer.train_without(removed[part], seeds[part]),
        )

    def lost(self, kind: str, what: str, n: int) -> dict[str, Any]:
        """The entry of `meta` that counts retrainings that diverged and were left out."""
        counted = {**(self.writer.meta("n_diverged") or {}), f"{kind}: {what}": n}
        return {"n_diverged": {name: count for name, count in counted.items() if count}}

    @property
    def reporting(self) -> NDArray[np.bool_]:
        """Test examples that summaries are over, bool `[n_test]`."""
        return ~self.tuning

    @cached_property
    def reported(self) -> Reported:
        """The halves that evidence is reported on."""
        return Reported.of(*self.outcomes_of("eval"), self.reporting, self.build)

    @property
    def test_classes(self) -> NDArray[np.int64]:
        """Classes of the test examples `[n_test]`; where there are none, the same for all."""
        targets = self.test.targets.cpu().numpy()
        return targets if self.subject.task.has_classes else np.zeros(self.n_test, dtype=np.int64)

    def outcomes_of(self, role: str) -> tuple[NDArray[np.bool_], Outcomes]:
        """Masks `[n_subsets, n_train]` and outcomes `[n_subsets, n_seeds, n_test]` of a role."""
        return self.ledger.masks(role), self.ledger.outcomes(role)
