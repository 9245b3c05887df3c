"""Methods that look at retrained models alone: datamodels, empirical influence and data Banzhaf values.

They learn from the fitting subsets of the ledger: which halves of the data a test example did well with. They need no
gradients and no smoothness, only very many retrained models.

    datamodels            min over w, b of (1/S) sum over subsets (w . 1_S + b - outcome)^2 + penalty of w
                          (Ilyas et al. 2022, arXiv 2202.00622; the penalty is |w|_1 there, |w|^2 for few subsets)
    empirical influence   mean outcome with the example less the mean without (Feldman, Zhang 2020, arXiv 2008.03703)
    data Banzhaf          the value of an example for a random half (Wang, Jia 2023, arXiv 2205.15466), here by least
                          squares without a penalty; the estimator of its paper is empirical influence at halves
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from trak_core.methods.context import Ledger, MethodContext, Need
from trak_core.methods.method import MethodInfo, ScoreMatrix

RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Candidates, relative to the mean eigenvalue of the masks' kernel."""
SHARES = (0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.03)
"""Candidates for the lasso, relative to the penalty that leaves nothing."""
N_FOLDS = 3
LASSO_STEPS = 200
CHOOSING_STEPS = 40
"""Steps at each penalty while it is chosen; each begins where the last one ended, so that few are enough."""


def _ledger(context: MethodContext) -> Ledger:
    assert context.ledger is not None  # a need of every method here
    return context.ledger


def _centred(ledger: Ledger) -> tuple[Tensor, Tensor]:
    masks = ledger.masks.to(ledger.outcomes)
    return masks - masks.mean(0), ledger.outcomes - ledger.outcomes.mean(0)


@MethodInfo(
    "datamodel_ridge",
    "Datamodel, ridge",
    "A linear fit to retrained models: which halves of the data did a test example do well with?",
    needs=(Need.LEDGER,),
)
def datamodel_ridge(context: MethodContext) -> ScoreMatrix:
    """Ridge regression of outcomes on membership."""
    masks, outcomes = _centred(_ledger(context))
    ridge = min(RIDGES, key=lambda candidate: _left_out_error(masks, outcomes, candidate))
    return ScoreMatrix(ridge_regression(masks, outcomes, ridge), {"ridge": ridge})


def ridge_regression(masks: Tensor, outcomes: Tensor, ridge: float) -> Tensor:
    """Coefficients `[n_test, n_train]` from centred masks `[n_subsets, n_train]` and outcomes `[n_subsets, n_test]`.

    Solved over the subsets, of which there are fewer than train examples. The ridge is relative to the mean eigenvalue
    of the masks' inner products.
    """
    solved: Tensor = torch.linalg.solve(_ridged_kernel(masks, ridge), outcomes)
    return solved.T @ masks


def _ridged_kernel(masks: Tensor, ridge: float) -> Tensor:
    """Inner products of masks `[n_subsets, n_subsets]` with the relative ridge added."""
    kernel = masks @ masks.T
    kernel.diagonal().add_(ridge * kernel.diagonal().mean())
    return kernel


def _left_out_error(masks: Tensor, outcomes: Tensor, ridge: float) -> float:
    """Mean squared error for each subset predicted from the others, in closed form (Allen 1974, PRESS)."""
    inverse = torch.linalg.inv(_ridged_kernel(masks, ridge).double())
    left_out = (inverse @ outcomes.double()) / inverse.diagonal()[:, None]
    return float((left_out**2).mean())


