"""UnTrac and UnTrac-Inv: the influence of whole groups of train examples, by unlearning.

UnTrac climbs the loss of a group of train examples from the trained weights; what this does to the loss of a test
example is the influence of the group on it. UnTrac-Inv climbs the loss of the test example and sees what this does to
the losses of the groups: one short ascent a question, however many groups there are.

    UnTrac:      I(z, Z) = L(z; theta_Z) - L(z; theta),                   theta_Z after ascending on Z
    UnTrac-Inv:  I(z, Z) = sum over i in Z of L_i(theta_z) - L_i(theta),  theta_z after ascending on z

Both are positive where the group helps. Ascent is by a fresh Adam at a constant rate; by plain gradients it does not
work. Dropout is off. The rate decides: choose it on test examples that nothing is reported on.

Source: Isonuma and Titov 2024, "Unlearning traces the influential training data of language models", arXiv 2401.15241.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from trak_core.errors import InvalidSettingError, TrainingDivergedError
from trak_core.gradients import StateDict, find_layers, prepared, take
from trak_core.methods.context import Examples, MethodContext, Need
from trak_core.methods.groups import Groups
from trak_core.seeds import derive_seed
from trak_core.tasks import Task

NEEDS = (Need.CHECKPOINTS, Need.LOSS)
READ_AT_ONCE = 64
"""Examples whose losses are read at once, or as many as gradients are computed of at once where these are fewer."""


@dataclass(frozen=True)
class Unlearning:
    """How the loss is climbed.

    Raises:
        InvalidSettingError: a setting cannot be.
    """

    learning_rate: float = 5e-5  # of Adam, constant
    batch_size: int = 1  # examples a step; the last batch of an epoch may be smaller
    epochs: int = 1  # passes over what is unlearnt

    def __post_init__(self) -> None:
        if not self.learning_rate > 0 or self.batch_size < 1 or self.epochs < 1:
            raise InvalidSettingError(
                f"learning_rate={self.learning_rate}, batch_size={self.batch_size}, epochs={self.epochs}; the rate "
                "must be above 0, and the others whole numbers from 1."
            )


UNTRAC, UNTRAC_INVERSE = Unlearning(), Unlearning(batch_size=256, epochs=5)
"""The settings of the paper."""


def untrac(context: MethodContext, groups: Groups, how: Unlearning = UNTRAC) -> Tensor:
    """UnTrac of each group of train examples for each test example `[n_test, n_groups]`, mean over checkpoints.

    One ascent a group and checkpoint, each of as many steps as the group has batches.

    Raises:
        NeedNotMetError: there are no checkpoints, or the task tells no loss.
        InvalidSettingError: the groups are of another number of train examples.
        TrainingDivergedError: an ascent leads to losses that are not finite.
    """
    context.require("untrac", NEEDS)
    groups.check(len(context.train), "train")
    rises = []
    for number, model in enumerate(_models(context)):
        before = model.losses(context.test, is_query=True)
        after = []
        for group, name in enumerate(groups.names):
            model.unlearn(context.train, groups.members(group), how, derive_seed(context.seed, "untrac", number, group))
            after.append(_finite(model.losses(context.test, is_query=True), f"group {name!r}", how))
        rises.append(torch.stack(after, dim=1) - before[:, None])
    return torch.stack(rises).mean(0)


def untrac_inverse(
    context: MethodContext, groups: Groups, how: Unlearning = UNTRAC_INVERSE, questions: Groups | None = None
) -> Tensor:
    """UnTrac-Inv of each group of train examples for each question `[n_questions, n_groups]`, mean over checkpoints.

    Args:
        context: of the models and examples.
        groups: of the train examples.
        how: the loss of a question is climbed.
        questions: groups of test examples that are unlearnt together, as the paper does with all of them; each test
            example alone when None.

    Raises:
        As `untrac`.
    """
    context.require("untrac_inverse", NEEDS)
    groups.check(len(context.train), "train")
    if questions is None:
        questions = Groups.of_names([str(number) for number in range(len(context.test))])
    questions.check(len(context.test), "test")
    rises = []
    for number, model in enumerate(_models(context)):
        before = model.losses(context.train)
        after = []
        for question, name in enumerate(questions.names):
            seed = derive_seed(context.seed, "untrac inverse", number, question)
            model.unlearn(context.test, questions.members(question), how, seed, is_query=True)
            after.append(_finite(model.losses(context.train), f"question {name!r}", how))
        rises.append(groups.sums(torch.stack(after) - before))
    return torch.stack(rises).mean(0)


class _Model:
    """A model that unlearns, and begins again at the same weights."""

    def __init__(self, context: MethodContext, weights: StateDict) -> None:
        architecture = copy.deepcopy(context.architecture).eval()
        architecture.load_state_dict(weights, strict=False)
        self.model: nn.Module = architecture.to(context.train.device)
        self.task = prepared(context.task, context.architecture, weights)
        self._at_once = min(READ_AT_ONCE, context.computing.batch_size)
        self.query = prepared(context.task.query, context.architecture, weights)
        chosen = {
            name for layer in find_layers(architecture, context.computing.parameters) for name in layer.parameters
        }
        self.climbed = {name: value for name, value in self.model.named_parameters() if name in chosen}
        self._start = {name: value.detach().clone() for name, value in self.climbed.items()}
        for name, value in self.model.named_parameters():
            value.requires_grad_(name in chosen)

    def _task(self, is_query: bool) -> Task:
        return self.query if is_query else self.task

    @torch.no_grad()
    def losses(self, examples: Examples, is_query: bool = False) -> Tensor:
        """Losses `[n]` at the weights as they are."""
        task, found = self._task(is_query), []
        for start in range(0, len(examples), self._at_once):
            part = slice(start, start + self._at_once)
            outputs = task.outputs_of(self.model, take(examples.inputs, part))
            found.append(task.loss(outputs, examples.targets[part]))
        return torch.cat(found)

    @torch.inference_mode(False)
    def unlearn(
        self, examples: Examples, members: np.ndarray, how: Unlearning, seed: int, is_query: bool = False
    ) -> None:
        """Climbs the loss of some examples from the trained weights."""
        with torch.no_grad():
            for name, value in self.climbed.items():
                value.copy_(self._start[name])
        task, random = self._task(is_query), np.random.default_rng(seed)
        adam = torch.optim.Adam(list(self.climbed.values()), lr=how.learning_rate, maximize=True)
        with torch.enable_grad():
            for _ in range(how.epochs):
                order = torch.from_numpy(random.permutation(members)).to(examples.targets.device)
                for batch in torch.split(order, how.batch_size):
                    outputs = task.outputs_of(self.model, take(examples.inputs, batch))
                    loss = task.loss(outputs, examples.targets[batch]).mean()
                    adam.zero_grad(set_to_none=True)
                    loss.backward()  # type: ignore[no-untyped-call]
                    adam.step()


def _models(context: MethodContext) -> Iterator[_Model]:
    """One for each checkpoint, one after another."""
    return (_Model(context, weights) for weights in context.states)


def _finite(losses: Tensor, what: str, how: Unlearning) -> Tensor:
    if not losses.isfinite().all():
        raise TrainingDivergedError(
            f"unlearning {what} leads to losses that are not finite; climb at a lower rate than "
            f"learning_rate={how.learning_rate:g}."
        )
    return losses
