"""What a run gives to methods: its examples, its checkpoints and logs, and how settings are chosen on its ledger."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from trak_core.errors import RunMismatchError
from trak_core.evidence.lds import lds_per_test
from trak_core.inputs import as_tensors
from trak_core.methods import Examples, GradientSettings, MethodContext, Tuning
from trak_core.modalities import Split, find_modality
from trak_core.store.files import RunFiles, file_sha256
from trak_core.store.writer import StoreWriter
from trak_core.subjects import Subject
from trak_core.tasks import Task
from trak_core.training import Ensemble, Log, Schedule, StepLog, TrainingLog, TrainingSettings
from trak_core.training.ensemble import make_models

FEATURES_WHEN_PROJECTED = 2048
"""Dimension of projected gradients; see docs/methods.md for what it costs in LDS."""
MAX_WHOLE_TRAIN = 8000
"""Train examples up to which inner products of whole gradients are taken: the time grows with the cube of their number,
and with more of them a projection of this dimension is quicker."""
MAX_WHOLE_PARAMETERS = 2**29
"""Train examples times parameters up to which whole gradients are held: 2 GiB, were none of them kept as factors."""

ROOM = 2**28
"""Bytes that a batch may take at work: a language model makes a number for every word at every token."""


def examples_of(split: Split, device: str) -> Examples:
    """The examples of a split on a device, each with its label."""
    return Examples(as_tensors(split.inputs, device), torch.from_numpy(split.labels).to(device))


def computing_for(task: Task, architecture: nn.Module, targets: Tensor) -> GradientSettings:
    """How gradients of a run are computed: fewer examples at once where what is made of each is large."""
    usual = GradientSettings()
    return replace(usual, batch_size=task.n_that_fit(architecture, targets, usual.batch_size, ROOM))


def run_context(
    subject: Subject, checkpoints: Ensemble, train: Examples, test: Examples, seed: int, proj_dim: int | None = None
) -> MethodContext:
    """The context of a run, without what only some runs have; `seed` is that of methods that draw."""
    return MethodContext(
        task=subject.task,
        architecture=checkpoints.architecture,
        states=[checkpoints.state_dict(i) for i in range(len(checkpoints))],
        train=train,
        test=test,
        seed=seed,
        weight_decay=subject.training_facts.get("weight_decay", 0.0),
        proj_dim=proj_dim,
        modality=find_modality(subject.dataset.modality),
        train_media=subject.dataset.train.media,
        test_media=subject.dataset.test.media,
        computing=computing_for(subject.task, checkpoints.architecture, train.targets),
    )


def stored_loss_norms(writer: StoreWriter, n_train: int, device: str) -> Tensor | None:
    """Norms of loss gradients `[n_checkpoints, n_train]` that came with the features of a run; None without these."""
    norms = writer.columns(
        "SELECT abs(q) * norm AS norm FROM features WHERE split = 'train' ORDER BY checkpoint_id, idx"
    )["norm"]
    return torch.from_numpy(np.array(norms).reshape(-1, n_train)).to(device) if len(norms) else None


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

    def quality(predicted: Tensor) -> float:
        lds = lds_per_test(predicted.double().cpu().numpy()[:, tests], outcomes[:, tests])
        return float(np.nanmean(lds)) if np.isfinite(lds).any() else float("nan")

    return Tuning(torch.from_numpy(masks).to(device), quality)


def kernel_proj_dim(subject: Subject) -> int | None:
    """Dimension that a build of this subject projects gradients to for its kernels; None for whole gradients.

    It depends on nothing but sizes.
    """
    n_train = len(subject.dataset.train)
    n_parameters = sum(value.numel() for value in make_models(subject.make_model, [0])[0].parameters())
    is_projected = n_train > MAX_WHOLE_TRAIN or n_train * n_parameters > MAX_WHOLE_PARAMETERS
    return FEATURES_WHEN_PROJECTED if is_projected else None


def load_checkpoints(
    writer: StoreWriter, files: RunFiles, subject: Subject, device: str, part: range | None = None
) -> Ensemble:
    """The checkpoints of a run, or some of them, by checkpoint_id.

    Raises:
        RunMismatchError: a file is missing or changed.
    """
    rows = writer.columns("SELECT checkpoint_id, sha256 FROM checkpoints ORDER BY checkpoint_id")
    states = []
    for checkpoint_id, expected in zip(rows["checkpoint_id"].tolist(), rows["sha256"].tolist(), strict=True):
        if part is not None and checkpoint_id not in part:
            continue
        path = files.checkpoint(checkpoint_id)
        if not path.exists() or file_sha256(path) != expected:
            raise RunMismatchError(
                f"{path} is missing or is not the checkpoint that this build trained; put it back, or delete the "
                f"folder {files.build} and build again."
            )
        states.append(load_file(path))
    return Ensemble.from_state_dicts(subject.make_model(), states, device, subject.trains_together)


def load_logs(writer: StoreWriter, files: RunFiles, subject: Subject, device: str) -> list[Log]:
    """The training logs of the first checkpoints of a run; RunMismatchError where a file is missing or changed."""
    rows = writer.columns(
        "SELECT checkpoint_id, seed, log_sha256 FROM checkpoints WHERE log_sha256 IS NOT NULL ORDER BY checkpoint_id"
    )
    logs: list[Log] = []
    for i, expected in enumerate(rows["log_sha256"].tolist()):
        path = files.training_log(int(rows["checkpoint_id"][i]))
        if not path.exists() or file_sha256(path) != expected:
            raise RunMismatchError(
                f"the training log {path} is missing or is not what was recorded; put it back, or build the run again "
                "under another name."
            )
        if not isinstance(subject.training, TrainingSettings):
            logs.append(StepLog.load(path, subject.make_model(), device))
        else:
            schedule = Schedule(subject.training, len(subject.dataset.train))
            logs.append(TrainingLog.load(path, int(rows["seed"][i]), schedule, device))
    return logs
