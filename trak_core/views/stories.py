"""Ways into a run, found by rules from its own data: never picked by hand."""

from dataclasses import dataclass

import numpy as np

from trak_core.store.run import Run
from trak_core.views.browse import TestOverview
from trak_core.views.neighbours import DUPLICATE_COSINE, FeatureSpace

CLOSE = 0.95
"""An answer that is surer is no close call."""
SURE = 0.5
"""An answer less sure than this needs no story to be called brittle."""
MAX_TESTS = 200
"""Test examples among which a near-duplicate in the training data is looked for."""


@dataclass(frozen=True)
class Story:
    """A way into a run."""

    title: str  # a few words
    text: str  # one sentence that says what is to be seen
    test_idx: int | None = None  # the test example that it is about; None for stories about a train example
    train_idx: int | None = None  # the train example that it is about, or that is to be looked at closely


def first_test(run: Run, tests: TestOverview) -> int:
    """The test example that pages begin with: the most confident mistake, else the first."""
    story = _mistake(run, tests) if run.info.has_classes else _by_loss(tests)[0]
    return (story and story.test_idx) or 0


def find_stories(run: Run, tests: TestOverview, space: FeatureSpace | None = None) -> list[Story]:
    """Up to six stories; one that the data does not tell is left out.

    A mistake, a confident hit, a close call, an answer that a few train examples carry, a label that looks wrong, and a
    test example with a near-duplicate in the training data. Without classes: the worst and the best answer, and the
    near-duplicate. Where the model's answers are not known: the first test example, and a train example that speaks
    against its own class.

    Args:
        run: with scores.
        tests: `overview` of the run.
        space: `feature_space` of the run, for finding the near-duplicate.
    """
    if not tests.is_known:
        stories = [Story("The first test example", f"Its label is {run.info.class_names[tests.labels[0]]}.", 0)]
        return [*stories, *_against_its_own(run)]
    found = (
        [_mistake(run, tests), _hit(run, tests), _close_call(run, tests), _brittle(run, tests), _odd_label(run)]
        if run.info.has_classes
        else _by_loss(tests)
    )
    duplicate = None if space is None else _near_duplicate(space)
    return [story for story in (*found, duplicate) if story is not None]


def _mistake(run: Run, tests: TestOverview) -> Story | None:
    wrong = tests.mistakes
    if not wrong.any():
        return None
    idx = int(np.argmax(np.where(wrong, tests.confidence, -1.0)))
    names = run.info.class_names
    return Story(
        "A mistake and what is behind it",
        f"The model is {tests.confidence[idx]:.0%} sure of {names[tests.predicted[idx]]}, but the label says "
        f"{names[tests.labels[idx]]}.",
        idx,
    )


def _hit(run: Run, tests: TestOverview) -> Story | None:
    right = tests.predicted == tests.labels
    if not right.any():
        return None
    idx = int(np.argmax(np.where(right, tests.confidence, -1.0)))
    name = run.info.class_names[tests.predicted[idx]]
    return Story(
        "A confident hit", f"The model calls this {name}, {tests.confidence[idx]:.0%} sure, and is right.", idx
    )


def _close_call(run: Run, tests: TestOverview) -> Story | None:
    right = tests.predicted == tests.labels
    if not right.any():
        return None
    idx = int(np.argmin(np.where(right, tests.confidence, 2.0)))
    if tests.confidence[idx] >= CLOSE:
        return None
    name = run.info.class_names[tests.predicted[idx]]
    return Story("A close call", f"Right, but only {tests.confidence[idx]:.0%} sure of {name}.", idx)


def _brittle(run: Run, tests: TestOverview) -> Story | None:
    """The right and sure answer that flipped when the fewest proponents were removed and models retrained."""
    rows = run.rows(
        "SELECT test_idx, k FROM removals JOIN methods USING (method) WHERE flipped AND NOT is_baseline "
        "ORDER BY k, model_output, test_idx"
    )
    for test_idx, k in rows:
        if tests.predicted[test_idx] == tests.labels[test_idx] and tests.confidence[test_idx] >= SURE:
            decide = f"{k} examples decide" if k > 1 else "one example decides"
            return Story(
                f"Brittle: {decide}",
                f"Right and {tests.confidence[test_idx]:.0%} sure, but retrained without "
                f"{f'its {k} strongest training examples' if k > 1 else 'its strongest training example'}, the models "
                "answer something else.",
                int(test_idx),
            )
    return None


def _odd_label(run: Run) -> Story | None:
    """The train example whose label the models, trained on it, believe least."""
    rows = run.rows(
        "SELECT idx, avg(p_label) AS p FROM predictions WHERE split = 'train' AND p_label IS NOT NULL "
        "GROUP BY idx ORDER BY p, idx LIMIT 1"
    )
    if not rows or rows[0][1] >= 0.5:
        return None
    idx, p_label = rows[0]
    name = run.rows("SELECT label_name FROM examples WHERE split = 'train' AND idx = ?", [idx])[0][0]
    return Story(
        "Looks mislabelled",
        f"Labelled {name}, yet models trained on this very label give it {p_label:.0%}.",
        train_idx=int(idx),
    )


def _against_its_own(run: Run) -> list[Story]:
    """The train example that is most often among the strongest opponents of test examples with its own label."""
    rows = run.rows(
        "SELECT train_idx, train.label_name, count(*) AS n FROM topk "
        "JOIN examples train ON train.split = 'train' AND train.idx = train_idx "
        "JOIN examples test ON test.split = 'test' AND test.idx = test_idx "
        "WHERE method = ? AND side = 'opponent' AND rank <= 5 AND score < 0 AND train.label = test.label "
        "GROUP BY ALL ORDER BY n DESC, train_idx LIMIT 1",
        [run.info.method],
    )
    return [
        Story(
            "Speaks against its own class",
            f"Labelled {name}, and among the 5 strongest opponents of {n} test example{'s' if n > 1 else ''} labelled "
            f"{name} too.",
            train_idx=int(train_idx),
        )
        for train_idx, name, n in rows
    ]


def _near_duplicate(space: FeatureSpace) -> Story | None:
    """The test example that is nearest to a train example; not told unless they are near-duplicates."""
    if not len(space.test) or not len(space.train):
        return None
    step = max(1, len(space.test) // MAX_TESTS)
    cosines = space.test[::step] @ space.train.T
    place, train_idx = np.unravel_index(int(cosines.argmax()), cosines.shape)
    if cosines[place, train_idx] < DUPLICATE_COSINE:
        return None
    return Story(
        "A near-duplicate in the training data",
        f"To the model, training example {train_idx} is this test example again: its answer is partly memory.",
        int(place) * step,
        int(train_idx),
    )


def _by_loss(tests: TestOverview) -> list[Story | None]:
    if np.isnan(tests.loss).any():
        return [Story("The first test example", f"The model answers {tests.answers[0]}.", 0)]
    worst, best = int(tests.loss.argmax()), int(tests.loss.argmin())
    return [
        Story("The answer that is furthest off", f"The model answers {tests.answers[worst]}.", worst),
        Story("The answer that fits best", f"The model answers {tests.answers[best]}.", best),
    ]
