"""Gradients of one architecture at any weights, as the rows that methods work with."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trak_core.gradients import (
    BatchGradients,
    GradientComputer,
    GradientPath,
    Inputs,
    Layer,
    LayerGradients,
    Precision,
    StateDict,
    find_layers,
    form,
    take,
)
from trak_core.projection import FeatureMap, WholeMap
from trak_core.tasks import Task

MIN_ROWS, NUMBERS_AT_ONCE = 16, 2**25
"""Whole gradients are computed so many at a time, or as many as have so many numbers."""


@dataclass(frozen=True)
class GradientSettings:
    """How gradients are computed."""

    # shell patterns of the names of those that are differentiated; None for all
    parameters: str | Sequence[str] | None = None
    precision: Precision | None = None  # as in `GradientComputer`; None for that of the weights
    way: str = "auto"  # "auto" or one of `GradientPath`
    batch_size: int = 512  # the most examples at once


class GradientRows:
    """Gradients of the model output, by the way that is right at the weights of one model and on some examples."""

    def __init__(
        self,
        architecture: nn.Module,
        task: Task,
        weights: StateDict,
        inputs: Inputs,
        targets: Tensor,
        settings: GradientSettings = GradientSettings(),
    ) -> None:
        self.layers: list[Layer] = find_layers(architecture, settings.parameters)
        double = any(value.dtype == torch.float64 for value in weights.values())
        self.computer = GradientComputer(
            architecture, task, self.layers, settings.precision or ("float64" if double else "float32")
        )
        self.computer.choose(weights, inputs, targets, settings.way)
        self.whole_map = WholeMap(self.layers, self.computer.factored)
        self._batch_size = settings.batch_size
        self._ready: tuple[StateDict, GradientComputer] | None = None

    @classmethod
    def of_both_sides(
        cls,
        architecture: nn.Module,
        task: Task,
        weights: StateDict,
        train: tuple[Inputs, Tensor],
        test: tuple[Inputs, Tensor],
        settings: GradientSettings = GradientSettings(),
    ) -> tuple["GradientRows", "GradientRows"]:
        """Gradients of train and of test examples, one object twice where the task has one side only.

        `train` and `test` are inputs and targets of some examples, on which the way to compute gradients is chosen.
        """
        train_side = cls(architecture, task, weights, *train, settings)
        if task.query is task:
            return train_side, train_side
        test_side = cls(architecture, task.query, weights, *test, settings)
        # Inner products between the sides need rows of one form.
        both = train_side.computer.factored & test_side.computer.factored
        for side in (train_side, test_side):
            side.whole_map = WholeMap(side.layers, both)
        return train_side, test_side

    @property
    def path(self) -> GradientPath:
        """The way gradients are computed."""
        assert self.computer.path is not None  # chosen when made
        return self.computer.path

    def whole(self, weights: StateDict, inputs: Inputs, targets: Tensor) -> Tensor:
        """Whole gradients as packed rows `[n, width]`, for `inner_products`."""
        return joined(self.blocks(weights, inputs, targets, self.whole_map), len(targets))

    def flat(self, weights: StateDict, inputs: Inputs, targets: Tensor, layers: slice = slice(None)) -> Tensor:
        """Whole gradients as plain rows `[n, n_parameters]`, in the order of the layers, or of some of these."""
        batches = self.batches(weights, inputs, targets, self._size_for(self.whole_map))
        return joined((plain_rows(part.layers[layers]) for part in batches), len(targets))

    def inner_products(self, left: Tensor, right: Tensor) -> Tensor:
        """Inner products `[n_left, n_right]` of the gradients that packed rows stand for."""
        return self.whole_map.inner_products(left, right)

    def squared_norms(self, packed: Tensor) -> Tensor:
        """Squared norms `[n]` of the gradients that packed rows stand for."""
        return self.whole_map.squared_norms(packed)

    def blocks(self, weights: StateDict, inputs: Inputs, targets: Tensor, feature_map: FeatureMap) -> Iterator[Tensor]:
        """Features batch by batch, `[n_batch, width]` each."""
        for part in self.batches(weights, inputs, targets, self._size_for(feature_map)):
            yield feature_map.rows(part.layers)[0]

    def norms(self, weights: StateDict, inputs: Inputs, targets: Tensor) -> Tensor:
        """Norms `[n]` of whole gradients, which are not kept."""
        batches = self.batches(weights, inputs, targets, self._size_for(self.whole_map))
        return torch.cat([self.whole_map.rows(part.layers)[1] for part in batches]).sqrt()

    def _size_for(self, feature_map: FeatureMap) -> int:
        """Examples in a batch whose features, or whole gradients, are held at once."""
        if feature_map.is_linear:
            return self._batch_size
        return min(self._batch_size, max(MIN_ROWS, NUMBERS_AT_ONCE // feature_map.width))

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

    def batches(
        self, weights: StateDict, inputs: Inputs, targets: Tensor, size: int | None = None
    ) -> Iterator[BatchGradients]:
        """Gradients batch by batch, by the task made ready for these weights."""
        if self._ready is None or self._ready[0] is not weights:
            self._ready = weights, self.computer.prepared(weights)
        size = size or self._batch_size
        for start in range(0, len(targets), size):
            where = slice(start, start + size)
            yield self._ready[1].compute(weights, take(inputs, where), targets[where])


def plain_rows(layers: Sequence[LayerGradients]) -> Tensor:
    """Gradients of n examples, layer by layer, as rows `[n, n_parameters]`."""
    return torch.cat([form(each) for each in layers]).T


def joined(blocks: Iterable[Tensor], n_rows: int) -> Tensor:
    """Blocks of rows as one `[n_rows, width]`, which is never in memory twice."""
    rows, at = torch.empty(0), 0
    for block in blocks:
        if not at:
            rows = block.new_empty(n_rows, block.shape[1])
        rows[at : at + len(block)] = block
        at += len(block)
    return rows
