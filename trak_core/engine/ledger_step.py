"""Retrains models on the subsets of the ledger, block by block, and gives what they say of the test examples."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trak_core.engine.retrained import train_in_parts
from trak_core.engine.settings import BuildSettings
from trak_core.methods import Examples
from trak_core.seeds import derive_seed
from trak_core.store.ledger import outcome_columns, target_outcome_columns
from trak_core.tasks import Targets, Task
from trak_core.training import Ensemble, OnShare, Trainer, diverged


def retrain_block(
    task: Task,
    trainer: Trainer,
    test: Examples,
    masks: NDArray[np.bool_],
    block: range,
    settings: BuildSettings,
    on_share: OnShare,
) -> tuple[dict[str, dict[str, Any]], list[int]]:
    """Rows of the outcomes of a block of subsets, and the subsets that are lost because a model diverged.

    Args:
        task: what a prediction is, on the query side.
        trainer: that retrains.
        test: test examples with their targets.
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

    said, bad = [], []
    for _, ensemble in train_in_parts(trainer, len(members), train):
        given = ensemble.outputs(task, test.inputs)
        first = given[0]
        said.append(ensemble.of_each("model_outputs", task, given, Targets.of(task, first, test.targets).every))
        bad.append(diverged(ensemble))
    # One seed that diverged takes its subset with it: an average over fewer seeds is another measurement.
    lost = sorted({members[i][0] for i in np.flatnonzero(np.concatenate(bad))})
    kept = [i for i, (subset_id, _) in enumerate(members) if subset_id not in lost]
    if not kept:
        return {}, lost
    members = [members[i] for i in kept]
    subset_ids = [subset_id for subset_id in block if subset_id not in lost]
    targets = Targets.of(task, first, test.targets)
    outputs = torch.cat(said)[kept]  # [n_models, n_test, n_targets]
    of_default = outputs.gather(2, targets.default.expand(len(members), -1)[..., None])[..., 0]
    further = outputs[..., 1 - targets.first :]  # the default target is no further one where it stands first
    shape = (len(subset_ids), n_seeds, n_test)
    tables = {"outcomes": outcome_columns(subset_ids, of_default.reshape(shape).cpu().numpy())}
    if further.shape[-1]:
        by_seed = further.reshape(*shape, further.shape[-1]).cpu().numpy()
        tables["target_outcomes"] = target_outcome_columns(subset_ids, by_seed)
        tables["target_outcomes_by_seed"] = target_outcome_columns(subset_ids, by_seed, by_seed=True)
    return tables, lost
