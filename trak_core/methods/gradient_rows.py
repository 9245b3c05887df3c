"""Gradients of the checkpoints of a build: as whole rows for the exact kernel, and projected for the store."""

from collections.abc import Iterator

import torch
from torch import Tensor

from trak_core.gradients import BatchGradients, GradientComputer, GradientPath, find_layers
from trak_core.projection import FeatureMap, make_feature_map
from trak_core.tasks import Task
from trak_core.training import Ensemble

__all__ = ["GradientRows"]

BATCH = 512


class GradientRows:
    """Gradients at every checkpoint of an ensemble.

    Args:
        checkpoints: the ensemble.
        task: what a prediction is.
        inputs: some examples, on which the way to compute gradients is chosen.
        asked: the classes asked about.
    """

    def __init__(self, checkpoints: Ensemble, task: Task, inputs: Tensor, asked: Tensor) -> None:
        self._checkpoints = checkpoints
        self._layers = find_layers(checkpoints.architecture)
        self._computer = GradientComputer(checkpoints.architecture, task, self._layers)
        self._computer.choose(checkpoints.state_dict(0), inputs, asked)
        self._whole = make_feature_map("none", self._layers, self._computer.factored, 0, 0)

    @property
    def path(self) -> GradientPath:
        """The way gradients are computed."""
        assert self._computer.path is not None  # chosen when made
        return self._computer.path

    def whole(self, checkpoint_id: int, inputs: Tensor, asked: Tensor) -> Tensor:
        """Whole gradients as packed rows `[n, width]`, for `inner_products`."""
        return torch.cat([self._whole.rows(part.layers)[0] for part in self._compute(checkpoint_id, inputs, asked)])

    def inner_products(self, left: Tensor, right: Tensor) -> Tensor:
        """Inner products `[n_left, n_right]` of the gradients that packed rows stand for."""
        return self._whole.inner_products(left, right)

    def projected(
        self, checkpoint_id: int, inputs: Tensor, asked: Tensor, proj_dim: int, seed: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features `[n, proj_dim]`, norms `[n]` of the gradients, and weights q `[n]`."""
        sketch: FeatureMap = make_feature_map("sjlt", self._layers, frozenset(), proj_dim, seed)
        rows, norms, q = [], [], []
        for part in self._compute(checkpoint_id, inputs, asked):
            features, squared_norms = sketch.rows(part.layers)
            rows.append(features)
            norms.append(squared_norms.sqrt())
            q.append(part.q)
        return torch.cat(rows), torch.cat(norms), torch.cat(q)

    def _compute(self, checkpoint_id: int, inputs: Tensor, asked: Tensor) -> Iterator[BatchGradients]:
        weights = self._checkpoints.state_dict(checkpoint_id)
        for start in range(0, len(asked), BATCH):
            where = slice(start, start + BATCH)
            yield self._computer.compute(weights, inputs[where], asked[where])
