"""What every task says: one class with defaults, and a new task is one file.

A task turns what the model returns into one number for each example, the model output f, and tells how f makes the
loss: `q = -dL/df`. Everything else (gradients, kernels, scores, evidence) is the same for all tasks, and nothing
outside this folder asks which task it is.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trak_core.errors import InvalidSettingError, NeedNotMetError, running_own_code
from trak_core.inputs import in_numbers, to_device
from trak_core.tasks.answer import Answer
from trak_core.tasks.curvature import CurvaturePart, draw_parts, spectrum
from trak_core.tasks.outputs import Inputs, Model, at_weights, read_logits


class Task(ABC):
    """What a prediction is.

    `outputs` is what the model returns for a batch, `[n, ...]`; `target` is what is asked about each example,
    `[n, ...]`: its label or another class for classification, a number for regression, tokens for a language model.

    A task is asked on two sides: the task itself about train examples, `task.query` about test examples. On each side,
    `prepare` makes it ready for the weights of one checkpoint before anything else is asked there.

    Attributes:
        name: the word for the task in settings and stores, such as "image_classification".
        modality: what its examples are, for those who show them.
        has_classes: whether labels are numbers of named classes.
        is_quadratic: whether the loss is `(f - target)^2 / 2`, so that TRAK's scores are in the unit of f as they are.
    """

    name: str
    modality: str = "numbers"
    has_classes: bool = False
    is_quadratic: bool = False

    # --- the model output and the loss --------------------------------------------------------------------

    @abstractmethod
    def model_output(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The model output f `[n]`, differentiable in `outputs`; `torch.func.vmap` must be able to trace it."""

    @abstractmethod
    def out_to_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The weight q `[n]` of an example: `-dL/df`, with L the loss that the model was trained on."""

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The loss that the model was trained on, one value an example `[n]`; traced by `torch.func` as f is.

        Raises:
            NeedNotMetError: the task has none; see `has_loss`.
        """
        raise NeedNotMetError(
            f"task {self.name!r} has no loss, so that nothing can be trained with it and there is no curvature; define "
            "loss(outputs, target), which is loss_function=... of a trak_core.CustomTask."
        )

    @property
    def has_loss(self) -> bool:
        """Whether `loss` can be asked for."""
        return type(self).loss is not Task.loss

    # --- what the model says ------------------------------------------------------------------------------

    def answer(self, outputs: Tensor) -> Answer | None:
        """What the model says; None where the task has no answer of its own."""
        return None

    @property
    def has_answer(self) -> bool:
        """Whether `answer` says something."""
        return type(self).answer is not Task.answer

    def in_words(self, target: NDArray[Any]) -> str:
        """What one target `[...]` asks about, for people."""
        return in_numbers(target)

    def agrees(self, answer: Answer, target: Tensor) -> Tensor | None:
        """Whether an answer is right, bool `[..., n]`; None where that means nothing."""
        return answer.value == target if self.has_classes else None

    def targets(self, outputs: Tensor, target: Tensor) -> Tensor | None:
        """Every target that each example can be asked about `[n, n_targets, ...]`; None where only its own can be."""
        return None

    def target_names(self, class_names: Sequence[str]) -> list[str]:
        """Names of the targets of `targets`, for people."""
        return []

    def parts(self, target: Tensor) -> Tensor | None:
        """Which parts of targets can be asked about alone, bool `[n, n_parts]`; None where a target has no parts.

        The model output of a target is the sum of those of its parts, and outputs are one number a part `[n, n_parts]`.
        """
        return None

    def only(self, target: Tensor, parts: Tensor) -> Tensor:
        """Targets that ask about some parts alone, bool `[n_parts]` or `[n, n_parts]`.

        Raises:
            NeedNotMetError: targets have no parts.
        """
        raise NeedNotMetError(f"targets of task {self.name!r} have no parts; ask about them as a whole.")

    def model_outputs(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Model outputs of several targets of each example: `[n, n_targets]` from `targets` `[n, n_targets, ...]`."""
        of_each = [self.model_output(outputs, targets[:, i]) for i in range(targets.shape[1])]
        return torch.stack(of_each, dim=1)

    # --- how the model is asked ---------------------------------------------------------------------------

    def outputs_of(self, model: Model, inputs: Inputs) -> Tensor:
        """The outputs `[n, ...]` of a model for a batch, a floating-point tensor.

        Args:
            model: takes and returns what forward does; it may be called more than once, or with more rows.
            inputs: the batch.

        Raises:
            NoLogitsError: the model returns nothing that can be read.
        """
        return read_logits(model, inputs)

    def places(self, inputs: Inputs) -> Tensor | None:
        """Which places of examples hold something, bool `[n, length]`, where the model works place by place.

        By default those of the attention mask, and None where there is none. What the model makes of an example is the
        mean over these places.
        """
        mask = inputs.get("attention_mask") if isinstance(inputs, dict) else None
        return None if mask is None or mask.dim() != 2 else mask > 0

    def arranged(self, inputs: Inputs, labels: Tensor | None) -> tuple[Inputs, Tensor | None]:
        """A batch as this task has it, from inputs without labels and labels `[n, ...]`, None where there are none.

        Raises:
            InvalidDataError: something is missing.
        """
        return inputs, labels

    def numbers_at_work(self, model: nn.Module, labels: Tensor) -> int:
        """How many numbers of an example are in memory while outputs are made of what the model returns, at most.

        Those of the model's layers are not counted. 0 where they are few.

        Args:
            model: that is asked.
            labels: of some examples `[n, ...]`.
        """
        return 0

    def n_that_fit(self, model: nn.Module, labels: Tensor, most: int, room: int) -> int:
        """How many examples, from 1 to `most`, are at work in `room` bytes of float32 numbers."""
        size = 4 * self.numbers_at_work(model, labels)
        return max(1, min(most, room // size)) if size else most

    def check_model(self, model: nn.Module) -> None:  # noqa: B027 - most tasks take any
        """Refuses a model of a kind that the task cannot be asked of, where its configuration tells.

        Raises:
            InvalidModelError: it is such.
        """

    def shortened(self, inputs: Inputs, labels: Tensor, length: int) -> tuple[Inputs, Tensor]:
        """Examples cut to a length, for a trial of the model with little memory; as they are where there is none."""
        return inputs, labels

    def check_labels(self, labels: Tensor, what: str = "", start: int = 0) -> None:
        """Refuses labels `[n, ...]` that are wrong by themselves, whatever the model says; some tasks can tell.

        Args:
            labels: of some examples.
            what: they are, for the message, such as "train ".
            start: number of the first example, for the message.
        """
        return

    def check_targets(self, targets: Tensor, labels: Tensor, start: int = 0) -> None:
        """Refuses targets `[n, ...]` that nothing can be told about, given the labels of the same examples.

        Args:
            targets: what somebody wants to ask about.
            labels: of the same examples.
            start: number of the first example, for the message.
        """
        return

    def prepare(self, model: Model) -> "Task":
        """The task made ready for one checkpoint, with what depends on its weights: references, say, or their mean.

        Args:
            model: the checkpoint, as in `outputs_of`; it takes inputs from any device and in any floating-point type.
        """
        return self

    @property
    def query(self) -> "Task":
        """The task on the query side, for what is asked about there: itself unless the two sides differ."""
        return self

    def check(self, outputs: Tensor, target: Tensor, start: int = 0) -> None:
        """Refuses outputs or targets that the task cannot work with, by an exception that says why.

        Args:
            outputs: of some examples.
            target: of the same.
            start: number of the first example, for the message.

        Raises:
            InvalidSettingError: the task gives something else than one number for each example.
        """
        for what, function in self._functions().items():
            n = len(target)
            with running_own_code(f"{what} of task {self.name!r} on {n} examples", InvalidSettingError):
                given = function(outputs, target)
            if (shape := getattr(given, "shape", None)) != (n,):
                got = type(given).__name__ if shape is None else f"tensor of shape {tuple(shape)}"
                raise InvalidSettingError(
                    f"{what} of task {self.name!r} gives a {got} for {n} examples; it must give one number each, [{n}]."
                )

    def _functions(self) -> Mapping[str, Callable[[Tensor, Tensor], Any]]:
        """What has to give one number for each example, by the name that people know it by."""
        return {"model_output": self.model_output, "out_to_loss": self.out_to_loss}

    # --- the curvature of the loss ------------------------------------------------------------------------

    @property
    def curved(self) -> "Task":
        """The task in whose outputs the loss curves: itself, unless its outputs tell less than the model's do."""
        return self

    def curvature(
        self, outputs: Tensor, target: Tensor | None, draws: int | None = None, uniform: Tensor | None = None
    ) -> Iterator[CurvaturePart]:
        """The curvature of the loss in the outputs, in parts; see `trak_core/tasks/curvature.py`.

        By default the Hessian of the loss, which is formed: `n_outputs^2` numbers an example. Directions in which the
        loss curves downwards are left out, so that the matrix stays positive.

        Args:
            outputs: of the model.
            target: that the model was trained on; None where nobody knows, which some tasks can do without.
            draws: parts to draw of each example; None gives all of them.
            uniform: random numbers from 0 to 1 `[n]` that decide on draws.

        Raises:
            NeedNotMetError: the task has no loss, or its curvature depends on targets that are not given.
        """
        if target is None:
            raise NeedNotMetError(f"the curvature of task {self.name!r} depends on its targets; give targets=... .")
        values, vectors = spectrum(self, outputs, target)
        everyone = torch.arange(len(outputs), device=outputs.device)
        for part, scale in draw_parts(values, draws, uniform):
            direction = vectors[everyone, :, part].reshape(outputs.shape)
            yield CurvaturePart(_Along(self), direction.to(outputs), scale.to(outputs))

    def curvature_product(self, outputs: Tensor, target: Tensor, vectors: Tensor) -> Tensor:
        """The same matrix times vectors of the shape of `outputs`; a wide output is better not formed as here.

        Raises:
            NeedNotMetError: the task has no loss.
        """
        values, basis = (part.to(outputs) for part in spectrum(self, outputs, target))
        turned = torch.einsum("nij,ni->nj", basis, vectors.reshape(len(outputs), -1)) * values
        return torch.einsum("nij,nj->ni", basis, turned).reshape(outputs.shape)


@torch.no_grad()
def prepared(task: Task, model: nn.Module, weights: dict[str, Tensor]) -> Task:
    """The task made ready for a model at some weights (parameters and buffers by name)."""
    function = at_weights(model, weights)
    like = next(value for value in weights.values() if value.is_floating_point())

    def moved(*args: Tensor, **kwargs: Tensor) -> Any:
        return function(*to_device(args, like.device, like.dtype), **to_device(kwargs, like.device, like.dtype))

    return task.prepare(moved)


@dataclass(frozen=True)
class _Along(Task):
    """The outputs of another task along a direction, which is the target."""

    inner: Task
    name: str = "direction"

    def model_output(self, outputs: Tensor, target: Tensor) -> Tensor:
        """The inner product `[n]` of outputs and direction."""
        return (outputs * target).reshape(len(outputs), -1).sum(1)

    def out_to_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """One for each example: there is no loss."""
        return outputs.new_ones(len(outputs))

    def outputs_of(self, model: Model, inputs: Inputs) -> Tensor:
        """As the other task has them."""
        return self.inner.outputs_of(model, inputs)


@dataclass(frozen=True)
class Targets:
    """All that can be asked about n examples, each target once."""

    every: Tensor  # the default target of each example and all further ones, each once `[n, n_targets, ...]`
    default: Tensor  # place of the default target among them, int64 `[n]`
    # number of the target in the first place. Target 0 is the default one and further ones are numbered from 1, so it
    # is 1 where the default target is one of them and has no place of its own.
    first: int

    @classmethod
    def of(cls, task: Task, outputs: Tensor, target: Tensor) -> "Targets":
        """The targets that a task gives for outputs `[n, ...]` of a model and default targets `[n, ...]`."""
        further = task.targets(outputs, target)
        alone = torch.zeros(len(target), dtype=torch.int64, device=target.device)
        if further is None:
            return cls(target[:, None], alone, 0)
        is_default = (further == target[:, None]).reshape(*further.shape[:2], -1).all(-1)
        if bool(is_default.any(1).all()):
            return cls(further, is_default.int().argmax(1), 1)
        return cls(torch.cat([target[:, None], further], dim=1), alone, 0)

    @property
    def has_further(self) -> bool:
        """Whether there is anything to ask besides the default target."""
        return self.every.shape[1] > 1

    @property
    def is_default(self) -> Tensor:
        """Which place is that of the default target, bool `[n, n_targets]`."""
        return torch.arange(self.every.shape[1], device=self.default.device) == self.default[:, None]
