"""A run that is being built or measured: its subject, its working store, and what it has of trained models."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trak_core.engine.method_context import examples_of, load_checkpoints, load_logs
from trak_core.engine.settings import BuildSettings
from trak_core.store.arrow import from_arrow_lists
from trak_core.store.files import RunFiles
from trak_core.store.ledger import read_masks, read_outcomes, unpack_masks
from trak_core.store.run_tables import score_fingerprint
from trak_core.store.writer import StoreWriter
from trak_core.subjects import Subject
from trak_core.training import Ensemble, Log, Trainer

Masks = NDArray[np.bool_]
Outcomes = NDArray[np.float64]


class RunLedger:
    """What the working store holds of retrained models, whose `n_seeds` is 0 where there are none."""

    def __init__(self, writer: StoreWriter, n_train: int, n_test: int, n_seeds: int) -> None:
        self._writer = writer
        self._n_train, self._n_test, self._n_seeds = n_train, n_test, max(1, n_seeds)

    def masks(self, role: str) -> Masks:
        """Members of the subsets of a role, bool `[n_subsets, n_train]`, by subset_id."""
        return read_masks(self._writer, role, self._n_train)

    def outcomes(self, role: str) -> Outcomes:
        """Model outputs of the default targets after retraining: `[n_subsets, n_seeds, n_test]`."""
        return read_outcomes(self._writer, role, self._n_seeds, self._n_test)

    def target_outcomes(self, role: str) -> Outcomes:
        """Model outputs of the targets 1, 2, ... after retraining: `[n_subsets, n_seeds, n_test, n_targets]`."""
        table = self._writer.arrow(
            "SELECT model_outputs FROM target_outcomes_by_seed JOIN subsets USING (subset_id) WHERE role = ? "
            "ORDER BY subset_id, seed, test_idx",
            [role],
        )
        flat, starts = from_arrow_lists(table, "model_outputs")
        if not len(starts):  # nothing but the default targets can be asked about
            return np.empty((len(self.masks(role)), self._n_seeds, self._n_test, 0))
        n_targets = len(flat) // len(starts)
        return flat.astype(np.float64).reshape(-1, self._n_seeds, self._n_test, n_targets)

    def datamodels(self) -> tuple[Masks, Outcomes]:
        """Further halves, one model each: masks, and model outputs `[n_subsets, n_test]`."""
        blobs = self._writer.columns("SELECT mask FROM datamodel_subsets ORDER BY subset")["mask"]
        outputs = self._writer.columns("SELECT model_output FROM datamodel_outcomes ORDER BY subset, test_idx")
        masks = unpack_masks(blobs, self._n_train)
        return masks, outputs["model_output"].astype(np.float64).reshape(len(masks), self._n_test)

    def truth(self, truth_id: int) -> tuple[Masks, Outcomes]:
        """A further truth: masks, and model outputs `[n_subsets, n_test]` averaged over seeds."""
        query = "SELECT mask FROM truth_subsets WHERE truth_id = ? ORDER BY subset"
        masks = unpack_masks(self._writer.columns(query, [truth_id])["mask"], self._n_train)
        values = self._writer.columns(
            "SELECT model_output FROM truth_outcomes WHERE truth_id = ? ORDER BY subset, seed, test_idx", [truth_id]
        )["model_output"]
        if not len(masks):
            return masks, np.empty((0, self._n_test))
        return masks, values.astype(np.float64).reshape(len(masks), -1, self._n_test).mean(1)


class WorkingRun:
    """A run under way, its writer that of the working store; checkpoints are read once they are there."""

    def __init__(self, build: BuildSettings, subject: Subject, files: RunFiles, writer: StoreWriter) -> None:
        self.build, self.subject, self.files, self.writer = build, subject, files, writer
        dataset = subject.dataset
        self.train, self.test = (examples_of(split, build.device) for split in (dataset.train, dataset.test))
        self.n_train, self.n_test = len(self.train), len(self.test)
        self.ledger = RunLedger(writer, self.n_train, self.n_test, build.n_seeds)

    @cached_property
    def trainer(self) -> Trainer:
        """What trains models of the subject."""
        return self.subject.trainer(self.build.device)

    @cached_property
    def checkpoints(self) -> Ensemble:
        """The checkpoints as written to disk, each checked against its fingerprint."""
        return self.load_checkpoints()

    def load_checkpoints(self, part: range | None = None) -> Ensemble:
        """Some of the checkpoints; all that there are for None."""
        return load_checkpoints(self.writer, self.files, self.subject, self.build.device, part)

    def forget_checkpoints(self) -> None:
        """Those in memory: there are more now."""
        vars(self).pop("checkpoints", None)

    def read_logs(self) -> list[Log]:
        """The training logs of the first checkpoints, checked likewise; they are not kept in memory."""
        return load_logs(self.writer, self.files, self.subject, self.build.device)

    def score_fingerprint(self, method: str) -> str:
        """Of the scores of a method, which are made from the checkpoints by the ridge that was chosen."""
        sha256s = self.writer.columns("SELECT sha256 FROM checkpoints ORDER BY checkpoint_id")["sha256"].tolist()
        return score_fingerprint(self.writer.meta("fingerprint"), sha256s, self.writer.meta("ridge"), method)
