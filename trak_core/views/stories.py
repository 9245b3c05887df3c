"""Ways into a run, found by rules from its own data: never picked by hand."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trak_core.store.run import Run
from trak_core.views.answer_words import answered, has_answer
from trak_core.views.browse import TestOverview
from trak_core.views.model_quality import has_not_learnt, quality_of
from trak_core.views.neighbours import DUPLICATE_COSINE, FeatureSpace

CLOSE = 0.95
"""An answer that is surer is no close call."""
SURE = 0.5
"""An answer less sure than this is no confident one, and needs no story to be called brittle."""
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
    stories = _mistake(run, tests) if run.info.has_classes else _by_loss(run, tests)
    return next((story.test_idx for story in stories if story.test_idx is not None), 0)


def find_stories(run: Run, tests: TestOverview, space: FeatureSpace | None = None) -> list[Story]:
    """Up to six stories, those that the data tells.

    A mistake, a confident hit, a close call, an answer that a few train examples carry, a label that looks wrong, and a
    test example with a near-duplicate in the training data, for which `feature_space` of the run is needed. Without
    classes: the worst and the best answer, and the near-duplicate. Where the models have learnt nothing: a mistake and
    hits. Where the model's answers are not known: the first test example, and a train example that speaks against its
    own class.
    """
    if not tests.is_known:
        first = Story("The first test example", f"Its label is {run.info.class_names[tests.labels[0]]}.", 0)
        return [first, *_against_its_own(run)]
    duplicates = () if space is None else _near_duplicate(space)
    if not run.info.has_classes:
        return [*_by_loss(run, tests), *duplicates]
    if has_not_learnt(quality_of(run, tests)):  # what such models find odd or alike says nothing of the data
        return [*_mistake(run, tests), *_hits(run, tests)]
    return [*_mistake(run, tests), *_hits(run, tests), *_brittle(run, tests), *_odd_label(run), *duplicates]


def _mistake(run: Run, tests: TestOverview) -> Iterator[Story]:
    if not tests.mistakes.any():
        return
    idx = int(np.argmax(np.where(tests.mistakes, tests.confidence, -1.0)))
    names = run.info.class_names
    yield Story(
        "A mistake and what is behind it",
        f"The model is {tests.confidence[idx]:.0%} sure of {names[tests.predicted[idx]]}, but the label says "
        f"{names[tests.labels[idx]]}.",
        idx,
    )


def _hits(run: Run, tests: TestOverview) -> Iterator[Story]:
    """The right answers that the model is most and least sure of."""
    right = tests.predicted == tests.labels
    if not right.any():
        return
    sure, close = np.argmax(np.where(right, tests.confidence, -1.0)), np.argmin(np.where(right, tests.confidence, 2.0))
    confidence = tests.confidence[sure]
    name = run.info.class_names[tests.predicted[sure]]
    title = "A confident hit" if confidence >= SURE else "The surest answer that is right"
    yield Story(title, f"The model calls this {name}, {confidence:.0%} sure, and is right.", int(sure))
    confidence = tests.confidence[close]
    if confidence < CLOSE:
        name = run.info.class_names[tests.predicted[close]]
        yield Story("A close call", f"Right, but gave {name} only {confidence:.0%}.", int(close))


def _brittle(run: Run, tests: TestOverview) -> Iterator[Story]:
    """The right and sure answer that flipped when the fewest proponents were removed and models retrained."""
    rows = run.rows(
        "SELECT test_idx, k FROM removals JOIN methods USING (method) WHERE flipped AND NOT is_baseline "
        "ORDER BY k, model_output, test_idx"
    )
    for test_idx, k in rows:
        if tests.predicted[test_idx] == tests.labels[test_idx] and tests.confidence[test_idx] >= SURE:
            decide = f"{k} examples decide" if k > 1 else "one example decides"
            yield Story(
                f"Brittle: {decide}",
                f"Right and {tests.confidence[test_idx]:.0%} sure, but retrained without "
                f"{f'its {k} strongest training examples' if k > 1 else 'its strongest training example'}, the models "
                "answer something else.",
                int(test_idx),
            )
            return


def _odd_label(run: Run) -> Iterator[Story]:
    """The train example whose label the models, trained on it, believe least."""
    rows = run.rows(
        "SELECT p.idx, label_name, avg(p_label) AS mean FROM predictions p "
        "JOIN examples e ON e.split = p.split AND e.idx = p.idx WHERE p.split = 'train' AND p_label IS NOT NULL "
        "GROUP BY ALL HAVING mean < 0.5 ORDER BY mean, p.idx LIMIT 1"
    )
    for idx, name, p_label in rows:
        text = f"Labelled {name}, but the model gives this label only {p_label:.0%}, even after training on it."
        yield Story("Looks mislabelled", text, train_idx=int(idx))


def _against_its_own(run: Run) -> Iterator[Story]:
    """The train example that is most often among the strongest opponents of test examples with its own label."""
    rows = run.rows(
        "SELECT train_idx, train.label_name, count(*) AS n FROM topk "
        "JOIN examples train ON train.split = 'train' AND train.idx = train_idx "
        "JOIN examples test ON test.split = 'test' AND test.idx = test_idx "
        "WHERE method = ? AND side = 'opponent' AND rank <= 5 AND score < 0 AND train.label = test.label "
        "GROUP BY ALL ORDER BY n DESC, train_idx LIMIT 1",
        [run.info.method],
    )
    for train_idx, name, n in rows:
        yield Story(
            "Speaks against its own class",
            f"Labelled {name}, and among the 5 strongest opponents of {n} test example{'s' if n > 1 else ''} labelled "
            f"{name} too.",
            train_idx=int(train_idx),
        )


def _near_duplicate(space: FeatureSpace) -> Iterator[Story]:
    """The test example that is nearest to a train example; not told unless they are near-duplicates."""
    if not len(space.test) or not len(space.train):
        return
    step = max(1, len(space.test) // MAX_TESTS)
    cosines = space.test[::step] @ space.train.T
    place, train_idx = np.unravel_index(int(cosines.argmax()), cosines.shape)
    if cosines[place, train_idx] < DUPLICATE_COSINE:
        return
    yield Story(
        "A near-duplicate in the training data",
        f"To the model, training example {train_idx} is this test example again: its answer is partly memory.",
        int(place) * step,
        int(train_idx),
    )


def _by_loss(run: Run, tests: TestOverview) -> Iterator[Story]:
    if np.isnan(tests.loss).any():
        yield Story("The first test example", f"{answered(tests.answers[0], has_answer(run))}.", 0)
        return
    what = "answer" if has_answer(run) else "test example"
    for title, idx in (
        (f"The {what} that is furthest off", int(tests.loss.argmax())),
        (f"The {what} that fits best", int(tests.loss.argmin())),
    ):
        yield Story(title, f"{answered(tests.answers[idx], has_answer(run))}.", idx)
