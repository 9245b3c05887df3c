"""Finding test examples: by class, by mistake, by confidence, by text."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.run import Run


@dataclass(frozen=True)
class TestFilter:
    """Which test examples to show; the default shows all."""

    classes: tuple[int, ...] = ()  # labels to keep, all when empty
    only_mistakes: bool = False  # keep only those that the model gets wrong
    confidence: tuple[float, float] = (0.0, 1.0)  # lowest and highest probability of the model's answer, 0 to 1
    text: str = ""  # letters that the text must contain, in any case

    __test__ = False  # the name is no pytest class


@dataclass(frozen=True)
class TestOverview:
    """What the model says of every test example, averaged over its checkpoints."""

    labels: NDArray[np.int64]  # int64 `[n_test]`; all 0 where there are no classes
    # the model's answers in words: a class, or a number where there are no classes; "not known" where the run does not
    # hold them
    answers: list[str]
    loss: NDArray[np.float64]  # float64 `[n_test]`, NaN where unknown
    probabilities: NDArray[np.float32]  # float32 `[n_test, n_classes]`, NaN where they are not known
    predicted: NDArray[np.int64]  # the model's answers, int64 `[n_test]`; -1 where they are not known
    confidence: NDArray[np.float32]  # probability of the answer, float32 `[n_test]`, NaN where it is not known

    __test__ = False

    @property
    def is_known(self) -> bool:
        """False for imported scores that came without the answers of their model."""
        return bool(self.predicted[0] >= 0)

    @property
    def mistakes(self) -> NDArray[np.bool_]:
        """Whether the model's answer is known and not the label, `[n_test]`."""
        return np.asarray((self.predicted != self.labels) & (self.predicted >= 0))


def overview(run: Run) -> TestOverview:
    """The model's answers for all test examples."""
    means = run.columns(
        "SELECT avg(model_output) AS model_output, avg(loss) AS loss FROM predictions WHERE split = 'test' "
        "GROUP BY idx ORDER BY idx"
    )
    if not len(means["loss"]):
        n_test, n_classes = run.info.n_test, len(run.info.class_names)
        loss, confidence = np.full(n_test, np.nan), np.full(n_test, np.nan, dtype=np.float32)
        probabilities, predicted = np.full((n_test, n_classes), np.nan, dtype=np.float32), np.full(n_test, -1)
        return TestOverview(run.test_labels, ["not known"] * n_test, loss, probabilities, predicted, confidence)
    if run.info.has_classes:
        table = run.arrow("SELECT probabilities FROM predictions WHERE split = 'test' ORDER BY checkpoint_id, idx")
        of_each = from_arrow_arrays(table, "probabilities").reshape(-1, run.info.n_test, len(run.info.class_names))
        probabilities = of_each.mean(axis=0)
        answers = [run.info.class_names[answer] for answer in probabilities.argmax(axis=1)]
    else:  # one answer, of which the model is as sure as can be: so that no filter shuts it out
        probabilities = np.ones((run.info.n_test, 1), dtype=np.float32)
        answers = [f"{value:.4g}" for value in means["model_output"]]
    return TestOverview(
        labels=run.test_labels,
        answers=answers,
        loss=np.ma.filled(means["loss"].astype(np.float64), np.nan),
        probabilities=probabilities,
        predicted=probabilities.argmax(axis=1),
        confidence=probabilities.max(axis=1),
    )


def train_probabilities(run: Run, train_idx: int) -> NDArray[np.float64] | None:
    """What the model says of a train example, `[n_classes]`, averaged over its checkpoints; None where not known."""
    rows = run.rows(
        "SELECT probabilities FROM predictions WHERE split = 'train' AND idx = ? AND probabilities IS NOT NULL "
        "ORDER BY checkpoint_id",
        [train_idx],
    )
    return np.mean([row for (row,) in rows], axis=0) if rows else None


def find_tests(run: Run, tests: TestOverview, wanted: TestFilter) -> list[int]:
    """Numbers of the test examples that pass the filter, rising."""
    low, high = wanted.confidence
    # A slider shows whole percents: its ends must not shut out what they round to.
    is_sure = (tests.confidence >= low - 0.005) & (tests.confidence <= high + 0.005)
    keep = is_sure if tests.is_known else np.ones(run.info.n_test, dtype=bool)
    if wanted.classes:
        keep &= np.isin(tests.labels, wanted.classes)
    if wanted.only_mistakes:
        keep &= tests.mistakes
    if wanted.text:
        rows = run.rows(
            "SELECT idx FROM examples WHERE split = 'test' AND contains(lower(text), lower(?))", [wanted.text]
        )
        keep &= np.isin(np.arange(run.info.n_test), [idx for (idx,) in rows])
    return [int(idx) for idx in np.flatnonzero(keep)]


def window_around(shown: list[int], test_idx: int, size: int) -> list[int]:
    """Up to `size` neighbouring entries of `shown` with `test_idx` near the middle; the first ones if it is not in."""
    place = shown.index(test_idx) if test_idx in shown else 0
    first = max(0, min(place - size // 2, len(shown) - size))
    return shown[first : first + size]
