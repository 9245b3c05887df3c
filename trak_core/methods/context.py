"""What methods work with: the models, the examples and whatever else a run has to offer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from trak_core.errors import NeedNotMetError
from trak_core.gradients import (
    Inputs,
    StateDict,
    find_layers,
    is_linear,
    is_matrix,
    n_parameters,
    prepared,
    run_model,
    take,
)
from trak_core.inputs import leaves
from trak_core.media import Medium, texts_of
from trak_core.methods.gradient_rows import GradientRows, GradientSettings
from trak_core.methods.kernels import DEFAULT_RIDGE
from trak_core.modalities import Modality
from trak_core.tasks import Task
from trak_core.training import Log, TrainingLog


class Need(StrEnum):
    """What a method cannot do without; the value is what people read."""

    CHECKPOINTS = "trained checkpoints"
    CLASSES = "classes to choose from"
    LOSS = "a task that tells its loss"
    EMBEDDINGS = "embeddings"
    TRAINING_LOG = "a training log"
    REPLAY = "a training log that can be replayed step by step"
    LEDGER = "models retrained on random halves"
    MODALITY = "examples of a known kind, with what people see of them"
    TEXTS = "texts of the train and the test examples"
    BM25S = "the library bm25s"
    PEFT = "the library peft"
    NUMBERS = "targets that are numbers"
    SMALL_MODEL = "a model small enough for its whole Hessian"
    GRADIENT_ROWS = "whole gradients of the train examples that fit into memory"
    MATRIX_LAYERS = "Linear or Conv layers"
    HIDDEN_UNITS = "two Linear layers or more, with units between them to switch off"


SUPPLY = {
    Need.CHECKPOINTS: "`python -m trak_core build RECIPE` trains them",
    Need.CLASSES: "use trak, grad_dot or influence_ekfac, which explain any number",
    Need.LOSS: "define `loss` of the task (loss_function of a CustomTask), or use trak or grad_dot, which need none",
    Need.EMBEDDINGS: "a model that ends in a Linear layer has them",
    Need.TRAINING_LOG: "`python -m trak_core build RECIPE` records one, and a train_model(indices, seed, log) or a "
    "TrainerLog keeps one; an Attributor takes it by training_logs",
    Need.REPLAY: "`python -m trak_core build` records one where the built-in trainer trains, and no other does",
    Need.LEDGER: "`python -m trak_core build` retrains them, where a recipe or a train_model(indices, seed) tells how",
    Need.MODALITY: "`python -m trak_core build` reads or makes them",
    Need.TEXTS: "`python -m trak_core build` of texts has them",
    Need.BM25S: "install it: `pip install bm25s`",
    Need.PEFT: "install it: `pip install peft`",
    Need.NUMBERS: "use same_class, where targets are classes",
    Need.SMALL_MODEL: "use influence_cg or influence_ekfac, which need no whole Hessian",
    Need.GRADIENT_ROWS: "use influence_ekfac or trak, which let go of gradients as they come",
    Need.HIDDEN_UNITS: "use trak, which works with every model",
    Need.MATRIX_LAYERS: "use trak or grad_dot, which work with every layer",
}
"""Where each need comes from."""

MAX_HESSIAN = 10_000
"""Parameters up to which the whole Hessian is formed: 400 MB in single precision."""
BYTES_OF_A_NUMBER = 4


@dataclass(frozen=True)
class Examples:
    """Examples of one split."""

    inputs: Inputs  # as the model takes them, each tensor `[n, ...]`
    targets: Tensor  # what is asked about each `[n, ...]`; of train examples, what the model was trained on

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def device(self) -> torch.device:
        """Where the inputs are."""
        return leaves(self.inputs)[0].device  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Ledger:
    """Retrained models to learn from."""

    masks: Tensor  # members of each subset, bool `[n_subsets, n_train]`
    outcomes: Tensor  # model outputs after retraining `[n_subsets, n_test]`, averaged over seeds


@dataclass(frozen=True)
class Tuning:
    """How a method chooses its settings: on subsets and test examples that nothing is reported on."""

    masks: Tensor  # members of each subset, bool `[n_subsets, n_train]`
    quality: Callable[[Tensor], float]  # the higher the better; takes predicted outcomes `[n_subsets, n_test]`


@dataclass(frozen=True)
class MethodContext:
    """All that a run offers to methods."""

    task: Task  # what a prediction is
    architecture: nn.Module  # supplies the forward pass; its own weights are never used
    states: Sequence[StateDict]  # parameters and buffers of the checkpoints, each trained on all train examples
    train: Examples
    test: Examples  # each with what is asked about it
    seed: int = 0  # root of every random choice of a method
    weight_decay: float = 0.0  # that the checkpoints were trained with; it adds to the curvature of the loss
    logs: Sequence[Log] = ()  # training logs of the first checkpoints
    ledger: Ledger | None = None  # retrained models to learn from
    tuning: Tuning | None = None  # how settings are chosen; methods take their defaults without
    ridge: float = DEFAULT_RIDGE  # of TRAK without tuning, relative to the mean squared norm of the gradients
    proj_dim: int | None = None  # dimension that TRAK projects gradients to; None for whole gradients
    # norms of the loss gradients of the train examples `[n_checkpoints, n_train]`, where they are known already
    loss_norms: Tensor | None = None
    modality: Modality | None = None  # of the examples, where it is known
    train_media: Sequence[tuple[Medium, ...]] = ()  # what people see of each train example, where that is known
    test_media: Sequence[tuple[Medium, ...]] = ()  # likewise of each test example
    computing: GradientSettings = field(default_factory=GradientSettings)  # how gradients are computed
    memory: int = 2**31  # bytes that a method may take for what it could also compute again
    _sides: list[GradientRows] = field(default_factory=list, repr=False)

    def first(self, n_checkpoints: int) -> "MethodContext":
        """The same with the first checkpoints only."""
        norms = None if self.loss_norms is None else self.loss_norms[:n_checkpoints]
        return replace(self, states=self.states[:n_checkpoints], logs=self.logs[:n_checkpoints], loss_norms=norms)

    def missing(self, needs: Sequence[Need]) -> list[Need]:
        """Which of the needs are not met."""
        modules = list(self.architecture.modules())
        n_linear = sum(map(is_linear, modules))
        size = n_parameters(find_layers(self.architecture, self.computing.parameters))
        met = {
            Need.CHECKPOINTS: bool(self.states),
            Need.CLASSES: self.task.has_classes,
            Need.LOSS: self.task.has_loss,
            Need.EMBEDDINGS: n_linear > 0,
            Need.TRAINING_LOG: bool(self.logs),
            Need.REPLAY: bool(self.logs) and all(isinstance(log, TrainingLog) for log in self.logs),
            Need.LEDGER: self.ledger is not None,
            Need.MODALITY: self.modality is not None and len(self.train_media) == len(self.train),
            Need.TEXTS: self._has_texts,
            Need.BM25S: find_spec("bm25s") is not None,
            Need.PEFT: find_spec("peft") is not None,
            Need.NUMBERS: not self.task.has_classes and self.train.targets.ndim == 1,
            Need.SMALL_MODEL: size <= MAX_HESSIAN,
            Need.GRADIENT_ROWS: BYTES_OF_A_NUMBER * size * len(self.train) <= self.memory,
            Need.MATRIX_LAYERS: any(map(is_matrix, modules)),
            Need.HIDDEN_UNITS: n_linear > 1,
        }
        return [need for need in needs if not met[need]]

    @property
    def _has_texts(self) -> bool:
        """Whether both sides have texts that are made of words."""
        sides = ((self.train_media, self.train), (self.test_media, self.test))
        return (
            self.modality is not None
            and self.modality.has_words
            and all(len(media) == len(examples) and any(map(texts_of, media)) for media, examples in sides)
        )

    def words(self) -> tuple[list[list[str]], list[list[str]]]:
        """The words of each train and of each test example, in their order; asked for where `Need.TEXTS` is met."""
        assert self.modality is not None  # a need that is met
        return self.modality.words(self.train_media, self.test_media)

    def require(self, method: str, needs: Sequence[Need]) -> None:
        """Refuses a method whose needs are not met.

        Raises:
            NeedNotMetError: says which need, and what supplies it.
        """
        for need in self.missing(needs):
            raise NeedNotMetError(f"method {method!r} needs {need.value}, and has none here; {SUPPLY[need]}.")

    @property
    def gradients(self) -> GradientRows:
        """Gradients of the model output at any weights, on the train side of the task."""
        return self._both_sides[0]

    @property
    def query_gradients(self) -> GradientRows:
        """The same on the query side, for test examples."""
        return self._both_sides[1]

    @property
    def _both_sides(self) -> list[GradientRows]:
        if not self._sides:
            weights = self.states[0] if self.states else self.logs[0].ends[-1].parameters
            train, test = (self.train.inputs, self.train.targets), (self.test.inputs, self.test.targets)
            self._sides.extend(
                GradientRows.of_both_sides(self.architecture, self.task, weights, train, test, self.computing)
            )
        return self._sides

    @property
    def n_parameters(self) -> int:
        """Parameters of a model."""
        return n_parameters(self.gradients.layers)

    def q(self, weights: StateDict) -> Tensor:
        """Weights q `[n_train]` of the train examples at a checkpoint."""
        task = prepared(self.task, self.architecture, weights)
        found, size = [], self.computing.batch_size
        with torch.no_grad():
            for start in range(0, len(self.train), size):
                part = slice(start, start + size)
                outputs = run_model(self.architecture, weights, take(self.train.inputs, part), task.outputs_of)
                found.append(task.out_to_loss(outputs, self.train.targets[part]))
        return torch.cat(found)
