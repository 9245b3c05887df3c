"""Retrains models on the subsets of the ledger, block by block, and gives what they say of the test examples."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.engine.retrained import train_in_parts
from trak_core.engine.settings import BuildSettings
from trak_core.methods import Examples
from trak_core.seeds import derive_seed
from trak_core.tasks import Classification
from trak_core.training import Ensemble, OnShare, Trainer, diverged

__all__ = ["retrain_block"]

NUMBERS_AT_ONCE = 2**26
"""Logits that are looked at at once, each counted for every class asked about."""


def retrain_block(
    task: Classification,
    trainer: Trainer,
    test: Examples,
    masks: NDArray[np.bool_],
    block: range,
    settings: BuildSettings,
    on_share: OnShare,
) -> tuple[dict[str, dict[str, Any]], list[int]]:
    """Rows of the outcomes of a block of subsets, and the subsets that are lost because a model diverged.

    Args:
        task: what a prediction is.
        trainer: that retrains.
        test: test examples with their labels.
        masks: of all subsets of the ledger, bool `[n_subsets, n_train]`.
        block: numbers of the subsets to retrain on.
        settings: of the build.
        on_share: progress.
    """
    n_seeds, n_test = settings.n_seeds, len(test)
    members = [(subset_id, seed) for subset_id in block for seed in range(n_seeds)]
    seeds = [derive_seed(settings.seed, "ledger", subset_id, seed) for subset_id, seed in members]
    members_of_each = masks[[subset_id for subset_id, _ in members]]

    def train(part: slice) -> Ensemble:
        share = len(seeds[part]) / len(seeds)
        return trainer.train_subsets(members_of_each[part], seeds[part], lambda done: on_share(share * done))

    logits, bad = [], []
    for _, ensemble in train_in_parts(trainer, len(members), train):
        logits.append(ensemble.logits(test.inputs))
        bad.append(diverged(ensemble))
    # One seed that diverged takes its subset with it: an average over fewer seeds is another measurement.
    lost = sorted({members[i][0] for i in np.flatnonzero(np.concatenate(bad))})
    kept = [i for i, (subset_id, _) in enumerate(members) if subset_id not in lost]
    if not kept:
        return {}, lost
    members = [members[i] for i in kept]
    subset_ids = [subset_id for subset_id in block if subset_id not in lost]
    outputs = _of_every_class(task, torch.cat(logits)[kept])  # [n_models, n_test, n_classes]
    of_label = outputs.gather(2, test.asked.expand(len(members), -1)[..., None])[..., 0]
    of_model = {
        "subset_id": np.repeat([subset_id for subset_id, _ in members], n_test),
        "seed": np.repeat([seed for _, seed in members], n_test),
        "test_idx": np.tile(np.arange(n_test), len(members)),
    }
    means = outputs.reshape(len(subset_ids), n_seeds, n_test, -1).mean(1)
    return {
        "outcomes": {**of_model, "model_output": of_label.reshape(-1).cpu().numpy()},
        "class_outcomes": {
            "subset_id": np.repeat(subset_ids, n_test),
            "test_idx": np.tile(np.arange(n_test), len(subset_ids)),
            "model_outputs": means.flatten(0, 1).cpu().numpy(),
        },
        "class_outcomes_by_seed": {**of_model, "model_outputs": outputs.flatten(0, 1).cpu().numpy()},
    }, lost


def _of_every_class(task: Classification, logits: Tensor) -> Tensor:
    """Model outputs `[n_models, n_test, n_classes]` for every class asked about."""
    n_models, n_test, n_classes = logits.shape
    classes = torch.arange(n_classes, device=logits.device)
    # One class takes as much memory as all logits: with many classes not all fit at once.
    parts = torch.split(classes, max(1, NUMBERS_AT_ONCE // logits.numel()))
    asked = [part.expand(n_models, n_test, -1) for part in parts]
    return torch.cat([task.model_output(logits[:, :, None, :], part) for part in asked], dim=-1)
