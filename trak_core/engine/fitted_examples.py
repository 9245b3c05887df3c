"""Any method for an `Attributor`: the train examples lie in memory, and a method sees them with the test examples."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_map

from trak_core.engine.featurizer import Features
from trak_core.engine.fitted import Fitted, Question, Setup, train_labels
from trak_core.engine.plan import plan_for_method
from trak_core.engine.scoring import own_errors
from trak_core.errors import InvalidDataError, NeedNotMetError, NonFiniteGradientError, OutOfMemoryError
from trak_core.gradients import n_parameters
from trak_core.inputs import leaves, take
from trak_core.methods import Examples, GradientSettings, Method, MethodContext, Scores
from trak_core.projection import WholeMap
from trak_core.subjects.batches import Batch, Block, Data
from trak_core.tasks.ragged import IGNORED, joined, same_length
from trak_core.training.weights import digest_of

ADVICE = "use fewer examples, or select fewer parameters with parameters=..."


class FittedExamples(Fitted):
    """All train examples, for a method of the registry.

    Args:
        method: that gives scores; its needs are met.
        setup: of the attributor.
        first: the first batch of the train examples, on which everything is chosen.
    """

    context: MethodContext  # for the method, once `compute` is through; its test examples are the train examples

    def __init__(self, method: Method, setup: Setup, first: Batch) -> None:
        super().__init__(setup, first)
        self._method = method
        plan = plan_for_method(self.options, self._computer, len(first), method.info.name)
        self.settings |= {"method": method.info.name, "proj_dim": self.options.proj_dim}
        if setup.logs:
            self.settings["logs"] = [[digest_of(end.parameters) for end in log.ends] for log in setup.logs]
        self._settle(plan, first, row_bytes=1)
        self._last: tuple[tuple[object, ...], Scores] | None = None

    def compute(self, data: Data, on_examples: Callable[[int], object]) -> None:
        """As in `Fitted`: reads the train examples.

        Raises:
            OutOfMemoryError: they do not fit into the memory budget.
            InvalidDataError: they have no labels, or differ in length.
            LabelError: a label is of the wrong kind or out of range.
        """
        questions, options = [], self.options
        labelled = ((block, train_labels(block)) for block in data.blocks(self.block_size))
        for block, labels in self._checked(labelled, "train"):
            questions.append((block, labels))
            on_examples(len(block))
        self.digests = [block.digest for block, _ in questions]
        train = self._examples(questions, "train")
        self.n_train = len(train)
        self._check_rows(0)
        at_once = self._featurizer.at_once(train.targets)
        self.context = MethodContext(
            task=self.task,
            architecture=self.setup.model,
            states=self.checkpoints.all_weights(),
            train=train,
            test=train,
            seed=options.seed,
            logs=self.setup.logs,
            ridge=options.ridge,
            proj_dim=options.proj_dim,
            computing=GradientSettings(options.parameters, options.precision, options.gradients, at_once),
            memory=options.memory_budget,
        )

    def iter_scores(self, questions: Iterable[Question], ridge: float) -> Iterator[Tensor]:
        """As in `Fitted`; the test examples are read whole before the first block comes."""
        scores = self._scores(questions, ridge)
        size, start = max(1, self.options.memory_budget // 8 // (4 * self.n_train)), 0
        for block in scores.blocks(min(256, size)):
            if not block.isfinite().all():
                place = start + int((~block.isfinite().all(1)).nonzero()[0, 0])
                raise NonFiniteGradientError(
                    f"method {self._method.info.name!r} gives scores that are not finite for test example {place}; "
                    "look at its input and at the checkpoints' weights."
                )
            yield block
            start += len(block)

    def predict(
        self, questions: Iterable[Question], masks: NDArray[np.bool_], ridges: Sequence[float]
    ) -> dict[float, NDArray[np.float64]]:
        """As in `Fitted`."""
        asked, given = list(questions), torch.from_numpy(masks).to(self.device)
        return {ridge: self._scores(asked, ridge).predict(given).double().cpu().numpy() for ridge in ridges}

    def self_influence(self, ridge: float) -> Tensor:
        """As in `Fitted`.

        Raises:
            NeedNotMetError: the method gives no train example a score for itself.
        """
        if self._last is None or self._last[0][0] != ridge:
            train = self.context.train
            one = Examples(take(train.inputs, slice(1)), train.targets[:1])
            self._last = ((ridge,), self._fit(replace(self.context, test=one, ridge=ridge)))
        own = self._last[1].self_influence()
        if own is None:
            raise NeedNotMetError(
                f"method {self._method.info.name!r} gives no scores of train examples for themselves; use trak, "
                "grad_dot or influence_ekfac."
            )
        return own.double()

    def features_of_run(self, split: str, checkpoint_id: int, block: Block, targets: Tensor, proj_dim: int) -> Features:
        """As in `Fitted`: computed, whatever the method."""
        return self.features(checkpoint_id, self.live_sketch(checkpoint_id, proj_dim), block, targets, split)

    # --- a method at work ---------------------------------------------------------------------------------

    def _scores(self, questions: Iterable[Question], ridge: float) -> Scores:
        """Scores of all questions; those of the last ones are kept, for who asks for both ends of them."""
        asked = list(self._checked(questions, "test"))
        key = (ridge, *(block.digest for block, _ in asked), *(targets.cpu().numpy().tobytes() for _, targets in asked))
        if self._last is None or self._last[0] != key:
            self._last = None
            test = self._examples(asked, "test")
            self._check_rows(len(test))
            self._last = (key, self._fit(replace(self.context, test=test, ridge=ridge)))
        return self._last[1]

    def _fit(self, context: MethodContext) -> Scores:
        info = self._method.info
        limit = info.max_checkpoints
        with own_errors(info.name, ADVICE):
            return self._method.fit(context if limit is None else context.first(limit))

    def _examples(self, questions: Sequence[Question], what: str) -> Examples:
        """The examples of several blocks in one piece, on the device."""
        batches = same_length([batch.inputs for block, _ in questions for batch in block.batches])
        shapes = {tuple(tuple(leaf.shape[1:]) for leaf in leaves(inputs)) for inputs in batches}
        if len(shapes) > 1:
            raise InvalidDataError(
                f"{what} examples come in batches of different lengths, and method {self._method.info.name!r} takes "
                "all of them at once; pad them to one length."
            )
        whole = tree_map(lambda *parts: torch.cat(parts), *batches)
        targets = joined([targets for _, targets in questions], IGNORED)
        return Examples(*self._moved(whole, targets))

    def _checked(self, questions: Iterable[Question], what: str) -> Iterator[Question]:
        """The questions, as long as they fit into memory and the task can work with their targets.

        Raises:
            OutOfMemoryError: they do not fit.
            Others as in the `check` of the task.
        """
        budget = self.options.memory_budget
        for block, targets in questions:
            n_held, size = block.start + len(block), block.batches[0].bytes_an_example
            if n_held * size > budget:
                raise OutOfMemoryError(
                    f"method {self._method.info.name!r} holds all {what} examples in memory, and the first "
                    f"{n_held:,} of {size:,} bytes each are more than memory_budget={budget:,}. Raise the budget, use "
                    "fewer, or use method='trak', which reads them block by block."
                )
            task, outputs = self.task_at(0, what), self.outputs(0, block, what)
            task.check(outputs, targets, block.start)
            if not (finite := task.model_output(outputs, targets).isfinite()).all():
                place = block.start + int((~finite).nonzero()[0, 0])
                raise NonFiniteGradientError(
                    f"the model output of {what} example {place} is not finite; look at its input and at the "
                    "checkpoints' weights."
                )
            yield block, targets

    def _check_rows(self, n_test: int) -> None:
        """Refuses gradients that do not fit into memory, before they are computed."""
        info, budget, n_all = self._method.info, self.options.memory_budget, len(self.checkpoints)
        n_checkpoints, flat = min(n_all, info.max_checkpoints or n_all), n_parameters(self.layers)
        packed = WholeMap(self.layers, self._computer.factored).width
        numbers = {
            "nothing": 0,
            "packed": (self.n_train + n_test) * n_checkpoints * packed,
            "flat": (self.n_train + n_test) * n_checkpoints * flat,
            "queries": n_test * flat,
        }
        if info.has_ridge:
            self.plan.check_kernel(self.n_train, self.dtype.itemsize)
        if (size := numbers[info.keeps] * self.dtype.itemsize) > budget:
            raise OutOfMemoryError(
                f"method {info.name!r} holds gradients of {self.n_train:,} train and {n_test:,} test examples in "
                f"memory, {size / 1e6:,.0f} MB at {n_checkpoints} checkpoint(s), more than memory_budget={budget:,}. "
                f"Raise the budget; {ADVICE}; or use method='trak', which keeps them in a file."
            )
