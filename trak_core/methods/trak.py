"""TRAK over checkpoints, and its cheaper ensembles (Park et al. 2023, arXiv 2303.14186; Deng et al., arXiv 2405.17293).

The kernel is exact: inner products of whole gradients, no projection. The ridge, and the soft threshold where there is
one, are chosen on the tuning subsets.

A dropout ensemble stands in for more checkpoints: with some inputs of its later Linear layers switched off, one trained
model is many. The same inputs are off for every example, as they must be for gradients to be comparable. The
forward-only variant takes gradients of the trained models alone and uses their masked versions for the weights q, which
takes forward passes only.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from trak_core.gradients import StateDict
from trak_core.methods.context import MethodContext, Need
from trak_core.methods.kernels import DEFAULT_RIDGE, RIDGES, DualKernel
from trak_core.methods.method import MethodInfo, Scores, choose
from trak_core.methods.product import ProductScores, Term
from trak_core.seeds import derive_seed

__all__ = ["Trak", "TrakDropout", "TrakForwardOnly", "TrakThreshold"]

DROPOUT = 0.1
"""Share of inputs that are off, as in the paper."""
N_MASKS = 4
"""Masked versions of each checkpoint."""
THRESHOLDS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Candidates for the soft threshold, relative to the median absolute score."""


@dataclass(frozen=True)
class _Kernel:
    """One model's inner products.

    Attributes:
        train: over the train examples.
        test: `[n_test, n_train]`.
        q: weights `[n_train]`.
    """

    train: DualKernel
    test: Tensor
    q: Tensor


def _kernel(context: MethodContext, weights: StateDict) -> _Kernel:
    rows = context.gradients
    train_rows = rows.whole(weights, context.train.inputs, context.train.targets)
    test_rows = context.query_gradients.whole(weights, context.test.inputs, context.test.targets)
    return _Kernel(
        DualKernel(rows.inner_products(train_rows, train_rows)),
        rows.inner_products(test_rows, train_rows),
        context.q(weights),
    )


def _choose_ridge(context: MethodContext, kernels: Iterator[_Kernel], q: Tensor) -> float:
    """The ridge that predicts the tuning subsets best with weights q `[n_train]`, those of the final scores."""
    if context.tuning is None:
        return DEFAULT_RIDGE
    weighted = context.tuning.masks.to(q) * q
    predicted: dict[float, Tensor] = {}
    for kernel in kernels:
        for ridge in RIDGES:
            outcome = kernel.train.predict(kernel.test, kernel.train.factorize(ridge), weighted).T
            predicted[ridge] = predicted.get(ridge, 0) + outcome
    return choose(context, predicted, DEFAULT_RIDGE)


def _term(kernel: _Kernel, ridge: float, q: Tensor | None = None) -> Term:
    factor = kernel.train.factorize(ridge)
    weight = kernel.q if q is None else q
    attribution = kernel.train.attribute(kernel.test, factor)
    return Term(attribution, None, weight, own=kernel.train.leverages(factor))


@dataclass(frozen=True)
class Trak:
    """TRAK over all checkpoints."""

    info = MethodInfo(
        "trak",
        "TRAK",
        "Gradients of the model, averaged over independently trained checkpoints.",
        needs=(Need.CHECKPOINTS,),
    )

    def fit(self, context: MethodContext) -> ProductScores:
        """As in `Method`."""
        q = torch.stack([context.q(weights) for weights in context.states]).mean(0)
        ridge = _choose_ridge(context, (_kernel(context, weights) for weights in context.states), q)
        terms = [_term(_kernel(context, weights), ridge) for weights in context.states]
        return ProductScores(terms, average_weights=True, settings={"ridge": ridge})


