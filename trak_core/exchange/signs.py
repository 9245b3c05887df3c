"""Which way scores point: whether a positive one means that the train example helps.

Some libraries give the influence on a loss, where a negative number helps. The labels tell which it is: train examples
of a test example's own class help it, on the whole, more than others do. For each test example, `d` is the mean score
of the train examples of its class minus the mean score of the others, in standard deviations of its scores. If scores
point the right way, `d` is positive on average; how clearly it is not zero is told by `t`, its mean over its standard
error over test examples.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidDataError, InvalidSettingError
from trak_core.exchange.matrix import ScoreMatrix

Sign = Literal["check", "as-is", "reversed"]
SIGNS: tuple[Sign, ...] = get_args(Sign)
CLEAR = 3.0
"""Of `t`; by chance it goes beyond in one matrix of 370."""
FEWEST = 5
"""Test examples below which nothing is concluded."""


@dataclass(frozen=True)
class SignCheck:
    """What the labels say about the sign."""

    n: int  # test examples with train examples of their class and of others
    mean: float  # of `d` over them; NaN where there are none
    t: float  # its mean over its standard error; NaN where there are fewer than five

    @property
    def verdict(self) -> Literal["right", "reversed", "unclear"]:
        """Whether positive scores help, hurt, or it does not show."""
        if math.isnan(self.t) or abs(self.t) < CLEAR:
            return "unclear"
        return "right" if self.t > 0 else "reversed"

    @property
    def sentence(self) -> str:
        """The finding in words."""
        if math.isnan(self.t):
            return f"Whether positive scores help does not show: only {self.n} test examples can be asked."
        end = {
            "right": "as they do where positive scores help",
            "reversed": "which is the other way round than where positive scores help",
            "unclear": "so whether positive scores help does not show",
        }
        return f"Train examples {self.comparison}, {end[self.verdict]}."

    @property
    def comparison(self) -> str:
        """How train examples of a test example's own class score, beside others."""
        how = f"{abs(self.mean):.2f} standard deviations {'higher' if self.mean >= 0 else 'lower'}"
        return (
            f"of a test example's own class score {how} than others on average (t = {self.t:.1f} over {self.n:,} test "
            "examples)"
        )


def check_sign(matrix: ScoreMatrix, test_labels: NDArray[np.int64], train_labels: NDArray[np.int64]) -> SignCheck:
    """What the labels `[n_test]` and `[n_train]` say about the sign of finite scores."""
    order = np.argsort(train_labels, kind="stable")
    classes, starts, counts = np.unique(train_labels[order], return_index=True, return_counts=True)
    found: list[NDArray[np.float64]] = []
    n_train = len(train_labels)
    for start, rows in matrix.blocks():
        labels = test_labels[start : start + len(rows)]
        place = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
        can_be_asked = (classes[place] == labels) & (counts[place] < n_train)
        sums = np.add.reduceat(rows[:, order], starts, axis=1, dtype=np.float64)  # [n, n_classes]
        own, n_own = sums[np.arange(len(rows)), place], counts[place]
        others = (sums.sum(1) - own) / np.maximum(n_train - n_own, 1)
        spread = rows.std(1, dtype=np.float64)
        difference = np.divide(own / n_own - others, spread, out=np.zeros(len(rows)), where=spread > 0)
        found.append(difference[can_be_asked])
    d = np.concatenate(found)
    mean = float(d.mean()) if len(d) else math.nan
    if len(d) < FEWEST:
        return SignCheck(len(d), mean, math.nan)
    error = float(d.std(ddof=1)) / math.sqrt(len(d))
    return SignCheck(len(d), mean, mean / error if error > 0 else math.copysign(math.inf, mean) if mean else 0.0)


def choose_sign(sign: Sign, found: SignCheck, where: str) -> bool:
    """True when the scores are to be turned round; never without being told to.

    Raises:
        InvalidDataError: nothing was said, and the labels say that positive scores hurt.
        InvalidSettingError: `sign` is none of `SIGNS`.
    """
    if sign not in SIGNS:
        raise InvalidSettingError(f"sign={sign!r}; it must be one of: {', '.join(SIGNS)}.")
    if sign == "check" and found.verdict == "reversed":
        raise InvalidDataError(
            f"{where} looks as if negative scores help: train examples {found.comparison}; --sign reversed turns them "
            "round, --sign as-is keeps them."
        )
    return sign == "reversed"
