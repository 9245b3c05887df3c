"""What speaks for and against the label of one train example."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trak_core.store.run import Run
from trak_core.views.browse import train_probabilities
from trak_core.views.examples import Example, ScoredExample, read_examples, scored_examples, shows_texts
from trak_core.views.neighbours import FeatureSpace


@dataclass(frozen=True)
class SuspectEvidence:
    """What speaks for and against the label of one train example."""

    example: Example  # the suspect
    suggested_label: int | None  # the other label, None where the ranking has none
    suggested_name: str | None  # its name
    p_label: float | None  # probability of the given label, averaged over checkpoints; None where it is not known
    top_label: int | None  # the class that the checkpoints find most probable; None where it is not known
    p_top: float | None  # its probability, likewise
    # test examples whose label it lowers most, of those that have it among their strongest opponents
    hurts: list[ScoredExample]
    helps: list[ScoredExample]  # test examples whose label it raises most, likewise
    like_given: list[ScoredExample]  # train examples of the given label that the model learns from most alike
    like_suggested: list[ScoredExample]  # those of the suggested label, likewise
    names: tuple[str, ...]  # of all classes

    @property
    def models_disagree(self) -> bool:
        """True when the models, trained on the given label, still find another one more probable."""
        return self.top_label is not None and self.top_label != self.example.label


def suspect_evidence(
    run: Run, space: FeatureSpace | None, train_idx: int, suggested_label: int | None, k: int | None = None
) -> SuspectEvidence:
    """What speaks for and against the label of one train example, and for another label where one is suggested.

    Lists are of `k` examples; by default as many as fit on a page, 6 pictures or 4 texts. Early in a build, when there
    are no features, nothing is known to be alike.

    Raises:
        NotInRunError: there is no such train example.
    """
    example = read_examples(run, "train", [run.check_train(train_idx)])[0]
    k = k or (4 if shows_texts(run) else 6)
    probabilities = train_probabilities(run, train_idx)
    # A label turns the gradient of an example around, away from those of the class that it really belongs to. So the
    # ones that are most alike under another label point the opposite way, and it is the size of the cosine that counts.
    alike = np.full(run.info.n_train, -1, dtype=np.float32)
    if space is not None:
        alike = np.abs(space.train @ space.train[train_idx])
        alike[train_idx] = -1
    return SuspectEvidence(
        example=example,
        suggested_label=suggested_label,
        suggested_name=None if suggested_label is None else run.info.class_names[suggested_label],
        p_label=None if probabilities is None else float(probabilities[example.label]),
        top_label=None if probabilities is None else int(probabilities.argmax()),
        p_top=None if probabilities is None else float(probabilities.max()),
        hurts=_moved(run, train_idx, "opponent", k),
        helps=_moved(run, train_idx, "proponent", k),
        like_given=_alike(run, alike, example.label, k),
        like_suggested=[] if suggested_label is None else _alike(run, alike, suggested_label, k),
        names=run.info.class_names,
    )


def _moved(run: Run, train_idx: int, side: str, k: int) -> list[ScoredExample]:
    """Test examples that have it in a top list, the most moved first; only scores of that side's sign count."""
    rows = run.rows(
        "SELECT test_idx, score FROM topk WHERE method = ? AND train_idx = ? AND side = ? AND (score < 0) = ? "
        "ORDER BY abs(score) DESC, test_idx LIMIT ?",
        [run.info.method, train_idx, side, side == "opponent", k],
    )
    return scored_examples(run, "test", [idx for idx, _ in rows], [score for _, score in rows])


def _alike(run: Run, alike: NDArray[np.float32], label: int, k: int) -> list[ScoredExample]:
    members = np.flatnonzero((run.train_labels == label) & (alike >= 0))
    nearest = members[np.argsort(-alike[members], kind="stable")[:k]]
    return scored_examples(run, "train", nearest.tolist(), np.minimum(alike[nearest], 1).tolist())