@MethodInfo(
    "datamodel_lasso",
    "Datamodel, sparse",
    "A linear fit to retrained models that gives most training examples a score of 0.",
    needs=(Need.LEDGER,),
)
def datamodel_lasso(context: MethodContext) -> ScoreMatrix:
    """Sparse regression of outcomes on membership, the penalty chosen for each test example by cross-validation."""
    masks, outcomes = _centred(_ledger(context))
    folds = torch.arange(len(masks), device=masks.device) % N_FOLDS
    errors = torch.zeros(len(SHARES), outcomes.shape[1], dtype=outcomes.dtype, device=outcomes.device)
    for fold in range(N_FOLDS):
        known, left_out = folds != fold, folds == fold
        for number, found in enumerate(lasso(masks[known], outcomes[known], SHARES, CHOOSING_STEPS)):
            errors[number] += ((outcomes[left_out] - masks[left_out] @ found.T) ** 2).sum(0)
    best = errors.argmin(0)  # [n_test]
    scores = torch.zeros(outcomes.shape[1], masks.shape[1], dtype=outcomes.dtype, device=outcomes.device)
    for number, found in enumerate(lasso(masks, outcomes, SHARES)):
        scores[best == number] = found[best == number]
    return ScoreMatrix(scores, {"median_share": float(torch.tensor(SHARES)[best.cpu()].median())})


def lasso(masks: Tensor, outcomes: Tensor, shares: Sequence[float], n_steps: int = LASSO_STEPS) -> list[Tensor]:
    """Lasso coefficients `[n_test, n_train]` for each share, from the strongest penalty on.

    Accelerated proximal gradients (Beck, Teboulle 2009) for all test examples at once, each started from the last.
    Masks and outcomes are centred. The shares, which fall, are relative to the penalty that leaves nothing, of which
    each test example has its own.
    """
    n = len(masks)
    correlations = outcomes.T @ masks / n  # [n_test, n_train]
    largest = correlations.abs().amax(1, keepdim=True)
    step = n / torch.linalg.matrix_norm(masks, 2) ** 2
    solution = torch.zeros_like(correlations)
    path = []
    for share in shares:
        ahead, momentum = solution.clone(), 1.0
        for _ in range(n_steps):
            downhill = correlations - (ahead @ masks.T) @ masks / n
            moved = ahead + step * downhill
            shrunk = moved.sign() * (moved.abs() - step * share * largest).clamp_min(0)
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = shrunk + (momentum - 1) / following * (shrunk - solution)
            solution, momentum = shrunk, following
        path.append(solution.clone())
    return path


@MethodInfo(
    "empirical",
    "Empirical influence",
    "How much better retrained models did with a training example than without it.",
    needs=(Need.LEDGER,),
)
def empirical_influence(context: MethodContext) -> ScoreMatrix:
    """Difference of mean outcomes with and without an example."""
    ledger = _ledger(context)
    inside = ledger.masks.to(ledger.outcomes)
    n_inside = inside.sum(0).clamp_min(1)
    n_outside = (len(inside) - inside.sum(0)).clamp_min(1)
    # Less their mean, so that an example which is in every subset, or in none, gets 0.
    outcomes = ledger.outcomes - ledger.outcomes.mean(0)
    with_it = outcomes.T @ inside / n_inside
    without = outcomes.T @ (1 - inside) / n_outside
    return ScoreMatrix(with_it - without)


@MethodInfo(
    "banzhaf",
    "Data Banzhaf",
    "The value of a training example for a random half of the data, from retrained models.",
    needs=(Need.LEDGER,),
)
def data_banzhaf(context: MethodContext) -> ScoreMatrix:
    """Banzhaf values by least squares; the solution of least norm where there are fewer subsets than examples."""
    ledger = _ledger(context)
    # In float64 from the start: centred in float32, masks have a direction that is nearly but not quite 0, and the
    # inverse of that is all that the solution would show.
    masks, outcomes = _centred(Ledger(ledger.masks, ledger.outcomes.double()))
    # On the CPU, which alone has a driver for masks of less than full rank, as those of equal size are.
    solved: Tensor = torch.linalg.lstsq(masks.cpu(), outcomes.cpu(), driver="gelsd").solution
    return ScoreMatrix(solved.T.to(ledger.outcomes))
