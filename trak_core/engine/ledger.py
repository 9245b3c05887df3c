"""What the working store knows of retrained models: the subsets of each role, and what models trained on them said."""

import numpy as np
from numpy.typing import NDArray

from trak_core.store.arrow import from_arrow_lists
from trak_core.store.ledger import read_masks, read_outcomes, unpack_masks
from trak_core.store.writer import StoreWriter

Masks = NDArray[np.bool_]
Outcomes = NDArray[np.float64]


class RunLedger:
    """The retrained models of one working store; nothing is kept in memory.

    Args:
        writer: the working store.
        n_train: train examples.
        n_test: test examples.
        n_seeds: models retrained on each subset; 0 where there are none.
    """

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
