"""A model with its checkpoints, tried on the first train examples: what all methods of an `Attributor` share."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.utils._pytree import tree_flatten_with_path

from trak_core.engine.featurizer import Features, Featurizer
from trak_core.engine.options import Options
from trak_core.engine.plan import BATCH_SHARE, Plan
from trak_core.errors import InvalidDataError, InvalidModelError, InvalidSettingError, ShapeMismatchError
from trak_core.gradients import GradientComputer, Layer, StateDict
from trak_core.gradients.computer import PROBED
from trak_core.inputs import to_device
from trak_core.methods import Examples, GradientSettings, MethodContext, MethodInfo
from trak_core.projection import FeatureMap, SjltProjection, SketchMap
from trak_core.seeds import derive_seed
from trak_core.subjects.batches import Batch, Block, Data
from trak_core.tasks import Answer, Task
from trak_core.tasks.ragged import cut_to
from trak_core.training import Log
from trak_core.training.names import unwrapped, without_compilers
from trak_core.training.weights import Checkpoints, digest_of

BLOCK = 1024
"""Train examples whose features are written at once; fewer where inputs or rows are large."""
BLOCK_BYTES = 2**26
"""The most that the inputs of a block may take, as they wait for their features."""
ROWS_BYTES = 2**24
"""The most that the rows of a block may take: DuckDB holds a few copies of them while it writes."""

SHORTEST = 8
"""Tokens that a text is cut to at the least where gradients are tried."""

Question = tuple[Block, Tensor]
"""Test examples, and what is asked about each of them `[n, ...]`."""
Shapes = dict[str, tuple[int | str, ...]]
"""Shapes of the inputs of one example, by name."""


@dataclass(frozen=True)
class Setup:
    """What an `Attributor` was made with."""

    model: nn.Module  # supplies the forward pass
    task: Task
    layers: list[Layer]  # what to differentiate with respect to
    checkpoints: Checkpoints
    options: Options
    device: torch.device
    logs: tuple[Log, ...] = ()  # of trainings, for methods that look at them

    def check_needs(self, info: MethodInfo) -> None:
        """Refuses a method that a model with checkpoints does not suffice for, by NeedNotMetError."""
        states, nothing = self.checkpoints.all_weights(), Examples(torch.empty(0), torch.empty(0))
        computing = GradientSettings(self.options.parameters)
        context = MethodContext(self.task, self.model, states, nothing, nothing, computing=computing, logs=self.logs)
        context.require(info.name, info.needs)


class Fitted(ABC):
    """What an `Attributor` knows once it has seen the train examples.

    Args:
        setup: of the attributor.
        first: the first batch of the train examples, on which everything is chosen.
    """

    plan: Plan  # what was chosen and why
    block_size: int  # examples that are looked at at once
    digests: list[str]  # fingerprints of all blocks of train examples, in order
    n_train = 0  # number of train examples, once `compute` is through
    n_passes = 1  # how often `compute` goes through the train examples
    kernel: str | None = None  # the side on which TRAK's kernel is solved, "dual" or "primal"; None where there is none
    feature_width: int | None = None  # length of projected features; None where a run gets features made for it
    is_streaming = False  # whether scores of test examples cost no more in blocks than all at once

    def __init__(self, setup: Setup, first: Batch) -> None:
        if first.labels is None:
            raise InvalidDataError("train has no labels; give (inputs, labels), the weights q depend on them.")
        self.setup, self.task, self.layers, self.checkpoints = setup, setup.task, setup.layers, setup.checkpoints
        self.options, self.dtype, self.device = setup.options, setup.options.dtype, setup.device
        self._computer = GradientComputer(setup.model, self.task, self.layers, self.options.precision)
        self._choose(self._computer, self.checkpoints.weights(0), first.inputs, first.labels)
        self._shapes = _shapes_of(first)
        saved = setup.model.state_dict()
        unsaved = {name: value for name, value in setup.model.named_buffers() if name not in saved}
        # All that features depend on.
        self.settings: dict[str, Any] = {
            "checkpoints": self.checkpoints.sha256s,
            "model": repr(setup.model),
            "task": self.task.name,
            "parameters": [f"{layer.name}: {', '.join(layer.leaves)}" for layer in self.layers],
            "seed": self.options.seed,
            "precision": self.options.precision,
            "other_buffers": digest_of(unsaved),
        }

    def _moved(self, inputs: Any, targets: Tensor) -> tuple[Any, Tensor]:
        """Inputs and targets on the device, in the type of the weights where they are no whole numbers."""
        return to_device((inputs, targets), self.device, self.dtype)

    def _choose(self, computer: GradientComputer, weights: StateDict, inputs: Any, targets: Tensor) -> None:
        """Chooses the way that gradients are computed, on short pieces of texts where whole ones take much memory."""
        budget, length = self.options.memory_budget, targets.shape[-1] if targets.dim() == 2 else 0
        size = PROBED * self.dtype.itemsize * self.task.numbers_at_work(self.setup.model, targets)
        if size > budget // 2 and length > SHORTEST:
            inputs, targets = self.task.shortened(inputs, targets, max(SHORTEST, length * budget // 2 // size))
        computer.choose(weights, *self._moved(inputs, targets), self.options.gradients)

    def _settle(self, plan: Plan, first: Batch, row_bytes: int) -> None:
        """Takes the plan, and chooses sizes by it and by the bytes of a row of features."""
        self.block_size = max(1, min(BLOCK, BLOCK_BYTES // first.bytes_an_example, ROWS_BYTES // row_bytes))
        room = self.options.memory_budget // BATCH_SHARE
        self._featurizer = self._queries = Featurizer(self._computer, self.device, plan.batch_size, room)
        if self.task.query is not self.task:
            queries = GradientComputer(self.setup.model, self.task.query, self.layers, self.options.precision)
            self._queries = Featurizer(queries, self.device, plan.batch_size, room)
        self.plan = replace(plan, batch_size=self._featurizer.at_once(first.labels))

    # --- what methods do differently ----------------------------------------------------------------------

    @abstractmethod
    def compute(self, data: Data, on_examples: Callable[[int], object]) -> None:
        """Sees the train examples.

        Args:
            data: the train examples.
            on_examples: called with the number of examples after each block.
        """

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

    def close(self) -> None:
        """Lets go of what lies outside of memory."""
        return

    # --- what they have in common -------------------------------------------------------------------------

    def _side(self, what: str) -> Featurizer:
        return self._featurizer if what == "train" else self._queries

    def features(
        self, checkpoint_id: int, feature_map: FeatureMap, block: Block, targets: Tensor, what: str = "test"
    ) -> Features:
        """Features of any examples at a checkpoint, on the side of the task that `what` says, "train" or "test".

        Errors as in `Featurizer.features`.
        """
        weights, side = self.checkpoints.weights(checkpoint_id), self._side(what)
        if side.computer.path is None:
            first = block.batches[0]
            self._choose(side.computer, weights, first.inputs, cut_to(targets[: len(first)], first.labels))
        return side.features(weights, feature_map, block, targets, what)

    def live_sketch(self, checkpoint_id: int, proj_dim: int) -> SketchMap:
        """The projection of features that a saved run holds for new inputs alone."""
        seed = derive_seed(self.options.seed, "live projection", checkpoint_id)
        return SketchMap(self.layers, SjltProjection(proj_dim, seed))

    def outputs(self, checkpoint_id: int, block: Block, what: str = "test") -> Tensor:
        """What the model returns for the examples of a block `[n, ...]`, on the CPU."""
        return self._side(what).outputs(self.checkpoints.weights(checkpoint_id), block)

    def task_at(self, checkpoint_id: int, what: str) -> Task:
        """The side of the task for "train" or "test", made ready for a checkpoint."""
        return self._side(what).computer.prepared(self.checkpoints.weights(checkpoint_id)).task

    def answer(self, block: Block) -> Answer | None:
        """What the checkpoints together say of test examples; None where the task has no answer of its own."""
        answers = [
            self.task_at(checkpoint_id, "test").answer(self.outputs(checkpoint_id, block).to(self.device))
            for checkpoint_id in range(len(self.checkpoints))
        ]
        given = [answer.cpu() for answer in answers if answer is not None]
        return Answer.mean(given) if given else None

    def questions(self, data: Data, targets: Any) -> Iterator[Question]:
        """Blocks of test examples, small enough for their scores to take an eighth of the memory budget.

        Args:
            data: the test examples.
            targets: what to ask about each `[n_test, ...]`; None for its label, or else the model's own answer.

        Raises:
            ShapeMismatchError: test examples have another shape or kind than train examples.
            InvalidSettingError: targets are no numbers, or there are more or fewer of them than test examples.
            InvalidDataError: there are no labels, and the task has no answer of its own.
        """
        targets = None if targets is None else _target_tensor(targets)
        size = max(1, min(self.block_size, self.options.memory_budget // 8 // (self.n_train * 4)))
        seen = 0
        for block in data.blocks(size):
            seen += len(block)
            if targets is not None and len(targets) < seen:
                break
            for batch in block.batches:
                if (shapes := _shapes_of(batch)) != self._shapes:
                    raise ShapeMismatchError(
                        f"test inputs are {_words(shapes)} for each example, but train inputs were "
                        f"{_words(self._shapes)}; prepare both in the same way."
                    )
            yield block, self._default_target(block) if targets is None else self._given_targets(block, targets)
        if targets is not None and len(targets) != seen:
            raise InvalidSettingError(
                f"targets holds {len(targets)} entries, but there are {'more' if len(targets) < seen else seen} test "
                "examples; give one entry for each."
            )

    def _given_targets(self, block: Block, targets: Tensor) -> Tensor:
        """What is asked about the examples of a block, from the targets of all test examples."""
        asked, labels = targets[block.start : block.start + len(block)], block.labels
        if labels is None:
            return asked
        self.task.check_targets(asked, labels, block.start)
        asked = cut_to(asked, labels)
        self.task.check_labels(asked, "test ", block.start)
        return asked

    def _default_target(self, block: Block) -> Tensor:
        """The labels of a block, or the model's own answers."""
        if block.labels is not None:
            return block.labels
        if (answer := self.answer(block)) is not None:
            return answer.value
        raise InvalidDataError(
            f"test has no labels, and task {self.task.name!r} has no answer of its own to explain; give targets=..."
        )


