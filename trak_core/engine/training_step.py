"""Trains the models of a build: its checkpoints, and those of the ledger on random subsets."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from trak_core.engine.retrained import train_in_parts
from trak_core.engine.working_run import WorkingRun
from trak_core.seeds import derive_seed
from trak_core.store.files import file_sha256, replace_file
from trak_core.store.ledger import outcome_columns, target_outcome_columns
from trak_core.tasks import Targets
from trak_core.training import Ensemble, Log, OnShare, diverged

N_LOGGED = 5
"""Checkpoints whose training is recorded: as many as methods that look at training average over."""


def write_checkpoints(run: WorkingRun, part: range, on_share: OnShare) -> None:
    """Trains some checkpoints, or takes those of the subject, and writes files, logs and rows, yet without accuracies.

    Raises:
        TrainingDivergedError: a trained weight is not finite.
    """
    seeds: list[int | None] = [None] * len(part)
    logs: Sequence[Log] = ()
    if run.subject.checkpoints:
        states = [run.subject.checkpoints[i] for i in part]
        on_share(1)
    else:
        drawn = [derive_seed(run.build.seed, "checkpoint", i) for i in part]
        trained = run.trainer.train_checkpoints(drawn, max(0, N_LOGGED - part.start), on_share)
        states, logs = [trained.ensemble.state_dict(i) for i in range(len(part))], trained.logs
        seeds = [*drawn]
    for i, state in zip(part, states, strict=True):
        # Copies: what one file holds must not be part of a larger tensor.
        plain = {name: value.cpu().clone().contiguous() for name, value in state.items()}
        replace_file(run.files.checkpoint(i), partial(save_file, plain))
    for i, log in zip(part, logs, strict=False):
        replace_file(run.files.training_log(i), log.save)
    checkpoints = {
        "checkpoint_id": list(part),
        "seed": seeds,
        "sha256": [file_sha256(run.files.checkpoint(i)) for i in part],
        "log_sha256": [file_sha256(run.files.training_log(i)) if i < part.start + len(logs) else None for i in part],
    }
    run.writer.write(f"checkpoints {part.start}", {"checkpoints": checkpoints})


def retrain_block(
    run: WorkingRun, masks: NDArray[np.bool_], block: range, on_share: OnShare
) -> tuple[dict[str, dict[str, Any]], list[int]]:
    """Rows of the outcomes of a block of subsets, and the subsets that are lost because a model diverged.

    The masks are those of all subsets of the ledger, bool `[n_subsets, n_train]`.
    """
    task, test, n_seeds = run.subject.task.query, run.test, run.build.n_seeds
    members = [(subset_id, seed) for subset_id in block for seed in range(n_seeds)]
    seeds = [derive_seed(run.build.seed, "ledger", subset_id, seed) for subset_id, seed in members]
    members_of_each = masks[[subset_id for subset_id, _ in members]]

    def train(part: slice) -> Ensemble:
        share = len(seeds[part]) / len(seeds)
        return run.trainer.train_subsets(members_of_each[part], seeds[part], lambda done: on_share(share * done))

    said, bad = [], []
    for _, ensemble in train_in_parts(run.trainer, len(members), train):
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
    shape = (len(subset_ids), n_seeds, run.n_test)
    tables = {"outcomes": outcome_columns(subset_ids, of_default.reshape(shape).cpu().numpy())}
    if further.shape[-1]:
        by_seed = further.reshape(*shape, further.shape[-1]).cpu().numpy()
        tables["target_outcomes"] = target_outcome_columns(subset_ids, by_seed)
        tables["target_outcomes_by_seed"] = target_outcome_columns(subset_ids, by_seed, by_seed=True)
    return tables, lost
