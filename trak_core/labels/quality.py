"""How well a ranking finds the labels that are wrong, where it is known which are.

A ranking is scores, higher for a more suspicious label, or the order in which labels are inspected, which `ranked`
makes of scores. Whoever inspects stops somewhere, so the share of errors found by then says more of the use than AUROC.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError, NeedNotMetError

Booleans = NDArray[np.bool_]
CLEANLAB_METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


@dataclass(frozen=True)
class Quality:
    """What a ranking of labels is worth."""

    n: int  # labels ranked
    n_wrong: int  # of them, those that are wrong
    auroc: float  # chance that a wrong label is ranked above a right one; 0.5 for a ranking that knows nothing
    # mean over the wrong labels of the share of wrong ones down to each; `n_wrong / n` for a ranking that knows nothing
    average_precision: float
    recall_at_10: float  # share of the wrong labels among the first 10%; likewise the next two
    recall_at_15: float  # among the first 15%
    recall_at_20: float  # among the first 20%
    inspected_for_95: float  # share that must be inspected to find 95% of the wrong labels


def quality(scores: NDArray[Any], wrong: Booleans) -> Quality:
    """Every measure of a ranking; arguments and errors are those of `auroc`."""
    area, order = auroc(scores, wrong), ranked(scores)
    return Quality(
        n=len(wrong),
        n_wrong=int(wrong.sum()),
        auroc=area,
        average_precision=average_precision(scores, wrong),
        recall_at_10=recall_at(order, wrong, 0.10),
        recall_at_15=recall_at(order, wrong, 0.15),
        recall_at_20=recall_at(order, wrong, 0.20),
        inspected_for_95=inspected_for(order, wrong, 0.95),
    )


def ranked(scores: NDArray[Any]) -> NDArray[np.int64]:
    """The order of inspection, the highest score first: int64 `[n]`; equal scores by number, as suspects are stored."""
    return np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")


def auroc(scores: NDArray[Any], wrong: Booleans) -> float:
    """Share of pairs of a wrong and a right label in which the wrong one has the higher score; ties count half.

    Scores are higher for a more suspicious label and may be infinite; `wrong` is True for labels that are wrong.

    Raises:
        InvalidSettingError: `wrong` is True nowhere or everywhere, it has another length, or a score is NaN.

    Source: Hanley & McNeil 1982.
    """
    scores, n_wrong = _check_scores(scores, wrong, needs_right=True), int(wrong.sum())
    ranks = (len(wrong) + 1 - _down_to(scores) + _down_to(-scores)) / 2  # from 1 for the least, ties in the middle
    n_pairs_won = ranks[wrong].sum() - n_wrong * (n_wrong + 1) / 2
    return float(n_pairs_won / (n_wrong * (len(wrong) - n_wrong)))


def average_precision(scores: NDArray[Any], wrong: Booleans) -> float:
    """Mean over the wrong labels of the precision down to each; labels with equal scores are inspected together.

    Arguments and errors are those of `auroc`, but all labels may be wrong.
    """
    scores = _check_scores(scores, wrong)
    return float((_down_to(scores[wrong]) / _down_to(scores)[wrong]).mean())


def recall_at(order: NDArray[Any], wrong: Booleans, fraction: float) -> float:
    """Share of the wrong labels that is among the first `round(fraction * n)`.

    `order` holds the numbers of the labels, the most suspicious first `[n]`; see `ranked`.

    Raises:
        InvalidSettingError: `order` is not each number once, `wrong` is True nowhere, or the fraction is not 0 to 1.
    """
    if not 0 <= fraction <= 1:
        raise InvalidSettingError(f"fraction={fraction}; it must be from 0 to 1.")
    found = _found(order, wrong)
    n_inspected = round(fraction * len(found))
    return float(found[n_inspected - 1] / found[-1]) if n_inspected else 0.0


def inspected_for(order: NDArray[Any], wrong: Booleans, recall: float) -> float:
    """Smallest share of the labels, from the most suspicious on, that holds the share `recall` of the wrong ones.

    Raises:
        InvalidSettingError: as `recall_at`, or the recall is not above 0 and up to 1.
    """
    if not 0 < recall <= 1:
        raise InvalidSettingError(f"recall={recall}; it must be above 0 and up to 1.")
    found = _found(order, wrong)
    return float((np.argmax(found / found[-1] >= recall) + 1) / len(found))


def _found(order: NDArray[Any], wrong: Booleans) -> NDArray[np.int64]:
    """How many wrong labels are among the first 1, 2, ... n of an order."""
    if not np.array_equal(np.sort(order), np.arange(len(wrong))):
        raise InvalidSettingError(
            f"order must hold each number from 0 to {len(wrong) - 1:,} once; make one of scores with ranked(scores)."
        )
    _check_wrong(wrong)
    return np.cumsum(wrong[order], dtype=np.int64)


def _down_to(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many have the score of each or a higher one."""
    _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    return np.cumsum(sizes)[group]


def _check_scores(scores: NDArray[Any], wrong: Booleans, needs_right: bool = False) -> NDArray[np.float64]:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != wrong.shape or np.isnan(scores).any():
        raise InvalidSettingError(
            f"scores have shape {scores.shape} with {np.isnan(scores).sum():,} NaN for {len(wrong):,} labels; give one "
            "number for each, -inf for a label that is not ranked."
        )
    _check_wrong(wrong, needs_right)
    return scores


def _check_wrong(wrong: Booleans, needs_right: bool = False) -> None:
    if wrong.dtype != np.bool_ or not wrong.any() or (needs_right and wrong.all()):
        raise InvalidSettingError(
            f"wrong holds {np.count_nonzero(wrong):,} wrong labels of {len(wrong):,} (dtype {wrong.dtype}); give bool "
            "with at least one wrong label" + (" and one right one." if needs_right else ".")
        )


def cleanlab_signals(labels: NDArray[np.int64], probabilities: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Every ranking that cleanlab offers, by name: scores float64 `[n]`, higher for a more suspicious label.

    Source: Northcutt, Jiang, Chuang 2021 (Confident learning); Kuan & Mueller 2022 (label quality scores).

    Every class occurs among the labels; `probabilities` are by models that did not see the example `[n, n_classes]`.

    Raises:
        NeedNotMetError: cleanlab is not installed.
    """
    try:
        from cleanlab.rank import get_label_quality_scores  # type: ignore[import-untyped]
    except ImportError as error:
        raise NeedNotMetError(
            "cleanlab is not installed, so its rankings cannot be compared with; install it: pip install cleanlab."
        ) from error
    rows = probabilities / probabilities.sum(axis=1, keepdims=True)
    return {
        f"cleanlab_{method}": -np.asarray(get_label_quality_scores(labels, rows, method=method), dtype=np.float64)
        for method in CLEANLAB_METHODS
    }
