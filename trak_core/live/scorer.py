"""Scores new inputs against a run, with everything that does not depend on the input prepared once.

    scores(z) = factor * [mean over checkpoints of the attribution of z] * [mean over checkpoints of q]

as in `trak_core.methods.trak_loop`. The attribution is that of `trak_core.methods.kernels`, in two ways:

- "exact", from whole gradients of the train examples, as stored TRAK scores are made: k(z) (K + l I)^-1. Memory grows
  with `n_train` squared. It is used where the kernel of at least one checkpoint fits into the memory set aside, with
  the ridge of the run: one checkpoint then follows the stored scores better than the projected features of all.
- "features", from the stored features phi (projected gradients): phi(z) G, G = (Phi^T Phi + l I)^-1 Phi^T
  `[proj_dim, n_train]`. It takes runs of any size, and pays with the noise of the projection. The ridge is the one that
  agrees best with stored scores of some test examples.

Either way a factor, fitted on those test examples, brings scores to the unit of the stored ones, and the agreement is
measured on other test examples.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.errors import InvalidSettingError, NeedNotMetError
from trak_core.gradients import StateDict
from trak_core.inputs import ArrayInputs, apply, take
from trak_core.live.agreement import Agreement, Probe, compare, draw_probes, mean_spearman, slope
from trak_core.live.context import LiveContext, read_context, read_features
from trak_core.live.unlike import Similarity, Unlike
from trak_core.methods import RIDGES, Average, CheckpointKernel, GradientRows, Kernels, SolvedKernel, mean_scores
from trak_core.modalities import Encoding, Modality, find_modality
from trak_core.projection import SjltProjection, SketchMap
from trak_core.seeds import derive_seed
from trak_core.store.run import Run
from trak_core.tasks import Answer as Said
from trak_core.tasks import Inputs, Targets, Task
from trak_core.training import Ensemble

Way = Literal["exact", "features"]
MEMORY_BYTES = 160 * 2**20
"""For what checkpoints keep; fewer checkpoints are used where it is too little for all of them."""
MAX_EXACT = 5
"""Exact checkpoints in use: they follow the stored scores of digits at .997, and three more would add .001."""
BATCH = 256


@dataclass(frozen=True)
class LiveCheckpoint:
    """One checkpoint, ready to score new inputs: what does not depend on them is prepared."""

    weights: StateDict  # of the model
    kernel: SolvedKernel  # over the train examples, with its ridge

    def attribute(self, gradients: GradientRows, inputs: Inputs, targets: Tensor) -> Tensor:
        """Attributions `[m, n_train]` float32 of m inputs and what is asked about them `[m, ...]`."""
        rows = gradients.blocks(self.weights, inputs, targets, self.kernel.feature_map)
        return self.kernel.attribute(torch.cat(list(rows)))


@dataclass(frozen=True)
class Answer:
    """What the model says of one new input, and why."""

    predicted: int  # the class that it answers
    probabilities: NDArray[np.float32]  # of all classes, mean over checkpoints `[n_classes]`, float32
    # `[n_classes, n_train]` float32, in the unit of the stored ones: row c explains class c
    scores: NDArray[np.float32]
    agreement: Agreement | None  # of live with stored scores, for labels; None where it could not be measured
    agreement_of_others: Agreement | None  # the same for classes other than the label
    unlike: Unlike  # how far the input is from the train examples

    def agreement_for(self, target: int) -> Agreement | None:
        """The agreement that holds for scores that explain a class."""
        return self.agreement if target == self.predicted else self.agreement_of_others


@dataclass(frozen=True)
class LiveScorer:
    """Ready to score inputs of one run. Made by `prepare_scorer`; threads may share it and take turns."""

    way: Way  # "exact" or "features"
    checkpoints: list[LiveCheckpoint]  # in use, by checkpoint_id from 0
    ridge: float  # relative to the mean squared norm
    factor: float  # to the unit of stored scores for labels
    factor_of_others: float  # the same for other classes
    q: Tensor  # weights of the train examples `[n_train]`
    task: Task  # on the query side
    gradients: GradientRows  # of the model output, on the query side
    ensemble: Ensemble  # all checkpoints, for probabilities
    similarity: Similarity  # to the train examples
    modality: Modality  # of its examples
    encoding: Encoding | None  # what turns new examples into inputs; None where the run does not tell
    example: ArrayInputs  # inputs of one train example, whose form new inputs must have
    agreement: Agreement | None  # for labels
    agreement_of_others: Agreement | None  # for other classes
    n_bytes: int  # memory that `checkpoints` keep
    # Gradients are caught by hooks on one shared module, so two threads must not compute them at once.
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def says(self, inputs: Inputs) -> Said:
        """What the checkpoints answer together.

        Raises:
            NeedNotMetError: the task has no answer of its own.
        """
        with self._turn:
            answers = self.ensemble.answers(self.task, self.ensemble.outputs(self.task, inputs))
        if not answers:
            then = "give labels" if self.task.has_classes else "define answer(outputs), and build the run again"
            raise NeedNotMetError(f"task {self.task.name!r} has no answer of its own to explain; {then}.")
        return Said.mean(answers)

    def attribute(self, inputs: Inputs, targets: Tensor) -> NDArray[np.float32]:
        """Scores `[m, n_train]` of inputs for what is asked about them `[m, ...]`, in the unit of labels."""
        with self._turn:
            raw = raw_scores(self.checkpoints, self.gradients, self.q, inputs, targets)
        return raw * np.float32(self.factor)

    def answer(self, inputs: Inputs, contents: Any = None) -> Answer:
        """The answer for one input `[1, ...]`; `contents` is what it was made from, where that is known."""
        said = self.says(inputs)
        if said.probabilities is None:
            raise NeedNotMetError(f"task {self.task.name!r} has no classes, and so no probabilities of them.")
        probabilities, predicted = np.asarray(said.probabilities[0].numpy()), int(said.value[0])
        with self._turn:
            targets = Targets.of(self.task, self.ensemble.outputs(self.task, inputs)[0], said.value).every[0]
        n_classes = len(targets)
        repeated = apply(lambda leaf: leaf.expand(n_classes, *leaf.shape[1:]), inputs)
        scores = self.attribute(repeated, targets)
        scores[np.arange(n_classes) != predicted] *= np.float32(self.factor_of_others / self.factor)
        known = None
        if contents is not None and self.encoding is not None and self.encoding.has_unknowns:
            known = float(self.encoding.known_share(contents)[0])
        with self._turn:
            unlike = self.similarity.judge(inputs, known)
        return Answer(predicted, probabilities, scores, self.agreement, self.agreement_of_others, unlike)


def raw_scores(
    checkpoints: list[LiveCheckpoint], gradients: GradientRows, q: Tensor, inputs: Inputs, targets: Tensor
) -> NDArray[np.float32]:
    """Scores `[m, n_train]` float32 without the factor, in batches so that only the result grows with m."""
    scores = np.empty((len(targets), len(q)), dtype=np.float32)
    for start in range(0, len(targets), BATCH):
        where = slice(start, start + BATCH)
        found = Average()
        for each in checkpoints:
            found.add(each.attribute(gradients, take(inputs, where), targets[where]))
        scores[where] = (found.mean * q).numpy()
    return scores


def prepare_scorer(run: Run, way: Way | None = None, memory_bytes: int = MEMORY_BYTES) -> LiveScorer:
    """The scorer of a run: seconds of work, and up to `memory_bytes` besides the data of the recipe.

    Args:
        run: of a recipe.
        way: None takes the exact kernel where it fits into the memory, otherwise the stored features.
        memory_bytes: for what checkpoints keep.

    Raises:
        InvalidSettingError: there is no such way.
        Others as in `read_context`.
    """
    if way not in (None, "exact", "features"):
        raise InvalidSettingError(f"way={way!r}; it must be 'exact', 'features', or None to have it chosen.")
    live = read_context(run)
    context, states, train = live.context, live.context.states, live.context.train
    n_train, proj_dim = len(train), run.info.proj_dim
    # Of one checkpoint, in float32.
    sizes = {"exact": 4 * n_train * (n_train + context.gradients.whole_map.width), "features": 4 * n_train * proj_dim}
    way = way or ("exact" if sizes["exact"] <= memory_bytes else "features")
    n_bytes = sizes[way]
    n_used = max(1, min(memory_bytes // n_bytes, len(states), MAX_EXACT if way == "exact" else len(states)))

    def kernel(index: int) -> CheckpointKernel:
        if way == "exact":
            whole = context.gradients.whole(states[index], train.inputs, train.targets)
            return CheckpointKernel([whole], context.gradients.whole_map, dual=True)
        # The projection by which the build made these features.
        projection = SjltProjection(proj_dim, derive_seed(run.info.provenance["seed"], "projection", index))
        # In float64: the solve loses digits, its result does not need them.
        features = read_features(run, index).double()
        return CheckpointKernel([features], SketchMap(context.gradients.layers, projection), dual=False)

    if way == "exact":
        ridge = float(run.info.provenance["ridge"])
    else:
        ridge = _best_ridge(live, draw_probes(run, other_class=False)[0], Kernels(kernel, n_used))
    checkpoints = [LiveCheckpoint(states[i], kernel(i).solved(ridge)) for i in range(n_used)]

    def scored(probe: Probe) -> NDArray[np.float32]:
        asked = live.asked(probe)
        return raw_scores(checkpoints, context.query_gradients, live.q, asked.inputs, asked.targets)

    def factor_and_agreement(other_class: bool) -> tuple[float, Agreement | None]:
        to_choose, to_measure = draw_probes(run, other_class)
        factor = slope(scored(to_choose), to_choose.stored)
        return factor, compare(scored(to_measure), to_measure.stored)

    factor, agreement = factor_and_agreement(other_class=False)
    factor_of_others, agreement_of_others = factor_and_agreement(other_class=True)
    dataset, together = live.subject.dataset, live.subject.trains_together
    return LiveScorer(
        way=way,
        checkpoints=checkpoints,
        ridge=ridge,
        factor=factor,
        factor_of_others=factor_of_others,
        q=live.q,
        task=context.task.query,
        gradients=context.query_gradients,
        ensemble=Ensemble.from_state_dicts(context.architecture, states, "cpu", together),
        similarity=_similarity(live),
        modality=find_modality(run.info.modality),
        encoding=dataset.encoding,
        example=take(dataset.train.inputs, slice(1)),
        agreement=agreement,
        agreement_of_others=agreement_of_others,
        n_bytes=n_used * n_bytes,
    )


def _best_ridge(live: LiveContext, probe: Probe, kernels: Kernels) -> float:
    """The ridge whose scores agree best with stored ones."""
    context, asked = live.context, live.asked(probe)

    def rows(index: int) -> Iterator[Tensor]:
        feature_map = kernels[index].feature_map
        for block in context.query_gradients.blocks(context.states[index], asked.inputs, asked.targets, feature_map):
            yield block.double()

    found = dict(zip(RIDGES, mean_scores(kernels, rows, RIDGES, live.q), strict=True))
    return max(RIDGES, key=lambda ridge: mean_spearman(found[ridge].float().numpy(), probe.stored))


def _similarity(live: LiveContext) -> Similarity:
    dataset = live.subject.dataset
    encoding, known = dataset.encoding, None
    if encoding is not None and encoding.has_unknowns:
        known = encoding.known_share(find_modality(dataset.modality).contents(dataset.test.media, encoding))
    return Similarity.of(live.context, known)
