"""TRAK's loop over checkpoints: averages, their spread, self-influence, and what subsets of the data are predicted.

    scores = [mean over checkpoints of the attribution] * [mean over checkpoints of q]

(Park et al. 2023, arXiv 2303.14186, section 3.) One kernel is in use at a time, and of the attributions of single
checkpoints nothing is kept but sums, so that memory does not grow with the number of checkpoints.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from trak_core.errors import InvalidSettingError
from trak_core.methods.kernels import CheckpointKernel, Kernels, soft_threshold
from trak_core.methods.method import ScoreMatrix

CHECKPOINT_COUNTS = (1, 2, 5, 10, 20, 50, 100)
"""Numbers of checkpoints for which the scores of the first so many are kept."""

Rows = Callable[[int], Iterable[Tensor]]
"""Features of some test examples at a checkpoint, in blocks `[n_block, width]`."""


class Average:
    """The mean of tensors that come one after the other, and with `spread` its standard error (Welford 1962)."""

    def __init__(self, spread: bool = False) -> None:
        self.n = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None
        self._spread = spread

    def add(self, values: Tensor) -> None:
        """One more, of the same shape as all others; the first one is taken over and changed."""
        self.n += 1
        if self._mean is None:
            self._mean = values
            self._squares = torch.zeros_like(values) if self._spread else None
        elif self._squares is None:
            self._mean.lerp_(values, 1 / self.n)
        else:
            apart = values - self._mean
            self._mean.add_(apart, alpha=1 / self.n)
            self._squares.addcmul_(apart, values - self._mean)

    @property
    def mean(self) -> Tensor:
        """The mean so far; it changes with the next `add`."""
        assert self._mean is not None  # nobody asks before
        return self._mean

    def standard_error(self) -> Tensor | None:
        """The standard error of the mean; None of one tensor."""
        if self.n < 2 or self._squares is None:
            return None
        return (self._squares / (self.n - 1) / self.n).sqrt()


@dataclass
class TrakScores(ScoreMatrix):
    """Scores of TRAK; `values` and `own` are without the threshold, `errors` are over checkpoints."""

    n_checkpoints: int = 1  # that they are averaged over
    threshold: float = 0.0  # scores are drawn towards 0 by so much
    # scores by the first checkpoints alone, by their number
    fewer: Mapping[int, "TrakScores"] = field(default_factory=dict, repr=False)

    def first(self, n_checkpoints: int) -> "TrakScores":
        """As in `Scores`; for the numbers in `CHECKPOINT_COUNTS`.

        Raises:
            InvalidSettingError: the scores of so many were not kept.
        """
        if n_checkpoints == self.n_checkpoints:
            return self
        if n_checkpoints not in self.fewer:
            raise InvalidSettingError(
                f"n_checkpoints={n_checkpoints}; scores are kept of the first "
                f"{', '.join(map(str, (*self.fewer, self.n_checkpoints)))} checkpoints."
            )
        return replace(self.fewer[n_checkpoints], threshold=self.threshold, settings=self.settings)

    def block(self, rows: slice) -> Tensor:
        """As in `Scores`."""
        return soft_threshold(self.values[rows], self.threshold)

    def self_influence(self) -> Tensor | None:
        """As in `Scores`."""
        return None if self.own is None else soft_threshold(self.own, self.threshold)


def _each(
    kernels: Kernels, rows: Rows, on_checkpoint: Callable[[], None] = lambda: None
) -> Iterator[tuple[CheckpointKernel, Tensor]]:
    """The kernel of each checkpoint, with test examples as it reads them."""
    for index in range(len(kernels)):
        kernel = kernels[index]
        yield kernel, kernel.read(rows(index))
        on_checkpoint()


def mean_scores(kernels: Kernels, rows: Rows, ridges: Sequence[float], q: Tensor) -> list[Tensor]:
    """Scores `[m, n_train]` with each ridge, from the mean weights q `[n_train]` of the train examples."""
    averages = [Average() for _ in ridges]
    for kernel, test in _each(kernels, rows):
        for ridge, average in zip(ridges, averages, strict=True):
            average.add(kernel.attribute(test, ridge))
    return [average.mean.mul_(q.to(average.mean)) for average in averages]


def mean_self_influence(kernels: Kernels, ridge: float, q: Tensor) -> Tensor:
    """The score of each train example for itself `[n_train]`: its mean leverage over checkpoints times its mean q."""
    leverages = Average()
    for index in range(len(kernels)):
        leverages.add(kernels[index].leverages(ridge).to(q))
    return leverages.mean * q


def predict_subsets(
    kernels: Kernels,
    rows: Rows,
    ridges: Sequence[float],
    weighted_masks: Tensor,
    on_checkpoint: Callable[[], None] = lambda: None,
) -> dict[float, Tensor]:
    """Outcomes `[n_subsets, m]` float64 that each ridge predicts, without forming scores.

    `weighted_masks` `[n_subsets, n_train]` is membership (0 or 1) times the mean q of the example.
    """
    averages = {ridge: Average() for ridge in ridges}
    for kernel, test in _each(kernels, rows, on_checkpoint):
        for ridge, average in averages.items():
            average.add(kernel.predict(test, ridge, weighted_masks.to(test)).T.double())
    return {ridge: average.mean for ridge, average in averages.items()}


def average_trak(
    kernels: Kernels,
    rows: Rows,
    ridge: float,
    q: Tensor,
    n_test: int,
    a_checkpoint: int = 1,
    on_checkpoint: Callable[[], None] = lambda: None,
) -> tuple[TrakScores, Tensor]:
    """Scores with all that is known of them, and plain scores `[n_further, n_train]` of further questions.

    Args:
        kernels: of the models.
        rows: of the `n_test` test examples, then of the further questions.
        ridge: relative to the mean squared norm of the features.
        q: weights of the train examples at each model `[n_models, n_train]`.
        n_test: number of test examples.
        a_checkpoint: models that stand for one checkpoint; they are no independent ones, so their mean counts as one.
        on_checkpoint: called after every model.
    """
    found, further, leverages, part = Average(spread=True), Average(), Average(), Average()
    fewer: dict[int, TrakScores] = {}
    for number, (kernel, test) in enumerate(_each(kernels, rows, on_checkpoint), start=1):
        attribution = kernel.attribute(test, ridge)
        leverages.add(kernel.leverages(ridge))
        further.add(attribution[n_test:])
        part.add(attribution[:n_test])
        if number % a_checkpoint:
            continue
        found.add(part.mean)
        part, n, weight = Average(), number // a_checkpoint, q[:number].mean(0)
        if n in CHECKPOINT_COUNTS or number == len(kernels):
            error = found.standard_error()
            errors = None if error is None else error * weight
            values, own = found.mean * weight, leverages.mean * weight
            fewer[n] = TrakScores(values, {"ridge": ridge}, errors, own, n_checkpoints=n)
    scores = fewer.pop(found.n)
    return replace(scores, fewer=fewer), further.mean * q.mean(0)
