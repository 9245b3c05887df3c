"""Scores new inputs against a run, with everything that does not depend on the input prepared once.

    scores(z) = factor * [mean over checkpoints of the attribution of z] * [mean over checkpoints of q]

as in `trak_core.engine.scoring`. Where the exact kernel of at least one checkpoint fits into the memory set aside, it
is used, with the ridge of the run: one checkpoint then follows the stored scores better than the projected features of
all of them. In larger runs the stored features are used, with the ridge that agrees best with stored scores of some
test examples. Either way a factor, fitted on those test examples, brings scores to the unit of the stored ones, and the
agreement is measured on other test examples.
"""

import threading
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.datasets import Pieces, Pixels, Tokens, Vocabulary, read_encoding
from trak_core.errors import InvalidSettingError
from trak_core.live.agreement import Agreement, Probe, compare, draw_probes, mean_spearman, slope
from trak_core.live.checkpoints import (
    ExactCheckpoint,
    FeatureCheckpoint,
    LiveCheckpoint,
    exact_bytes,
    feature_bytes,
    feature_map,
)
from trak_core.live.material import LiveMaterial, read_features, read_material
from trak_core.live.unlike import Likeness, Unlike, known_share
from trak_core.methods import RIDGES, GradientRows, PrimalKernel
from trak_core.projection import SketchMap
from trak_core.store.places import facts_here
from trak_core.store.run import Run
from trak_core.training import Ensemble

__all__ = ["MEMORY_BYTES", "Answer", "LiveScorer", "Way", "prepare_scorer"]

Way = Literal["exact", "features"]
MEMORY_BYTES = 160 * 2**20
"""For what checkpoints keep; fewer checkpoints are used where it is too little for all of them."""
MAX_EXACT = 5
"""Exact checkpoints in use: they follow the stored scores of digits at .997, and three more would add .001."""
BATCH = 256


@dataclass(frozen=True)
class Answer:
    """What the model says of one new input, and why.

    Attributes:
        predicted: the class that it answers.
        probabilities: of all classes, mean over checkpoints `[n_classes]`, float32.
        scores: `[n_classes, n_train]` float32, in the unit of the stored ones: row c explains class c.
        agreement: of live with stored scores, for labels; None where it could not be measured.
        agreement_of_others: the same for classes other than the label.
        unlike: how far the input is from the train examples.
    """

    predicted: int
    probabilities: NDArray[np.float32]
    scores: NDArray[np.float32]
    agreement: Agreement | None
    agreement_of_others: Agreement | None
    unlike: Unlike

    def agreement_for(self, asked_class: int) -> Agreement | None:
        """The agreement that holds for scores that explain a class."""
        return self.agreement if asked_class == self.predicted else self.agreement_of_others


@dataclass(frozen=True)
class LiveScorer:
    """Ready to score inputs of one run. Made by `prepare_scorer`; threads may share it and take turns.

    Attributes:
        way: "exact" or "features".
        checkpoints: in use, by checkpoint_id from 0.
        ridge: relative to the mean squared norm.
        factor: to the unit of stored scores for labels.
        factor_of_others: the same for other classes.
        q: weights of the train examples `[n_train]`.
        gradients: of the model output.
        ensemble: all checkpoints, for probabilities.
        likeness: to the train examples.
        input_shape: of one input.
        input_dtype: of inputs, int64 where they are the numbers of words.
        encoding: what turns a text or an image into an input; None where the run does not tell.
        ink_range: the smallest and the largest number in the train inputs.
        agreement: for labels.
        agreement_of_others: for other classes.
        n_bytes: memory that `checkpoints` keep.
    """

    way: Way
    checkpoints: list[LiveCheckpoint]
    ridge: float
    factor: float
    factor_of_others: float
    q: Tensor
    gradients: GradientRows
    ensemble: Ensemble
    likeness: Likeness
    input_shape: tuple[int, ...]
    input_dtype: torch.dtype
    encoding: Vocabulary | Pixels | Tokens | Pieces | None
    ink_range: tuple[float, float]
    agreement: Agreement | None
    agreement_of_others: Agreement | None
    n_bytes: int
    # Gradients are caught by hooks on one shared module, so two threads must not compute them at once.
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def probabilities(self, inputs: Tensor) -> NDArray[np.float32]:
        """Probabilities `[m, n_classes]`, mean over checkpoints."""
        with self._turn:
            return np.asarray(self.ensemble.logits(inputs).softmax(-1).mean(0).numpy())

    def attribute(self, inputs: Tensor, asked: Tensor) -> NDArray[np.float32]:
        """Scores `[m, n_train]` of inputs for the classes asked about `[m]`, in the unit of labels."""
        with self._turn:
            raw = raw_scores(self.checkpoints, self.gradients, self.q, inputs, asked)
        return raw * np.float32(self.factor)

    def answer(self, inputs: Tensor, text: str | None = None) -> Answer:
        """The answer for one input `[1, ...]`; `text` is what it was made from, for texts."""
        probabilities = self.probabilities(inputs)[0]
        predicted, n_classes = int(probabilities.argmax()), len(probabilities)
        scores = self.attribute(inputs.expand(n_classes, *inputs.shape[1:]), torch.arange(n_classes))
        scores[np.arange(n_classes) != predicted] *= np.float32(self.factor_of_others / self.factor)
        known = None
        if text is not None and isinstance(self.encoding, Vocabulary | Tokens):
            known = known_share(text, frozenset(self.encoding.words))
        with self._turn:
            unlike = self.likeness.judge(inputs, known)
        return Answer(predicted, probabilities, scores, self.agreement, self.agreement_of_others, unlike)


