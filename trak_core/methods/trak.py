"""TRAK over checkpoints, and its cheaper ensembles (Park et al. 2023, arXiv 2303.14186; Deng et al., arXiv 2405.17293).

By default the kernel is exact: inner products of whole gradients, no projection. The ridge, and the soft threshold
where there is one, are chosen on the tuning subsets.

A dropout ensemble stands in for more checkpoints: with some inputs of its later Linear layers switched off, one trained
model is many. The same inputs are off for every example, as they must be for gradients to be comparable. The
forward-only variant takes gradients of the trained models alone and uses their masked versions for the weights q, which
takes forward passes only.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from trak_core.gradients import StateDict, is_linear
from trak_core.methods.context import Examples, MethodContext, Need
from trak_core.methods.kernels import RIDGES, CheckpointKernel, Kernels
from trak_core.methods.method import MethodInfo, best, choose
from trak_core.methods.trak_loop import TrakScores, average_trak, predict_subsets
from trak_core.projection import SjltProjection, SketchMap
from trak_core.seeds import derive_seed

DROPOUT = 0.1
"""Share of inputs that are off, as in the paper."""
RIDGE_LIMITS = (0.01, 1000.0)
"""As far as the grid of ridges widens: float32 inner products carry no smaller one, and beyond the largest all ridges
give the same order."""
N_MASKS = 4
"""Masked versions of each checkpoint."""
THRESHOLDS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Candidates for the soft threshold, relative to the median absolute score."""


class Models:
    """The models that are averaged over: the checkpoints, or `n_versions` masked versions of each.

    So many models stand for one independent checkpoint as there are versions, or `a_checkpoint` states of the context.
    """

    def __init__(self, context: MethodContext, n_versions: int = 0, a_checkpoint: int = 1) -> None:
        self._context, self._n_versions = context, n_versions
        self.a_checkpoint = n_versions or a_checkpoint
        self.kernels = Kernels(self._kernel, (n_versions or 1) * len(context.states))

    def rows(self, queries: Examples, index: int) -> Iterator[Tensor]:
        """Features of queries in blocks, by a model."""
        context, weights = self._model(index)
        feature_map = self.kernels[index].feature_map
        return context.query_gradients.blocks(weights, queries.inputs, queries.targets, feature_map)

    def q(self) -> Tensor:
        """Weights of the train examples `[n_models, n_train]`."""
        every = (self._model(index) for index in range(len(self.kernels)))
        return torch.stack([context.q(weights) for context, weights in every])

    def _model(self, index: int) -> tuple[MethodContext, StateDict]:
        if not self._n_versions:
            return self._context, self._context.states[index]
        checkpoint, version = divmod(index, self._n_versions)
        return _version(self._context, checkpoint, version), self._context.states[checkpoint]

    def _kernel(self, index: int) -> CheckpointKernel:
        context, weights = self._model(index)
        rows, train = context.gradients, context.train
        if context.proj_dim is None:
            # In one piece: inner products of whole gradients are taken all at once.
            whole = [rows.whole(weights, train.inputs, train.targets)]
            return CheckpointKernel(whole, rows.whole_map, dual=True)
        seed = derive_seed(context.seed, "kernel projection", index)
        sketch = SketchMap(rows.layers, SjltProjection(context.proj_dim, seed))
        projected = list(rows.blocks(weights, train.inputs, train.targets, sketch))
        return CheckpointKernel(projected, sketch, dual=False)

    def ridge_qualities(self, q: Tensor, on_checkpoint: Callable[[], None] = lambda: None) -> dict[float, float]:
        """The quality of every candidate ridge on the tuning subsets with weights q `[n_train]`."""
        tuning = self._context.tuning
        assert tuning is not None  # nobody asks without
        rows, masks = partial(self.rows, self._context.test), tuning.masks.to(q) * q

        def qualities(ridges: Sequence[float]) -> dict[float, float]:
            of_first = on_checkpoint if ridges is RIDGES else lambda: None
            predicted = predict_subsets(self.kernels, rows, ridges, masks, of_first)
            return {ridge: tuning.quality(outcomes) for ridge, outcomes in predicted.items()}

        return widened(RIDGES, qualities)

    def choose_ridge(self, q: Tensor) -> float:
        """The best ridge with weights q `[n_train]`, those of the final scores; that of the context without tuning."""
        ridge = self._context.ridge
        return ridge if self._context.tuning is None else best(self.ridge_qualities(q), ridge)


def widened(
    grid: tuple[float, ...], qualities: Callable[[Sequence[float]], Mapping[float, float]]
) -> dict[float, float]:
    """The quality of every ridge of a rising grid that ends in a decade, and of further ones while the best is an end.

    A decade is added at the end where the best one lies, at the ratios of the grid, as far as `RIDGE_LIMITS` go.
    """
    found = dict(qualities(grid))
    if len(grid) < 2:
        return found
    low, high = RIDGE_LIMITS
    while math.isfinite(chosen := best(found, math.nan)):
        ends, further = (min(found), max(found)), []
        if chosen == ends[0]:
            further = [round(ridge * ends[0] / 10 / grid[0], 9) for ridge in grid[:3]]
        elif chosen == ends[1]:
            further = [round(ridge * ends[1] * 10 / grid[-1], 9) for ridge in grid[-3:]]
        further = [ridge for ridge in further if low <= ridge <= high]
        if not further:
            break
        found |= qualities(further)
    return found


