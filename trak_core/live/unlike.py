"""Is an input unlike what the model was trained on? Then its answer and its explanation mean little.

The distance of an input is one minus the cosine between its representation (what the model sees before its last layer)
and that of the nearest train example, mean over some checkpoints. It is compared with the distances of the run's own
test examples: beyond their 99th percentile an input is called unlike. Words that the model does not know never reach
its representation, so a text is also compared by its share of known words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trak_core.gradients import Inputs, StateDict, representations
from trak_core.inputs import count
from trak_core.methods import MethodContext
from trak_core.tasks import Task

N_CHECKPOINTS = 5
PERCENTILE = 99.0


@dataclass(frozen=True)
class Unlike:
    """How far an input is from the train examples."""

    distance: float  # to the nearest train example, 0 to 2
    usual: float  # the 99th percentile of that distance over the run's test examples
    known: float | None = None  # share of its words that the model knows, 0 to 1; None where it takes everything
    usual_known: float | None = None  # the 1st percentile of that share over the run's test examples; None likewise

    @property
    def is_far(self) -> bool:
        """True when the representation is farther from all train examples than those of 99 in 100 test examples."""
        return self.distance > self.usual

    @property
    def has_unknown_words(self) -> bool:
        """True when fewer of the words are known than in 99 of 100 test texts."""
        return self.known is not None and self.usual_known is not None and self.known < self.usual_known


@dataclass(frozen=True)
class Similarity:
    """What new inputs are compared with."""

    architecture: nn.Module
    states: Sequence[StateDict]
    # representations of the train examples of length 1, `[n_train, n_features]` for each checkpoint
    train: list[Tensor]
    distances: NDArray[np.float32]  # of the test examples `[n_test]`, float32
    # share of known words in each test text `[n_test]`; None where the model takes everything
    known: NDArray[np.float64] | None
    task: Task  # by which the model is asked

    @classmethod
    def of(cls, context: MethodContext, known: NDArray[np.float64] | None) -> "Similarity":
        """The similarity to the train examples of a context, with the usual distances of its test examples."""
        architecture, states = context.architecture, context.states[:N_CHECKPOINTS]
        train = [_directions(architecture, weights, context.train.inputs, context.task) for weights in states]
        bare = cls(architecture, states, train, np.empty(0, dtype=np.float32), known, context.task)
        return replace(bare, distances=bare.measure(context.test.inputs))

    def measure(self, inputs: Inputs) -> NDArray[np.float32]:
        """Distances `[m]` of inputs to their nearest train examples."""
        total = torch.zeros(count(inputs))
        for weights, train in zip(self.states, self.train, strict=True):
            total += 1 - (_directions(self.architecture, weights, inputs, self.task) @ train.T).max(1).values
        return np.asarray((total / len(self.states)).numpy(), dtype=np.float32)

    def judge(self, inputs: Inputs, known: float | None = None) -> Unlike:
        """The verdict on one input `[1, ...]`; `known` is the share of known words of a text."""
        usual = float(np.percentile(self.distances, PERCENTILE))
        usual_known = None if self.known is None else float(np.percentile(self.known, 100 - PERCENTILE))
        return Unlike(float(self.measure(inputs)[0]), usual, known, usual_known)


def _directions(architecture: nn.Module, weights: StateDict, inputs: Inputs, task: Task) -> Tensor:
    return torch.nn.functional.normalize(representations(architecture, weights, inputs, task))
