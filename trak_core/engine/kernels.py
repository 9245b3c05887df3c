"""The kernel of one checkpoint of a build: of whole gradients where that fits, else of projected ones."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from trak_core.gradients import StateDict
from trak_core.inputs import take
from trak_core.methods import DualKernel, GradientRows, PrimalKernel
from trak_core.projection import SjltProjection, SketchMap
from trak_core.seeds import derive_seed
from trak_core.subjects import Subject
from trak_core.tasks import Inputs, Task
from trak_core.training import Ensemble
from trak_core.training.ensemble import make_models

__all__ = [
    "FEATURES_WHEN_PROJECTED",
    "CheckpointKernel",
    "Kernels",
    "ProjectedKernel",
    "WholeKernel",
    "is_projected",
    "sketch_of",
]

FEATURES_WHEN_PROJECTED = 2048
"""Dimension of projected gradients; see docs/methods.md for what it costs in LDS."""
MAX_WHOLE_TRAIN = 8000
"""Train examples up to which inner products of whole gradients are taken: the time grows with the cube of their number,
and with more of them a projection of this dimension is quicker."""
MAX_WHOLE_PARAMETERS = 2**29
"""Train examples times parameters up to which whole gradients are held: 2 GiB, were none of them kept as factors."""

MIN_ROWS, NUMBERS_AT_ONCE = 64, 2**27
"""Whole gradients of test examples are held so many at a time, or as many as have so many numbers."""
BLOCK = 4096
"""Rows that are added to a Gram matrix at once."""


def is_projected(subject: Subject) -> bool:
    """Whether a build of this subject works with projected gradients; it depends on nothing but sizes."""
    n_train = len(subject.dataset.train)
    n_parameters = sum(value.numel() for value in make_models(subject.make_model, [0])[0].parameters())
    return n_train > MAX_WHOLE_TRAIN or n_train * n_parameters > MAX_WHOLE_PARAMETERS


def sketch_of(rows: GradientRows, proj_dim: int, seed: int) -> SketchMap:
    """The projection of the gradients that `rows` gives."""
    return SketchMap(rows.layers, SjltProjection(proj_dim, seed))


class Kernels:
    """The kernel of each checkpoint, made anew each time, because together they would fill the memory.

    Args:
        checkpoints: of the build.
        task: what a prediction is.
        train: inputs and labels of the train examples.
        projected: whether to work with projected gradients.
        seed: of the projections, one for each checkpoint.
        test: inputs and labels of some test examples; needed where the task has another side for them.
    """

    def __init__(
        self,
        checkpoints: Ensemble,
        task: Task,
        train: tuple[Inputs, Tensor],
        projected: bool,
        seed: int,
        test: tuple[Inputs, Tensor] | None = None,
    ) -> None:
        self._checkpoints, self._train, self._projected, self._seed = checkpoints, train, projected, seed
        self._gradients, self._queries = GradientRows.of_both_sides(
            checkpoints.architecture, task, checkpoints.state_dict(0), train, test or train
        )

    def __getitem__(self, checkpoint_id: int) -> CheckpointKernel:
        weights = self._checkpoints.state_dict(checkpoint_id)
        if not self._projected:
            return WholeKernel(self._gradients, weights, *self._train, queries=self._queries)
        seed = derive_seed(self._seed, "kernel projection", checkpoint_id)
        return ProjectedKernel(
            self._gradients,
            weights,
            *self._train,
            seed=seed,
            proj_dim=FEATURES_WHEN_PROJECTED,
            queries=self._queries,
        )

    @property
    def gradient_path(self) -> str:
        """How gradients are computed."""
        return self._gradients.path

    @property
    def description(self) -> str:
        """What provenance says of the kernel."""
        return f"projected to {FEATURES_WHEN_PROJECTED:,}, primal" if self._projected else "exact, dual"


class CheckpointKernel(Protocol):
    """What scoring asks of one checkpoint."""

    def predict(self, test: Tensor, ridge: float, weighted_masks: Tensor) -> Tensor:
        """Outcomes `[m, n_subsets]` predicted with a ridge; `weighted_masks` is `[n_subsets, n_train]`."""
        ...

    def attribute(self, test: Tensor, ridge: float) -> Tensor:
        """Attributions `[m, n_train]`, not yet weighted."""
        ...

    def leverages(self, ridge: float) -> Tensor:
        """Self-influence `[n_train]` of the train examples, not yet weighted."""
        ...

    def test_rows(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """What the other functions take of test examples, one row for each."""
        ...


class WholeKernel:
    """Inner products of whole gradients over the train set.

    Args:
        gradients: of the model output.
        weights: of the checkpoint.
        inputs: of the train examples.
        labels: of the train examples.
        queries: gradients of test examples, where these are computed otherwise.
    """

    def __init__(
        self,
        gradients: GradientRows,
        weights: StateDict,
        inputs: Inputs,
        labels: Tensor,
        queries: GradientRows | None = None,
    ) -> None:
        self._gradients, self._queries, self._weights = gradients, queries or gradients, weights
        self._train = gradients.whole(weights, inputs, labels)
        self._kernel = DualKernel(gradients.inner_products(self._train, self._train))
        self._factors: dict[float, Tensor] = {}

    def test_rows(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """As in `CheckpointKernel`: inner products with the train examples `[m, n_train]`."""
        n_rows = max(MIN_ROWS, NUMBERS_AT_ONCE // self._train.shape[1])
        parts = (slice(start, start + n_rows) for start in range(0, len(targets), n_rows))
        rows = (self._queries.whole(self._weights, take(inputs, part), targets[part]) for part in parts)
        return torch.cat([self._gradients.inner_products(each, self._train) for each in rows])

    def predict(self, test: Tensor, ridge: float, weighted_masks: Tensor) -> Tensor:
        """As in `CheckpointKernel`."""
        return self._kernel.predict(test, self._factor(ridge), weighted_masks)

    def attribute(self, test: Tensor, ridge: float) -> Tensor:
        """As in `CheckpointKernel`."""
        return self._kernel.attribute(test, self._factor(ridge))

    def leverages(self, ridge: float) -> Tensor:
        """As in `CheckpointKernel`."""
        return self._kernel.leverages(self._factor(ridge))

    def _factor(self, ridge: float) -> Tensor:
        if ridge not in self._factors:
            self._factors = {ridge: self._kernel.factorize(ridge)}  # one at a time: they are as large as the kernel
        return self._factors[ridge]


class ProjectedKernel:
    """The ridge kernel in the space of projected gradients.

    Args:
        gradients: of the model output.
        weights: of the checkpoint.
        inputs: of the train examples.
        labels: of the train examples.
        seed: of the projection.
        proj_dim: dimension of the projection.
        queries: gradients of test examples, where these are computed otherwise.
    """

    def __init__(
        self,
        gradients: GradientRows,
        weights: StateDict,
        inputs: Inputs,
        labels: Tensor,
        seed: int,
        proj_dim: int,
        queries: GradientRows | None = None,
    ) -> None:
        self._queries, self._weights = queries or gradients, weights
        self._sketch = sketch_of(gradients, proj_dim, seed)
        self._train = gradients.projected(weights, inputs, labels, self._sketch)[0]
        self._kernel = PrimalKernel.of(self._blocks())
        self._factors: dict[float, Tensor] = {}

    def test_rows(self, inputs: Inputs, targets: Tensor) -> Tensor:
        """As in `CheckpointKernel`: projected gradients `[m, proj_dim]`."""
        return self._queries.projected(self._weights, inputs, targets, self._sketch)[0]

    def predict(self, test: Tensor, ridge: float, weighted_masks: Tensor) -> Tensor:
        """As in `CheckpointKernel`."""
        return self._kernel.precondition(test, self._factor(ridge)) @ (weighted_masks @ self._train).T

    def attribute(self, test: Tensor, ridge: float) -> Tensor:
        """As in `CheckpointKernel`."""
        return self._kernel.precondition(test, self._factor(ridge)) @ self._train.T

    def leverages(self, ridge: float) -> Tensor:
        """As in `CheckpointKernel`."""
        factor = self._factor(ridge)
        return torch.cat([self._kernel.leverages(rows, factor) for rows in self._blocks()])

    def _blocks(self) -> tuple[Tensor, ...]:
        return torch.split(self._train, BLOCK)

    def _factor(self, ridge: float) -> Tensor:
        if ridge not in self._factors:
            self._factors[ridge] = self._kernel.factorize(ridge)
        return self._factors[ridge]
