"""What methods work with: the models, the examples and whatever else a run has to offer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import torch
from torch import Tensor, nn

from trak_core.errors import NeedNotMetError
from trak_core.gradients import StateDict, n_parameters, run_model
from trak_core.methods.gradient_rows import GradientRows
from trak_core.tasks import Classification, Task
from trak_core.training import Log, TrainingLog

__all__ = ["Examples", "Ledger", "Material", "Need", "Tuning"]


class Need(StrEnum):
    """What a method cannot do without; the value is what people read."""

    CHECKPOINTS = "trained checkpoints"
    CLASSES = "classes to choose from"
    EMBEDDINGS = "embeddings"
    TRAINING_LOG = "a training log"
    REPLAY = "a training log that can be replayed step by step"
    LEDGER = "models retrained on random halves"
    SMALL_MODEL = "a model small enough for its whole Hessian"
    MATRIX_LAYERS = "Linear or Conv layers"
    HIDDEN_UNITS = "two Linear layers or more, with units between them to switch off"


SUPPLY = {
    Need.CHECKPOINTS: "`python -m trak_core build RECIPE` trains them",
    Need.CLASSES: "use trak, grad_dot or influence_ekfac, which explain any number",
    Need.EMBEDDINGS: "a model that ends in a Linear layer has them",
    Need.TRAINING_LOG: "`python -m trak_core build RECIPE` records one, or a train_model(indices, seed, log) keeps one",
    Need.REPLAY: "`python -m trak_core build` records one where the built-in trainer trains, and no other does",
    Need.LEDGER: "`python -m trak_core build` retrains them, where a recipe or a train_model(indices, seed) tells how",
    Need.SMALL_MODEL: "use influence_cg or influence_ekfac, which need no whole Hessian",
    Need.HIDDEN_UNITS: "use trak, which works with every model",
    Need.MATRIX_LAYERS: "use trak or grad_dot, which work with every layer",
}
"""Where each need comes from."""

MAX_HESSIAN = 10_000
"""Parameters up to which the whole Hessian is formed: 400 MB in single precision."""


@dataclass(frozen=True)
class Examples:
    """Examples of one split.

    Attributes:
        inputs: `[n, ...]`, as the model takes them.
        asked: what is asked of each `[n]`: its label for train examples.
    """

    inputs: Tensor
    asked: Tensor

    def __len__(self) -> int:
        return len(self.asked)


@dataclass(frozen=True)
class Ledger:
    """Retrained models to learn from.

    Attributes:
        masks: members of each subset, bool `[n_subsets, n_train]`.
        outcomes: model outputs after retraining `[n_subsets, n_test]`, averaged over seeds.
    """

    masks: Tensor
    outcomes: Tensor


@dataclass(frozen=True)
class Tuning:
    """How a method chooses its settings: on subsets and test examples that nothing is reported on.

    Attributes:
        masks: members of each subset, bool `[n_subsets, n_train]`.
        quality: the higher the better; takes predicted outcomes `[n_subsets, n_test]`.
    """

    masks: Tensor
    quality: Callable[[Tensor], float]


@dataclass(frozen=True)
class Material:
    """All that a run offers to methods.

    Attributes:
        task: what a prediction is.
        architecture: supplies the forward pass; its own weights are never used.
        states: weights of the checkpoints, each trained on all train examples.
        train: train examples.
        test: test examples, each with the class asked about.
        seed: root of every random choice of a method.
        weight_decay: that the checkpoints were trained with; it adds to the curvature of the loss.
        logs: training logs of the first checkpoints.
        ledger: retrained models to learn from.
        tuning: how settings are chosen; methods take their defaults without.
        memory: bytes that a method may take for what it could also compute again.
    """

    task: Task
    architecture: nn.Module
    states: Sequence[StateDict]
    train: Examples
    test: Examples
    seed: int = 0
    weight_decay: float = 0.0
    logs: Sequence[Log] = ()
    ledger: Ledger | None = None
    tuning: Tuning | None = None
    memory: int = 2**30
    _rows: list[GradientRows] = field(default_factory=list, repr=False)

    def first(self, n_checkpoints: int) -> "Material":
        """The same with the first checkpoints only."""
        return replace(self, states=self.states[:n_checkpoints], logs=self.logs[:n_checkpoints])

    def missing(self, needs: Sequence[Need]) -> list[Need]:
        """Which of the needs are not met."""
        matrices = any(isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d) for module in self.architecture.modules())
        met = {
            Need.CHECKPOINTS: bool(self.states),
            Need.CLASSES: isinstance(self.task, Classification),
            Need.EMBEDDINGS: any(isinstance(module, nn.Linear) for module in self.architecture.modules()),
            Need.TRAINING_LOG: bool(self.logs),
            Need.REPLAY: bool(self.logs) and all(isinstance(log, TrainingLog) for log in self.logs),
            Need.LEDGER: self.ledger is not None,
            Need.SMALL_MODEL: sum(value.numel() for value in self.architecture.parameters()) <= MAX_HESSIAN,
            Need.MATRIX_LAYERS: matrices,
            Need.HIDDEN_UNITS: sum(isinstance(module, nn.Linear) for module in self.architecture.modules()) > 1,
        }
        return [need for need in needs if not met[need]]

    def require(self, method: str, needs: Sequence[Need]) -> None:
        """Refuses a method whose needs are not met.

        Raises:
            NeedNotMetError: says which need, and what supplies it.
        """
        for need in self.missing(needs):
            raise NeedNotMetError(
                f"method {method!r} needs {need.value}, which this run does not have; {SUPPLY[need]}."
            )

    @property
    def gradients(self) -> GradientRows:
        """Gradients of the model output at any weights."""
        if not self._rows:
            inputs, asked = self.train.inputs, self.train.asked
            weights = self.states[0] if self.states else self.logs[0].ends[-1].parameters
            self._rows.append(GradientRows(self.architecture, self.task, weights, inputs, asked))
        return self._rows[0]

    @property
    def n_parameters(self) -> int:
        """Parameters of a model."""
        return n_parameters(self.gradients.layers)

    def q(self, weights: StateDict, examples: Examples) -> Tensor:
        """Weights q `[n]` of examples at a checkpoint."""
        return self.task.out_to_loss(self.outputs(weights, examples.inputs), examples.asked)

    def outputs(self, weights: StateDict, inputs: Tensor) -> Tensor:
        """What the model returns `[n, ...]`, without gradients."""
        with torch.no_grad():
            return run_model(self.architecture, weights, inputs)