@dataclass(frozen=True)
class TrakThreshold:
    """TRAK with small scores drawn to 0, as the paper has it."""

    info = MethodInfo(
        "trak_threshold",
        "TRAK, soft threshold",
        "TRAK with scores drawn towards 0, small ones set to 0.",
        needs=(Need.CHECKPOINTS,),
    )

    def fit(self, context: MethodContext) -> Scores:
        """As in `Method`."""
        scores = Trak().fit(context)
        middle = float(torch.cat([block.abs().flatten() for block in scores.blocks()]).median())
        predicted = {}
        if context.tuning is not None:
            for share in THRESHOLDS:
                predicted[share] = replace(scores, threshold=share * middle).predict(context.tuning.masks)
        share = choose(context, predicted, 1.0)
        return replace(scores, threshold=share * middle, settings={**scores.settings, "threshold": share * middle})


@dataclass(frozen=True)
class TrakDropout:
    """TRAK over masked versions of few checkpoints."""

    info = MethodInfo(
        "trak_dropout",
        "TRAK, dropout ensemble",
        f"TRAK over {N_MASKS} versions of each checkpoint, each with some of its units off.",
        needs=(Need.CHECKPOINTS, Need.HIDDEN_UNITS),
        max_checkpoints=5,
    )

    def fit(self, context: MethodContext) -> ProductScores:
        """As in `Method`."""
        ridge = _choose_ridge(context, _masked_kernels(context), torch.stack(_masked_q(context)).mean(0))
        terms = [_term(kernel, ridge) for kernel in _masked_kernels(context)]
        settings = {"ridge": ridge, "dropout": DROPOUT}
        return ProductScores(terms, average_weights=True, settings=settings, terms_a_checkpoint=N_MASKS)


@dataclass(frozen=True)
class TrakForwardOnly:
    """TRAK whose weights q, and nothing else, are averaged over masked versions."""

    info = MethodInfo(
        "trak_forward",
        "TRAK, forward-only dropout",
        f"TRAK with its weights averaged over {N_MASKS} versions of each checkpoint with some units off.",
        needs=(Need.CHECKPOINTS, Need.HIDDEN_UNITS),
        max_checkpoints=5,
    )

    def fit(self, context: MethodContext) -> ProductScores:
        """As in `Method`."""
        of_each = _masked_q(context)
        q = torch.stack(of_each).mean(0)
        ridge = _choose_ridge(context, (_kernel(context, weights) for weights in context.states), q)
        terms = [
            _term(_kernel(context, weights), ridge, own) for weights, own in zip(context.states, of_each, strict=True)
        ]
        return ProductScores(terms, average_weights=True, settings={"ridge": ridge, "dropout": DROPOUT})


def _masked_q(context: MethodContext) -> list[Tensor]:
    """Weights q `[n_train]` of each checkpoint, averaged over its masked versions."""
    return [
        torch.stack([masked.q(weights) for masked in _masked(context, index)]).mean(0)
        for index, weights in enumerate(context.states)
    ]


def _masked_kernels(context: MethodContext) -> Iterator[_Kernel]:
    for index, weights in enumerate(context.states):
        for masked in _masked(context, index):
            yield _kernel(masked, weights)


def _masked(context: MethodContext, checkpoint: int) -> Iterator[MethodContext]:
    """The context with versions of its model that have some units off, other ones for every checkpoint."""
    for number in range(N_MASKS):
        seed = derive_seed(context.seed, "dropout", checkpoint, number)
        yield replace(context, architecture=_with_units_off(context.architecture, seed), _sides=[])


def _with_units_off(architecture: nn.Module, seed: int) -> nn.Module:
    """A copy whose Linear layers, but for the first, see a random share of their inputs as 0 and the rest scaled up."""
    masked = copy.deepcopy(architecture)
    generator = torch.Generator().manual_seed(seed)
    linear = [module for module in masked.modules() if isinstance(module, nn.Linear)]
    for module in linear[1:]:
        kept = torch.rand(module.in_features, generator=generator) >= DROPOUT
        scale = (kept / (1 - DROPOUT)).to(module.weight)

        def switch_off(_: nn.Module, given: tuple[Tensor, ...], scale: Tensor = scale) -> tuple[Tensor, ...]:
            return (given[0] * scale, *given[1:])

        module.register_forward_pre_hook(switch_off)
    return masked