@torch.inference_mode(False)
def copied(model: nn.Module) -> nn.Module:
    """A copy of a model without wrappers around it; InvalidModelError where it is none or cannot be copied."""
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        kind = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        raise InvalidModelError(f"model is {kind}; give a torch.nn.Module object, as it is before it is scripted.")
    uninitialized = [name for name, value in model.named_parameters() if isinstance(value, UninitializedParameter)]
    if uninitialized:
        raise InvalidModelError(
            f"parameters {', '.join(uninitialized[:5])} have no shape yet; run the model once on an example first."
        )
    try:
        return without_compilers(copy.deepcopy(unwrapped(model)))
    except Exception as error:
        raise InvalidModelError(
            f"the model cannot be copied ({type(error).__name__}: {error}); keep what cannot be copied out of it."
        ) from error


def range_of(block: Block) -> str:
    """The numbers of a block's examples, in words."""
    return f"{block.start} to {block.start + len(block) - 1}"


def train_labels(block: Block) -> Tensor:
    """The labels of a block of train examples `[n]`; InvalidDataError where they have none."""
    if block.labels is None:
        raise InvalidDataError(f"train examples {range_of(block)} have no labels; give one for each.")
    return block.labels


def _target_tensor(targets: Any) -> Tensor:
    """Targets as a tensor `[n, ...]`, int64 or of floats; InvalidSettingError where they are no numbers."""
    values = targets if isinstance(targets, Tensor) else np.asarray(targets)
    if not isinstance(values, Tensor):
        if values.dtype.kind not in "biuf" or values.ndim == 0:
            raise InvalidSettingError(f"targets={targets!r}; give a list of numbers, one for each test example.")
        values = torch.from_numpy(np.array(values))
    return values if values.is_floating_point() else values.long()


def _shapes_of(batch: Batch) -> Shapes:
    """A whole-number input, such as token numbers, may vary in length."""
    leaves, _ = tree_flatten_with_path(batch.inputs)
    return {
        "".join(map(str, path)): tuple(leaf.shape[1:]) if leaf.is_floating_point() else ("whole numbers", leaf.dim())
        for path, leaf in leaves
    }


def _words(shapes: Shapes) -> str:
    return ", ".join(f"{name} {list(shape)}".strip() for name, shape in shapes.items())