def ridge_qualities(context: MethodContext, on_checkpoint: Callable[[], None] = lambda: None) -> dict[float, float]:
    """The quality of every ridge that was tried on the tuning subsets, which the context has; see `widened`."""
    models = Models(context)
    return models.ridge_qualities(models.q().mean(0), on_checkpoint)


def fit_targets(
    context: MethodContext, further: Examples, on_checkpoint: Callable[[], None] = lambda: None
) -> tuple[TrakScores, Tensor]:
    """Scores of the test examples, and plain ones `[n_further, n_train]` of further questions, in one pass.

    Further questions may be about the same examples or others; their scores come without standard errors.
    """
    models = Models(context)
    q = models.q()
    ridge = models.choose_ridge(q.mean(0))

    def rows(index: int) -> Iterator[Tensor]:
        return chain(models.rows(context.test, index), models.rows(further, index))

    return average_trak(models.kernels, rows, ridge, q, len(context.test), on_checkpoint=on_checkpoint)


def fit_models(context: MethodContext, models: Models, q: Tensor, **settings: float) -> TrakScores:
    """Scores with weights q `[n_models, n_train]`, the ridge chosen with the mean of them."""
    ridge, rows = models.choose_ridge(q.mean(0)), partial(models.rows, context.test)
    scores, _ = average_trak(models.kernels, rows, ridge, q, len(context.test), models.a_checkpoint)
    return replace(scores, settings=scores.settings | settings)


@MethodInfo(
    "trak",
    "TRAK",
    "Gradients of the model, averaged over independently trained checkpoints.",
    needs=(Need.CHECKPOINTS,),
    has_ridge=True,
)
def trak(context: MethodContext) -> TrakScores:
    """TRAK over all checkpoints."""
    models = Models(context)
    return fit_models(context, models, models.q())


@MethodInfo(
    "trak_threshold",
    "TRAK, soft threshold",
    "TRAK with scores drawn towards 0, small ones set to 0.",
    needs=(Need.CHECKPOINTS,),
    has_ridge=True,
)
def trak_threshold(context: MethodContext) -> TrakScores:
    """TRAK with small scores drawn to 0, as the paper has it."""
    models = Models(context)
    scores = fit_models(context, models, models.q())
    middle = float(scores.values.abs().median())

    def predict(share: float, masks: Tensor) -> Tensor:
        return replace(scores, threshold=share * middle).predict(masks)

    threshold = choose(context, THRESHOLDS, 1.0, predict) * middle
    return replace(scores, threshold=threshold, settings={**scores.settings, "threshold": threshold})


@MethodInfo(
    "trak_dropout",
    "TRAK, dropout ensemble",
    f"TRAK over {N_MASKS} versions of each checkpoint, each with some of its units off.",
    needs=(Need.CHECKPOINTS, Need.HIDDEN_UNITS),
    max_checkpoints=5,
    has_ridge=True,
)
def trak_dropout(context: MethodContext) -> TrakScores:
    """TRAK over masked versions of few checkpoints."""
    models = Models(context, N_MASKS)
    return fit_models(context, models, models.q(), dropout=DROPOUT)


@MethodInfo(
    "trak_forward",
    "TRAK, forward-only dropout",
    f"TRAK with its weights averaged over {N_MASKS} versions of each checkpoint with some units off.",
    needs=(Need.CHECKPOINTS, Need.HIDDEN_UNITS),
    max_checkpoints=5,
    has_ridge=True,
)
def trak_forward_only(context: MethodContext) -> TrakScores:
    """TRAK whose weights q, and nothing else, are averaged over masked versions."""
    q = Models(context, N_MASKS).q()
    of_checkpoints = q.reshape(len(context.states), N_MASKS, -1).mean(1)
    return fit_models(context, Models(context), of_checkpoints, dropout=DROPOUT)


def _version(context: MethodContext, checkpoint: int, number: int) -> MethodContext:
    """The context with a model that has some units off, other ones for every checkpoint and number."""
    seed = derive_seed(context.seed, "dropout", checkpoint, number)
    return replace(context, architecture=_with_units_off(context.architecture, seed), _sides=[])


def _with_units_off(architecture: nn.Module, seed: int) -> nn.Module:
    """A copy whose Linear layers, but for the first, see a random share of their inputs as 0 and the rest scaled up."""
    masked = copy.deepcopy(architecture)
    generator = torch.Generator().manual_seed(seed)
    linear: list[Any] = [module for module in masked.modules() if is_linear(module)]
    for module in linear[1:]:
        n_inputs = module.in_features if isinstance(module, nn.Linear) else module.weight.shape[0]
        kept = torch.rand(n_inputs, generator=generator) >= DROPOUT
        scale = (kept / (1 - DROPOUT)).to(module.weight)

        def switch_off(_: nn.Module, given: tuple[Tensor, ...], scale: Tensor = scale) -> tuple[Tensor, ...]:
            return (given[0] * scale, *given[1:])

        module.register_forward_pre_hook(switch_off)
    return masked
