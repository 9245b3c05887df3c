"""What live attribution needs of a run: its model and data through the recipe, its weights from the checkpoints."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from trak_core.engine.method_context import examples_of
from trak_core.errors import NeedNotMetError, RunMismatchError
from trak_core.gradients import StateDict
from trak_core.inputs import take
from trak_core.live.agreement import Probe
from trak_core.methods import Examples, MethodContext
from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.files import RunFiles, file_sha256
from trak_core.store.run import Run
from trak_core.subjects import OWN_SUBJECT, Subject
from trak_core.subjects.of_run import read_subject, why_no_subject
from trak_core.training.ensemble import make_models


@dataclass(frozen=True)
class LiveContext:
    """A run's model, data and weights, on the CPU."""

    subject: Subject  # with the labels that the checkpoints were trained on
    context: MethodContext  # its model, the weights of all checkpoints, and its examples
    q: Tensor  # weights of the train examples, mean over checkpoints `[n_train]`, float32

    def asked(self, probe: Probe) -> Examples:
        """The test examples of a probe, with what is asked about them."""
        inputs = take(self.context.test.inputs, torch.from_numpy(probe.test_idx))
        # Only targets of classes are in the store; others are those of the test examples.
        known = probe.targets if self.subject.task.has_classes else self.subject.dataset.test.labels[probe.test_idx]
        return Examples(inputs, torch.from_numpy(known))


def read_context(run: Run) -> LiveContext:
    """The context of a run.

    Raises:
        NeedNotMetError: the run has no recipe, no checkpoints or no stored features.
        RunMismatchError: the data or a checkpoint is not what the run was made with.
    """
    reason = why_no_subject(run)
    if reason and run.info.recipe == OWN_SUBJECT:
        raise NeedNotMetError(f"run {run.info.name!r} {reason}; then its model can be made again for new inputs.")
    if reason:
        raise NeedNotMetError(
            f"run {run.info.name!r} was {run.info.origin}, so its model cannot be made again for new inputs. Score "
            "them with what made the run; with an Attributor that is attributor.score(inputs)."
        )
    states, subject = _read_states(run), read_subject(run)
    dataset = subject.dataset
    if dataset.fingerprint() != run.info.provenance.get("data_fingerprint"):
        raise RunMismatchError(
            f"the recipe {run.info.recipe!r} reads other data now than run {run.info.name!r} was made with (a package "
            "that it reads was updated?); build the run again under another name to score new inputs."
        )
    model = make_models(subject.make_model, [0])[0].eval()
    train, test = examples_of(dataset.train, "cpu"), examples_of(dataset.test, "cpu")
    context = MethodContext(subject.task, model, states, train, test)
    return LiveContext(subject, context, torch.from_numpy(_read_q(run)))


def _read_states(run: Run) -> list[StateDict]:
    files = RunFiles(run.path)
    rows = run.rows("SELECT checkpoint_id, sha256 FROM checkpoints ORDER BY checkpoint_id")
    missing = [i for i, _ in rows if not files.checkpoint(i).exists()]
    if missing or not rows:
        raise NeedNotMetError(
            f"run {run.info.name!r} has no weights of {len(missing) or 'any'} of its {len(rows)} checkpoints in "
            f"{files.checkpoints}; put the files back, or build the run again, to score new inputs."
        )
    changed = [files.checkpoint(i) for i, expected in rows if file_sha256(files.checkpoint(i)) != expected]
    if changed:
        raise RunMismatchError(
            f"{changed[0]} is not the checkpoint that the run was made with; put that back, or build the run again, "
            "to score new inputs."
        )
    return [load_file(files.checkpoint(i)) for i, _ in rows]


def _read_q(run: Run) -> NDArray[np.float32]:
    mean = run.columns("SELECT avg(q) AS q FROM features WHERE split = 'train' GROUP BY idx ORDER BY idx")["q"]
    if len(mean) != run.info.n_train:
        raise NeedNotMetError(
            f"run {run.info.name!r} stores features of {len(mean)} of its {run.info.n_train} train examples; build it "
            "again to score new inputs."
        )
    return np.asarray(mean, dtype=np.float32)


def read_features(run: Run, checkpoint_id: int) -> Tensor:
    """Stored features of the train examples `[n_train, proj_dim]` float32 at one checkpoint."""
    table = run.arrow(
        "SELECT phi FROM features WHERE split = 'train' AND checkpoint_id = ? ORDER BY idx", [checkpoint_id]
    )
    return torch.from_numpy(from_arrow_arrays(table, "phi").copy())
