"""MAGIC: the exact derivative of the answer in the weight of each train example, through the training run itself.

Give example i the loss weight w_i, all 1 in the real run, and let theta_T(w) be what training ends at. Then

    score(z, i) = d f(z; theta_T(w)) / d w_i   at w = 1

by reverse-mode differentiation through every step of the optimizer (Ilyas and Engstrom 2025, arXiv 2504.16430).
Backward through one step, with a and b the derivatives of f in the weights and in the momentum after it, eta the
learning rate, mu the momentum coefficient and lambda the weight decay:

    u = b - eta a;    score_i += u . grad L_i / batch_size   for i in the batch
    a <- a + (H + lambda) u;    b <- mu u

Both grad L_i . u and H u come from one forward derivative of the batch's gradient in the direction u, which all test
examples take at once. The weights before each step come from replaying the run between recorded states; where memory
is short, shorter stretches are replayed more often.

The derivative is that of one training run: the same initial weights, the same batches. Averaged over several runs it
predicts what a model trained with other seeds would do.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from trak_core.errors import RunMismatchError
from trak_core.gradients import Inputs, StateDict, prepared, take
from trak_core.gradients.directional import forward_derivatives
from trak_core.inputs import apply
from trak_core.methods.context import Examples, MethodContext, Need
from trak_core.methods.method import MethodInfo, ScoreMatrix
from trak_core.tasks import at_weights
from trak_core.training import Moment, TrainingLog, sgd_step

QUERIES = 512
"""Test examples whose direction is taken at once; it bounds the memory for activations."""
REPLAY_TOLERANCE = 1e-2
"""Largest difference of a replayed weight from the recorded one, relative to the largest weight."""


@MethodInfo(
    "magic",
    "MAGIC",
    "The exact effect of each training example, differentiated through the training run itself.",
    needs=(Need.REPLAY, Need.TRAINING_LOG, Need.LOSS),
    max_checkpoints=4,
)
def magic(context: MethodContext) -> ScoreMatrix:
    """MAGIC, averaged over training runs."""
    logs = [log for log in context.logs if isinstance(log, TrainingLog)]  # all are: a need of the method
    return ScoreMatrix.mean([magic_scores(context, log) for log in logs])


class _Replay:
    """The training run of a log again, one model."""

    def __init__(self, context: MethodContext, log: TrainingLog) -> None:
        task, architecture = context.task, context.architecture
        self.log = log
        self.batches = log.batches().to(context.train.device)
        self._train = context.train

        def losses(parameters: StateDict, inputs: Inputs, targets: Tensor) -> tuple[Tensor, Tensor]:
            each = task.loss(task.outputs_of(at_weights(architecture, parameters), inputs), targets)
            return each.mean(), each

        self._gradient = grad(losses, has_aux=True)
        size = sum(value.numel() * value.element_size() for value in log.moments[0].parameters.values())
        self._kept = max(2, context.memory // (4 * size))

    def gradient(self, step: int, parameters: StateDict) -> tuple[StateDict, Tensor]:
        """Gradient of the mean loss of the batch of a step, and the losses of its examples `[batch_size]`."""
        batch = self.batches[step]
        inputs, targets = take(self._train.inputs, batch), self._train.targets[batch]
        return self._gradient(parameters, inputs, targets)  # type: ignore[no-any-return]

    def backwards(self) -> Iterator[tuple[int, StateDict]]:
        """Every step with the weights before it, from the last to the first."""
        for before, after in reversed(list(zip(self.log.moments[:-1], self.log.moments[1:], strict=True))):
            yield from self._stretch(before, after.step, after)

    def _stretch(self, start: Moment, stop: int, recorded: Moment | None = None) -> Iterator[tuple[int, StateDict]]:
        stride = math.ceil((stop - start.step) / self._kept)
        kept: list[Moment] = []
        parameters, velocities = dict(start.parameters), dict(start.velocities)
        for step in range(start.step, stop):
            if (step - start.step) % stride == 0:
                kept.append(Moment(step, dict(parameters), dict(velocities)))
            gradients, _ = self.gradient(step, parameters)
            # New tensors, because those of before are kept.
            parameters = {name: value.clone() for name, value in parameters.items()}
            velocities = {name: value.clone() for name, value in velocities.items()}
            schedule = self.log.schedule
            sgd_step(parameters, velocities, gradients, schedule.learning_rate(step), schedule.settings)
        if recorded is not None:
            _check_replay(parameters, recorded)
        while kept:
            moment = kept.pop()
            if stride == 1:
                yield moment.step, moment.parameters
            else:
                yield from self._stretch(moment, min(moment.step + stride, stop))


def _check_replay(parameters: StateDict, recorded: Moment) -> None:
    for name, value in recorded.parameters.items():
        apart = float((parameters[name] - value).abs().max() / value.abs().max().clamp_min(1e-12))
        if not apart <= REPLAY_TOLERANCE:
            raise RunMismatchError(
                f"replaying the training gives other weights of {name!r} before step {recorded.step} than were "
                f"recorded (by {apart:.1g} of the largest). The data, the settings or the model have changed, or "
                "training is unstable: lower the learning rate and build the run again."
            )


def magic_scores(context: MethodContext, log: TrainingLog, queries: Examples | None = None) -> Tensor:
    """Derivatives `[n_queries, n_train]` of the model output in the weights of the train examples, for one run.

    By default the test examples are asked about.

    Raises:
        RunMismatchError: the run cannot be replayed.
        InvalidModelError: the model has an operation without a forward derivative.
    """
    queries = queries or context.test
    replay, settings = _Replay(context, log), log.schedule.settings

    task = prepared(context.task.query, context.architecture, log.moments[-1].parameters)

    def output(parameters: StateDict, one: Inputs, target: Tensor) -> Tensor:
        batch = apply(lambda leaf: leaf[None], one)
        given = task.outputs_of(at_weights(context.architecture, parameters), batch)
        return task.model_output(given, target[None])[0]

    of_weights = vmap(grad(output), (None, 0, 0))(log.moments[-1].parameters, queries.inputs, queries.targets)
    of_momentum = {name: torch.zeros_like(value) for name, value in of_weights.items()}
    scores: Tensor = next(iter(of_weights.values())).new_zeros(len(queries), len(context.train))
    for step, parameters in replay.backwards():
        for name, value in of_momentum.items():
            value.sub_(of_weights[name], alpha=log.schedule.learning_rate(step))

        def moved(
            direction: StateDict, step: int = step, parameters: StateDict = parameters
        ) -> tuple[StateDict, Tensor]:
            return jvp(lambda at: replay.gradient(step, at), (parameters,), (direction,))[1]  # type: ignore[no-any-return]

        with forward_derivatives("magic"):
            curved, changes = vmap(moved, chunk_size=QUERIES)(of_momentum)
        scores[:, replay.batches[step]] += changes / settings.batch_size
        for name, direction in of_momentum.items():
            of_weights[name].add_(curved[name]).add_(direction, alpha=settings.weight_decay)
            direction.mul_(settings.momentum)
    # A batch may hold an example once only, so that adding by index is safe; the loss falls where the weight rises.
    return scores
