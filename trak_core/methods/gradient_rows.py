"""Gradients of one architecture at any weights, as the rows that methods work with."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trak_core.gradients import (
    BatchGradients,
    GradientComputer,
    GradientPath,
    Inputs,
    Layer,
    StateDict,
    find_layers,
    form,
    take,
)
from trak_core.projection import FeatureMap, WholeMap
from trak_core.tasks import Task

__all__ = ["GradientRows"]

BATCH = 512


class GradientRows:
    """Gradients of the model output.

    Args:
        architecture: of the models.
        task: what a prediction is.
        weights: of one model, at which the way to compute gradients is chosen.
        inputs: some examples, on which it is chosen.
        targets: what is asked about them `[n, ...]`.
    """

    def __init__(
        self, architecture: nn.Module, task: Task, weights: StateDict, inputs: Inputs, targets: Tensor
    ) -> None:
        self.layers: list[Layer] = find_layers(architecture)
        self.computer = GradientComputer(
            architecture,
            task,
            self.layers,
            "float64" if any(value.dtype == torch.float64 for value in weights.values()) else "float32",
        )
        self.computer.choose(weights, inputs, targets)
        self._whole = WholeMap(self.layers, self.computer.factored)
        self._ready: tuple[StateDict, GradientComputer] | None = None

    @classmethod
    def of_both_sides(
        cls,
        architecture: nn.Module,
        task: Task,
        weights: StateDict,
        train: tuple[Inputs, Tensor],
        test: tuple[Inputs, Tensor],
    ) -> tuple["GradientRows", "GradientRows"]:
        """Gradients of train and of test examples, one object twice where the task has one side only.

        Args:
            architecture: of the models.
            task: what a prediction is.
            weights: of one model.
            train: inputs and targets of some train examples.
            test: inputs and targets of some test examples.
        """
        train_side = cls(architecture, task, weights, *train)
        if task.query is task:
            return train_side, train_side
        test_side = cls(architecture, task.query, weights, *test)
        # Inner products between the sides need rows of one form.
        both = train_side.computer.factored & test_side.computer.factored
        for side in (train_side, test_side):
            side._whole = WholeMap(side.layers, both)
        return train_side, test_side

    @property
    def path(self) -> GradientPath:
        """The way gradients are computed."""
        assert self.computer.path is not None  # chosen when made
        return self.computer.path

    def whole(self, weights: StateDict, inputs: Inputs, targets: Tensor) -> Tensor:
        """Whole gradients as packed rows `[n, width]`, for `inner_products`."""
        return torch.cat([self._whole.rows(part.layers)[0] for part in self.batches(weights, inputs, targets)])

    def flat(self, weights: StateDict, inputs: Inputs, targets: Tensor) -> Tensor:
        """Whole gradients as plain rows `[n, n_parameters]`, in the order of the layers."""
        return torch.cat(
            [torch.cat([form(each) for each in part.layers]).T for part in self.batches(weights, inputs, targets)]
        )

    def inner_products(self, left: Tensor, right: Tensor) -> Tensor:
        """Inner products `[n_left, n_right]` of the gradients that packed rows stand for."""
        return self._whole.inner_products(left, right)

    def squared_norms(self, packed: Tensor) -> Tensor:
        """Squared norms `[n]` of the gradients that packed rows stand for."""
        return self._whole.packed.squared_norms(packed)

    def projected(
        self, weights: StateDict, inputs: Inputs, targets: Tensor, feature_map: FeatureMap
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features `[n, proj_dim]`, norms `[n]` of the gradients, and weights q `[n]`."""
        rows, norms, q = [], [], []
        for part in self.batches(weights, inputs, targets):
            features, squared_norms = feature_map.rows(part.layers)
            rows.append(features)
            norms.append(squared_norms.sqrt())
            q.append(part.q)
        return torch.cat(rows), torch.cat(norms), torch.cat(q)

    def batches(self, weights: StateDict, inputs: Inputs, targets: Tensor) -> Iterator[BatchGradients]:
        """Gradients batch by batch, by the task made ready for these weights."""
        if self._ready is None or self._ready[0] is not weights:
            self._ready = weights, self.computer.prepared(weights)
        for start in range(0, len(targets), BATCH):
            where = slice(start, start + BATCH)
            yield self._ready[1].compute(weights, take(inputs, where), targets[where])
