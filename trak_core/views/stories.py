"""Test examples worth a look, found by rules from the run's own data."""

from dataclasses import dataclass

import numpy as np

from trak_core.store.run import Run
from trak_core.views.browse import TestOverview

__all__ = ["Story", "find_stories"]


@dataclass(frozen=True)
class Story:
    """A way into a run.

    Attributes:
        title: a few words.
        text: one sentence that says what is to be seen.
        test_idx: the test example to open.
    """

    title: str
    text: str
    test_idx: int


def find_stories(run: Run, tests: TestOverview) -> list[Story]:
    """Up to three stories: a mistake, a confident hit and a close call; a story that the data lacks is left out.

    Without classes: the worst and the best answer.
    """
    if not run.info.has_classes:
        return _by_loss(tests)
    names = run.info.class_names
    right = tests.predicted == tests.labels
    stories = []
    if (~right).any():
        idx = int(np.argmax(np.where(right, -1.0, tests.confidence)))
        stories.append(
            Story(
                "A mistake and what is behind it",
                f"The model is {tests.confidence[idx]:.0%} sure of {names[tests.predicted[idx]]}, but the label says "
                f"{names[tests.labels[idx]]}.",
                idx,
            )
        )
    if right.any():
        idx = int(np.argmax(np.where(right, tests.confidence, -1.0)))
        text = f"The model calls this {names[tests.predicted[idx]]}, {tests.confidence[idx]:.0%} sure, and is right."
        stories.append(Story("A confident hit", text, idx))
        idx = int(np.argmin(np.where(right, tests.confidence, 2.0)))
        text = f"Right, but only {tests.confidence[idx]:.0%} sure of {names[tests.predicted[idx]]}."
        stories.append(Story("A close call", text, idx))
    return stories


def _by_loss(tests: TestOverview) -> list[Story]:
    if np.isnan(tests.loss).any():
        return [Story("The first test example", f"The model answers {tests.answers[0]}.", 0)]
    worst, best = int(tests.loss.argmax()), int(tests.loss.argmin())
    return [
        Story("The answer that is furthest off", f"The model answers {tests.answers[worst]}.", worst),
        Story("The answer that fits best", f"The model answers {tests.answers[best]}.", best),
    ]
