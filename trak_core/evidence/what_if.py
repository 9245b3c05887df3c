"""A what-if before and after retraining: whether it can be asked, and what pairs of models answered.

Each pair shares its seed: one model is trained on everything, the other without the removed examples. Differences of
pairs are independent draws, so that the interval of their mean is Student's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from trak_core.errors import InvalidSettingError, NotInRunError, TrainingDivergedError
from trak_core.store.run import Run
from trak_core.store.what_ifs import Question, Verified
from trak_core.subjects.of_run import why_not_made_again

N_SEEDS = 10
MOST_SEEDS = 200
CONFIDENCE = 0.95
Floats = NDArray[np.float64]


def read_removed(text: str) -> list[int]:
    """Numbers of train examples from words with commas or white space between.

    Raises:
        InvalidSettingError: a word is no number.
    """
    words = text.replace(",", " ").split()
    wrong = [word for word in words if not (word.isascii() and word.isdecimal() and len(word) < 10)]
    if wrong:
        raise InvalidSettingError(f"removed holds {wrong[0][:40]!r}; give numbers of train examples, as in 1,2,3.")
    return [int(word) for word in words]


def as_question(run: Run, test_idx: int, removed: Iterable[int], n_seeds: int = N_SEEDS) -> Question:
    """The question, if it can be asked of the run.

    Train examples come in any order, and twice the same counts once; `n_seeds` pairs of models are trained.

    Raises:
        NotInRunError: there is no such test or train example, or the run cannot be retrained.
        InvalidSettingError: nothing is removed, or too much: a whole class, or so many that less than a batch stays; or
            the number of seeds is out of range.
    """
    if reason := why_not_made_again(run):
        raise NotInRunError(f"run {run.info.name!r} {reason}.")
    if not 2 <= n_seeds <= MOST_SEEDS:
        raise InvalidSettingError(
            f"n_seeds={n_seeds}; an interval needs at least 2 pairs of models, and {MOST_SEEDS} are the most."
        )
    gone = np.unique(np.array([int(idx) for idx in removed], dtype=np.int64))
    if not len(gone):
        raise InvalidSettingError("removed is empty; name at least one train example to remove.")
    unknown = gone[(gone < 0) | (gone >= run.info.n_train)]
    if len(unknown):
        raise NotInRunError(
            f"there is no train example {unknown[0]} in run {run.info.name!r}; it has numbers 0 to "
            f"{run.info.n_train - 1}."
        )
    _check_what_stays(run, gone)
    made = run.info.provenance
    return Question(made["fingerprint"], run.check_test(test_idx), tuple(gone.tolist()), n_seeds)


def _check_what_stays(run: Run, gone: NDArray[np.int64]) -> None:
    n_stay = run.info.n_train - len(gone)
    batch_size = run.info.provenance["training"].get("batch_size", 1)  # whoever trains by a loop fills it otherwise
    if n_stay < batch_size:
        raise InvalidSettingError(
            f"removed holds {len(gone):,} of {run.info.n_train:,} train examples, and the {n_stay:,} that would stay "
            f"do not fill one batch of {batch_size}; remove at most {run.info.n_train - batch_size:,}."
        )
    if run.info.has_classes:
        counts = np.bincount(run.train_labels, minlength=len(run.info.class_names))
        stay = counts - np.bincount(run.train_labels[gone], minlength=len(counts))
        emptied = np.flatnonzero((counts > 0) & (stay == 0))
        if len(emptied):
            name = run.info.class_names[emptied[0]]
            raise InvalidSettingError(
                f"removed holds all {counts[emptied[0]]:,} train examples of class {name!r}, and a model that never "
                "saw a class is no comparison; keep at least one of them."
            )


@dataclass(frozen=True)
class Pairs:
    """What pairs of models say of one test example."""

    before: Floats  # model outputs with everything `[n_seeds, n_classes]`; NaN for models that diverged
    after: Floats  # model outputs without the removed examples, seed by seed
    # what the models answer, before and after: classes `[2, n_seeds]`, or zeros where there are none
    answers: NDArray[np.int64]


def compare_pairs(question: Question, pairs: Pairs, seconds: float) -> Verified:
    """The mean change of every class over the pairs of models, with its 95% interval.

    Raises:
        TrainingDivergedError: fewer than two pairs are finite.
    """
    from scipy.stats import t  # here, because the explorer should not wait for scipy before its first page

    used = np.isfinite(pairs.before).all(1) & np.isfinite(pairs.after).all(1)
    n = int(used.sum())
    if n < 2:
        raise TrainingDivergedError(
            f"training diverged in {question.n_seeds - n} of {question.n_seeds} pairs of models, so that nothing can "
            "be said; ask with more seeds, or lower the learning rate of the recipe."
        )
    before, after = pairs.before[used], pairs.after[used]
    change = after - before
    half_width = t.ppf(0.5 + CONFIDENCE / 2, n - 1) * change.std(0, ddof=1) / np.sqrt(n)
    middle = change.mean(0)
    answers = pairs.answers[:, used]
    most = [int(np.bincount(given).argmax()) for given in answers]
    return Verified(
        question=question,
        asked_at=datetime.now(UTC),
        before=tuple(before.mean(0).tolist()),
        after=tuple(after.mean(0).tolist()),
        low=tuple((middle - half_width).tolist()),
        high=tuple((middle + half_width).tolist()),
        answer_before=most[0],
        answer_after=most[1],
        share_flipped=float((answers[0] != answers[1]).mean()),
        n_pairs=n,
        seconds=seconds,
    )
