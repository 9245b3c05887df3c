"""What the working store knows of retrained models: the subsets of each role, and what models trained on them said."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.store.masks import unpack_masks
from trak_core.store.writer import StoreWriter

__all__ = ["Masks", "Outcomes", "RunLedger"]

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

    def masks(self, *roles: str) -> Masks:
        """Members of the subsets of some roles, bool `[n_subsets, n_train]`, by subset_id."""
        return self._masks(
            "SELECT mask FROM subsets WHERE role IN (SELECT unnest(?)) ORDER BY subset_id", [list(roles)]
        )

    def outcomes(self, role: str) -> Outcomes:
        """Model outputs of the default targets after retraining: `[n_subsets, n_seeds, n_test]`."""
        column = self._writer.columns(
            "SELECT model_output FROM outcomes JOIN subsets USING (subset_id) WHERE role = ? "
            "ORDER BY subset_id, seed, test_idx",
            [role],
        )["model_output"]
        return column.astype(np.float64).reshape(-1, self._n_seeds, self._n_test)

    def class_outcomes(self, role: str) -> Outcomes:
        """Model outputs of every class after retraining: `[n_subsets, n_seeds, n_test, n_classes]`."""
        flat = self._writer.arrays(
            "SELECT model_outputs FROM class_outcomes_by_seed JOIN subsets USING (subset_id) WHERE role = ? "
            "ORDER BY subset_id, seed, test_idx",
            "model_outputs",
            [role],
        )
        return flat.astype(np.float64).reshape(-1, self._n_seeds, self._n_test, flat.shape[1])

    def datamodels(self) -> tuple[Masks, Outcomes]:
        """Further halves, one model each: masks, and model outputs `[n_subsets, n_test]`."""
        masks = self._masks("SELECT mask FROM datamodel_subsets ORDER BY subset")
        outputs = self._writer.columns("SELECT model_output FROM datamodel_outcomes ORDER BY subset, test_idx")
        return masks, outputs["model_output"].astype(np.float64).reshape(len(masks), self._n_test)

    def truth(self, truth_id: int) -> tuple[Masks, Outcomes]:
        """A further truth: masks, and model outputs `[n_subsets, n_test]` averaged over seeds."""
        masks = self._masks("SELECT mask FROM truth_subsets WHERE truth_id = ? ORDER BY subset", [truth_id])
        values = self._writer.columns(
            "SELECT model_output FROM truth_outcomes WHERE truth_id = ? ORDER BY subset, seed, test_idx", [truth_id]
        )["model_output"]
        if not len(masks):
            return masks, np.empty((0, self._n_test))
        return masks, values.astype(np.float64).reshape(len(masks), -1, self._n_test).mean(1)

    def _masks(self, query: str, parameters: list[Any] | None = None) -> Masks:
        return unpack_masks(self._writer.columns(query, parameters)["mask"], self._n_train)
