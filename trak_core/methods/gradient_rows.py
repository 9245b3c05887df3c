"""Gradients of one architecture at any weights, as the rows that methods work with."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trak_core.gradients import BatchGradients, GradientComputer, GradientPath, Layer, StateDict, find_layers, form
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
        asked: the classes asked about.
    """

    def __init__(self, architecture: nn.Module, task: Task, weights: StateDict, inputs: Tensor, asked: Tensor) -> None:
        self.layers: list[Layer] = find_layers(architecture)
        self.computer = GradientComputer(
            architecture,
            task,
            self.layers,
            "float64" if any(value.dtype == torch.float64 for value in weights.values()) else "float32",
        )
        self.computer.choose(weights, inputs, asked)
        self._whole = WholeMap(self.layers, self.computer.factored)

    @property
    def path(self) -> GradientPath:
        """The way gradients are computed."""
        assert self.computer.path is not None  # chosen when made
        return self.computer.path

    def whole(self, weights: StateDict, inputs: Tensor, asked: Tensor) -> Tensor:
        """Whole gradients as packed rows `[n, width]`, for `inner_products`."""
        return torch.cat([self._whole.rows(part.layers)[0] for part in self.batches(weights, inputs, asked)])

    def flat(self, weights: StateDict, inputs: Tensor, asked: Tensor) -> Tensor:
        """Whole gradients as plain rows `[n, n_parameters]`, in the order of the layers."""
        return torch.cat(
            [torch.cat([form(each) for each in part.layers]).T for part in self.batches(weights, inputs, asked)]
        )

    def inner_products(self, left: Tensor, right: Tensor) -> Tensor:
        """Inner products `[n_left, n_right]` of the gradients that packed rows stand for."""
        return self._whole.inner_products(left, right)

    def squared_norms(self, packed: Tensor) -> Tensor:
        """Squared norms `[n]` of the gradients that packed rows stand for."""
        return self._whole.packed.squared_norms(packed)

    def projected(
        self, weights: StateDict, inputs: Tensor, asked: Tensor, feature_map: FeatureMap
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features `[n, proj_dim]`, norms `[n]` of the gradients, and weights q `[n]`."""
        rows, norms, q = [], [], []
        for part in self.batches(weights, inputs, asked):
            features, squared_norms = feature_map.rows(part.layers)
            rows.append(features)
            norms.append(squared_norms.sqrt())
            q.append(part.q)
        return torch.cat(rows), torch.cat(norms), torch.cat(q)

    def batches(self, weights: StateDict, inputs: Tensor, asked: Tensor) -> Iterator[BatchGradients]:
        """Gradients batch by batch."""
        for start in range(0, len(asked), BATCH):
            where = slice(start, start + BATCH)
            yield self.computer.compute(weights, inputs[where], asked[where])