def raw_scores(
    checkpoints: list[LiveCheckpoint], gradients: GradientRows, q: Tensor, inputs: Tensor, asked: Tensor
) -> NDArray[np.float32]:
    """Scores `[m, n_train]` float32 without the factor, in batches so that only the result grows with m."""
    scores = np.empty((len(inputs), len(q)), dtype=np.float32)
    for start in range(0, len(inputs), BATCH):
        where = slice(start, start + BATCH)
        total = sum(each.attribute(gradients, inputs[where], asked[where]) for each in checkpoints)
        scores[where] = (total / len(checkpoints) * q).numpy()
    return scores


def prepare_scorer(run: Run, way: Way | None = None, memory_bytes: int = MEMORY_BYTES) -> LiveScorer:
    """The scorer of a run: seconds of work, and up to `memory_bytes` besides the data of the recipe.

    Args:
        run: of a recipe.
        way: None takes the exact kernel where it fits into the memory, otherwise the stored features.
        memory_bytes: for what checkpoints keep.

    Raises:
        NeedNotMetError: the run has no recipe, no checkpoints or no stored features.
        RunMismatchError: the data or a checkpoint is not what the run was made with.
        InvalidSettingError: there is no such way.
    """
    if way not in (None, "exact", "features"):
        raise InvalidSettingError(f"way={way!r}; it must be 'exact', 'features', or None to have it chosen.")
    material = read_material(run)
    gradients = GradientRows(
        material.architecture,
        material.subject.task,
        material.states[0],
        material.train_inputs,
        material.train_labels,
    )
    n_train = len(material.train_labels)
    width = gradients.whole(material.states[0], material.train_inputs[:1], material.train_labels[:1]).shape[1]
    n_exact = memory_bytes // exact_bytes(n_train, width)
    way = way or ("exact" if n_exact else "features")
    to_choose, to_measure = draw_probes(run, other_class=False)
    if way == "exact":
        n_used, size = min(n_exact, MAX_EXACT), exact_bytes(n_train, width)
        n_used = max(1, min(n_used, len(material.states)))
        ridge = float(run.info.provenance["ridge"])
        checkpoints: list[LiveCheckpoint] = [
            ExactCheckpoint.of(gradients, weights, material.train_inputs, material.train_labels, ridge)
            for weights in material.states[:n_used]
        ]
    else:
        size = feature_bytes(n_train, run.info.proj_dim)
        n_used = max(1, min(memory_bytes // size, len(material.states)))
        ridge = _best_ridge(run, material, gradients, to_choose, n_used)
        checkpoints = [
            FeatureCheckpoint.of(material.states[i], _projection(run, gradients, i), read_features(run, i), ridge)
            for i in range(n_used)
        ]

    def scored(probe: Probe) -> NDArray[np.float32]:
        inputs = material.test_inputs[torch.from_numpy(probe.test_idx)]
        return raw_scores(checkpoints, gradients, material.q, inputs, torch.from_numpy(probe.asked))

    factor = slope(scored(to_choose), to_choose.stored)
    others_to_choose, others_to_measure = draw_probes(run, other_class=True)
    factor_of_others = slope(scored(others_to_choose), others_to_choose.stored)
    return LiveScorer(
        way=way,
        checkpoints=checkpoints,
        ridge=ridge,
        factor=factor,
        factor_of_others=factor_of_others,
        q=material.q,
        gradients=gradients,
        ensemble=Ensemble.from_state_dicts(
            material.architecture, material.states, "cpu", material.subject.trains_together
        ),
        likeness=_likeness(material),
        input_shape=tuple(material.train_inputs.shape[1:]),
        input_dtype=material.train_inputs.dtype,
        encoding=read_encoding(facts_here(run)),
        ink_range=(float(material.train_inputs.min()), float(material.train_inputs.max())),
        agreement=compare(scored(to_measure), to_measure.stored),
        agreement_of_others=compare(scored(others_to_measure), others_to_measure.stored),
        n_bytes=n_used * size,
    )


def _projection(run: Run, gradients: GradientRows, checkpoint_id: int) -> SketchMap:
    return feature_map(gradients, run.info.proj_dim, run.info.provenance["seed"], checkpoint_id)


def _best_ridge(run: Run, material: LiveMaterial, gradients: GradientRows, probe: Probe, n_used: int) -> float:
    """The ridge whose scores agree best with stored ones."""
    inputs, asked = material.test_inputs[torch.from_numpy(probe.test_idx)], torch.from_numpy(probe.asked)
    totals = {ridge: torch.zeros(probe.stored.shape) for ridge in RIDGES}
    for checkpoint_id in range(n_used):
        weights, projection = material.states[checkpoint_id], _projection(run, gradients, checkpoint_id)
        train = read_features(run, checkpoint_id).double()
        phi = gradients.projected(weights, inputs, asked, projection)[0].double()
        kernel = PrimalKernel.of([train])
        for ridge in RIDGES:
            totals[ridge] += (kernel.precondition(phi, kernel.factorize(ridge)) @ train.T).float()
    return max(RIDGES, key=lambda ridge: mean_spearman((totals[ridge] * material.q).numpy(), probe.stored))


def _likeness(material: LiveMaterial) -> Likeness:
    dataset = material.subject.dataset
    known = None
    if isinstance(dataset.encoding, Vocabulary | Tokens):
        words = frozenset(dataset.encoding.words)
        known = np.asarray([known_share(text, words) for text in dataset.test.texts or []])
    return Likeness.of(material.architecture, material.states, material.train_inputs, material.test_inputs, known)
