"""A model with its checkpoints, tried on the first train examples: what all methods of an `Attributor` share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trak_core.engine.featurizer import Features, Featurizer
from trak_core.engine.options import Options
from trak_core.engine.plan import Plan
from trak_core.engine.signature import Signature
from trak_core.errors import InvalidDataError
from trak_core.gradients import GradientComputer, Layer, StateDict
from trak_core.inputs import to_device
from trak_core.projection import FeatureMap
from trak_core.subjects.batches import Batch, Block, Data
from trak_core.tasks import Answer, Task
from trak_core.training.weights import Checkpoints, digest_of

BLOCK = 1024
"""Train examples whose features are written at once; fewer where inputs or rows are large."""
BLOCK_BYTES = 2**26
"""The most that the inputs of a block may take, as they wait for their features."""
ROWS_BYTES = 2**24
"""The most that the rows of a block may take: DuckDB holds a few copies of them while it writes."""

Question = tuple[Block, Tensor]
"""Test examples, and what is asked about each of them `[n, ...]`."""


class Fitted(ABC):
    """What an `Attributor` knows once it has seen the train examples.

    Args:
        model: supplies the forward pass.
        task: what a prediction is.
        layers: what to differentiate with respect to.
        checkpoints: weights.
        options: settings of the attributor.
        device: that computes.
        first: the first batch of the train examples, on which everything is chosen.

    Attributes:
        plan: what was chosen and why.
        n_train: number of train examples, once `compute` is through.
        block_size: examples that are looked at at once.
        settings: all that features depend on.
    """

    plan: Plan
    block_size: int

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        layers: list[Layer],
        checkpoints: Checkpoints,
        options: Options,
        device: torch.device,
        first: Batch,
    ) -> None:
        if first.labels is None:
            raise InvalidDataError("train has no labels; give (inputs, labels), the weights q depend on them.")
        self.task, self.layers, self.checkpoints, self.device = task, layers, checkpoints, device
        self.options, self.dtype, self.n_train = options, options.dtype, 0
        self._model = model
        self._computer = GradientComputer(model, task, layers, options.precision)
        self._computer.choose(checkpoints.weights(0), *self._moved(first.inputs, first.labels), options.gradients)
        self._signature = Signature.of(first)
        self.settings: dict[str, Any] = {
            "checkpoints": checkpoints.sha256s,
            "model": repr(model),
            "task": task.name,
            "parameters": [f"{layer.name}: {', '.join(layer.leaves)}" for layer in layers],
            "seed": options.seed,
            "precision": options.precision,
            "other_buffers": digest_of(_unsaved_buffers(model)),
        }

    def _moved(self, inputs: Any, targets: Tensor) -> tuple[Any, Tensor]:
        """Inputs and targets on the device, in the type of the weights where they are no whole numbers."""
        moved = targets.to(self.device, self.dtype if targets.is_floating_point() else None)
        return to_device(inputs, self.device, self.dtype), moved

    def _settle(self, plan: Plan, first: Batch, row_bytes: int) -> None:
        """Takes the plan, and chooses sizes by it and by the bytes of a row of features."""
        self.plan = plan
        self.block_size = max(1, min(BLOCK, BLOCK_BYTES // first.bytes_an_example, ROWS_BYTES // row_bytes))
        self._featurizer = self._queries = Featurizer(self._computer, self.device, plan.batch_size)
        if self.task.query is not self.task:
            queries = GradientComputer(self._model, self.task.query, self.layers, self.options.precision)
            self._queries = Featurizer(queries, self.device, plan.batch_size)

    # --- what methods do differently ----------------------------------------------------------------------

    @property
    @abstractmethod
    def n_passes(self) -> int:
        """How often `compute` goes through the train examples."""

    @abstractmethod
    def compute(self, data: Data, on_examples: Callable[[int], object]) -> None:
        """Sees the train examples.

        Args:
            data: the train examples.
            on_examples: called with the number of examples after each block.
        """

    @abstractmethod
    def digests(self) -> list[str]:
        """Fingerprints of all blocks of train examples, in order."""

    @abstractmethod
    def iter_scores(self, questions: Iterable[Question], ridge: float) -> Iterator[Tensor]:
        """Scores of test examples in order, without calibration, in blocks `[n_block, n_train]`."""

    @abstractmethod
    def predict(
        self, questions: Iterable[Question], masks: NDArray[np.bool_], ridges: Sequence[float]
    ) -> dict[float, NDArray[np.float64]]:
        """Outcomes `[n_subsets, n_test]` predicted with each ridge, up to a constant.

        Args:
            questions: test examples in order.
            masks: of the subsets, bool `[n_subsets, n_train]`.
            ridges: candidates.
        """

    @abstractmethod
    def self_influence(self, ridge: float) -> Tensor:
        """The score of each train example for itself `[n_train]`, without calibration."""

    @abstractmethod
    def features_of_run(self, split: str, checkpoint_id: int, block: Block, targets: Tensor, proj_dim: int) -> Features:
        """Features of examples as a saved run holds them, of `proj_dim` numbers each."""

    @property
    def kernel(self) -> str | None:
        """On which side TRAK's kernel is solved, "dual" or "primal"; None where there is none."""
        return None

    @property
    def feature_width(self) -> int | None:
        """Length of projected features; None where there are none, and a run gets features made for it."""
        return None

    @property
    def is_streaming(self) -> bool:
        """Whether scores are computed test example by test example, and cost no more in blocks than all at once."""
        return False

    def close(self) -> None:
        """Lets go of what is held."""
        self.n_train = 0

    # --- what they have in common -------------------------------------------------------------------------

    def _features(
        self, checkpoint_id: int, feature_map: FeatureMap, block: Block, targets: Tensor, what: str
    ) -> Features:
        """Features of any examples at a checkpoint, on the side of the task that `what` says, "train" or "test".

        Errors as in `Featurizer.features`.
        """
        weights = self.checkpoints.weights(checkpoint_id)
        side = self._featurizer if what == "train" else self._queries
        if side.computer.path is None:
            first = block.batches[0]
            moved = self._moved(first.inputs, targets[: len(first)])
            side.computer.choose(weights, *moved, self.options.gradients)
        return side.features(weights, feature_map, block, targets, what)

    def outputs(self, checkpoint_id: int, block: Block, what: str = "test") -> Tensor:
        """What the model returns for the examples of a block `[n, ...]`, on the CPU."""
        side = self._featurizer if what == "train" else self._queries
        return side.outputs(self.checkpoints.weights(checkpoint_id), block)

    def task_at(self, checkpoint_id: int, split: str) -> Task:
        """The side of the task for a split, made ready for a checkpoint."""
        side = self._featurizer if split == "train" else self._queries
        return side.computer.prepared(self.checkpoints.weights(checkpoint_id)).task

    def answer(self, block: Block) -> Answer | None:
        """What the checkpoints together say of test examples; None where the task has no answer of its own."""
        answers = [
            self.task_at(checkpoint_id, "test").answer(self.outputs(checkpoint_id, block).to(self._queries.device))
            for checkpoint_id in range(len(self.checkpoints))
        ]
        given = [answer.cpu() for answer in answers if answer is not None]
        return Answer.mean(given) if given else None

    def check_inputs(self, block: Block) -> None:
        """Refuses examples of another kind than the train examples, by ShapeMismatchError."""
        for batch in block.batches:
            self._signature.check(batch)


def _unsaved_buffers(model: nn.Module) -> StateDict:
    """Buffers that outputs depend on, but that no state dict holds."""
    saved = model.state_dict()
    return {name: value for name, value in model.named_buffers() if name not in saved}


def range_of(block: Block) -> str:
    """The numbers of a block's examples, in words."""
    return f"{block.start} to {block.start + len(block) - 1}"
