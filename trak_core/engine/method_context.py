"""What a run gives to methods: its examples, its checkpoints, and how settings are chosen on its ledger."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.evidence import lds_per_test
from trak_core.inputs import as_tensors
from trak_core.methods import Examples, MethodContext, Tuning
from trak_core.modalities import Split
from trak_core.subjects import Subject
from trak_core.training import Ensemble


def examples_of(split: Split, device: str) -> Examples:
    """The examples of a split on a device, each with its label."""
    return Examples(as_tensors(split.inputs, device), torch.from_numpy(split.labels).to(device))


def run_context(
    subject: Subject, checkpoints: Ensemble, train: Examples, test: Examples, seed: int, proj_dim: int | None = None
) -> MethodContext:
    """The context of a run, without what only some runs have.

    Args:
        subject: of the run.
        checkpoints: of the run.
        train: its train examples.
        test: its test examples.
        seed: of methods that draw.
        proj_dim: dimension that TRAK projects gradients to; None for whole gradients.
    """
    return MethodContext(
        task=subject.task,
        architecture=checkpoints.architecture,
        states=[checkpoints.state_dict(i) for i in range(len(checkpoints))],
        train=train,
        test=test,
        seed=seed,
        weight_decay=subject.training_facts.get("weight_decay", 0.0),
        proj_dim=proj_dim,
    )


def lds_tuning(
    masks: NDArray[np.bool_], outcomes: NDArray[np.float64], device: str, tests: NDArray[np.bool_] | None = None
) -> Tuning:
    """Settings are chosen by the mean LDS on some subsets.

    Args:
        masks: of the subsets, bool `[n_subsets, n_train]`.
        outcomes: mean model outputs after retraining `[n_subsets, n_test]`.
        device: where methods work.
        tests: test examples to choose on, bool `[n_test]`; None for all.
    """
    tests = np.ones(outcomes.shape[1], dtype=bool) if tests is None else tests
    actual = outcomes[:, tests]

    def quality(predicted: Tensor) -> float:
        lds = lds_per_test(predicted.double().cpu().numpy()[:, tests], actual)
        return float(np.nanmean(lds)) if np.isfinite(lds).any() else float("nan")

    return Tuning(torch.from_numpy(masks).to(device), quality)
