"""How many steps a model is trained: chosen once for a run, on examples that are held out, for all of its models.

Epochs say little on data of any size: twenty of them are enough for thousands of examples, and on three hundred a model
has not begun to learn. Steps are looked for instead. All lengths are read off one training at a constant rate: the mean
of its weights over the middle third of the first `s` steps stands for a training of `s` steps whose rate falls linearly
to zero. Both have been moved by the same sum of learning rates, and both average the noise of single batches away. So
the search costs about as much as the longest length that is looked at, and not a training for each.

Lengths are compared by the loss on held-out examples, every class with the same weight, at the best temperature from 1
on: that outputs are too sure of themselves hides what they tell of the class, and loses nothing here. The shortest
length is taken that differs from the best by no more than noise, or by next to nothing.

Source: the mean of iterates in the place of a falling rate: Polyak and Juditsky 1992, "Acceleration of stochastic
approximation by averaging"; Defazio et al. 2023 (arXiv 2310.07831), which shows that a linear fall does what averaging
does. The loss at the best temperature: Berta et al. 2025 (arXiv 2501.19195). The shortest within noise: the
one-standard-error rule of Breiman et al. 1984, "Classification and Regression Trees", section 3.4.3.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trak_core.errors import InvalidSettingError
from trak_core.inputs import take
from trak_core.seeds import derive_seed
from trak_core.training.ensemble import Ensemble, make_models
from trak_core.training.schedule import Schedule, TrainingSettings
from trak_core.training.trainer import OnShare, VmapTrainer, ignore_share, loss_gradients, sgd_step

FEWEST_STEPS = 25
"""The shortest length that is looked at; each further one is longer by the square root of 2."""
MOST_STEPS = 3200
SURE_STEPS = 800
"""Up to here lengths are looked at: many models stand still at first, and then begin to learn."""
SURE_TIMES = 4
"""A length that tells something has been the best for long enough when so many times as many steps add nothing."""
USUAL_STEPS = 400
"""Where nothing can be measured, or no length tells anything of the classes."""
N_FOLDS = 5
ENOUGH_HELD_OUT = 300
"""Held-out examples: small data sets are held out fold by fold, until there are so many."""
MOST_HELD_OUT = 2000
"""Of a fold; more tell nothing new."""
FEWEST_EXAMPLES = 20
"""Of fewer than that a held-out part tells nothing."""
WHOLE_CLASS = 10
"""Held-out examples by which a class counts in full; one of two examples should not decide."""
NEXT_TO_NOTHING = 0.01
"""Share of what there is to gain, or what the best length has gained: large held-out parts show less than matters."""
BETAS = (0.0, *(2 ** (power / 2) for power in range(-10, 1)))
"""Inverse temperatures: outputs may be flattened, down to telling nothing, but not be made surer than they are."""


@dataclass(frozen=True)
class Look:
    """What models of one length do on held-out examples."""

    steps: int  # the length
    loss: float  # mean over held-out examples, classes of equal weight, at the best temperature, in nats
    accuracy: float  # share of held-out examples that are answered rightly; NaN where the task knows no right and wrong


@dataclass(frozen=True)
class Sizing:
    """The settings that were chosen, and what they were chosen by."""

    settings: TrainingSettings  # as given, with the number of steps that was chosen
    # whether models of that length tell more of held-out examples than the shares of classes do; where none do,
    # `USUAL_STEPS` are taken
    has_learnt: bool
    curve: tuple[Look, ...]  # lengths that were looked at, shortest first; empty where there are too few examples
    n_models: int  # that were trained at once, one for each held-out part
    seconds_a_step: float  # of one of these models, measured; the choice does not depend on it


def choose_steps(
    trainer: VmapTrainer, seed: int, most_steps: int = MOST_STEPS, on_share: OnShare = ignore_share
) -> Sizing:
    """The number of steps that suits the train examples of a trainer: `replace(trainer, settings=sizing.settings)`.

    Four fifths of the examples are trained on, and a fifth, drawn class by class, is looked at; of small data sets
    several fifths in turn, by models that train at once. Depends on data, settings, seed and `most_steps` alone. Costs
    as many steps of training as two thirds of twice to four times the number chosen; 533 where nothing is learnt.

    Args:
        trainer: of the train examples; how long its own settings train plays no part.
        seed: decides what is held out, initial weights and batches.
        most_steps: the longest length to be looked at, from 1; a plan may know that more cannot be paid for.
        on_share: is told of the share of `most_steps` that was looked through.

    Raises:
        InvalidSettingError: `most_steps` is below 1, or a batch holds more than four fifths of the examples.
    """
    if most_steps < 1:
        raise InvalidSettingError(f"most_steps={most_steps!r}; it must be a whole number from 1.")
    labels = trainer.labels.cpu().numpy()
    lengths = _lengths(most_steps)
    usual = replace(trainer.settings, epochs=None, steps=min(USUAL_STEPS, most_steps))
    if len(labels) < FEWEST_EXAMPLES:
        return Sizing(usual, False, (), 0, 0.0)
    held_out = _held_out(labels if trainer.task.has_classes else np.zeros(len(labels), np.int64), seed)
    judge = _Judge(trainer, held_out)
    looks: list[Look] = []
    losses: list[NDArray[np.float64]] = []  # of each held-out example, by length
    chosen, looked_through, a_step = 0, 0.0, 0.0
    for steps, ensemble, seconds in _of_each_length(trainer, held_out, seed, lengths):
        loss, accuracy = judge.look(ensemble)
        losses.append(loss)
        looks.append(Look(steps, float(loss.mean()), accuracy))
        chosen, a_step = judge.shortest(losses), seconds / _end(steps) / len(held_out)
        on_share(steps / most_steps - looked_through)
        looked_through = steps / most_steps
        is_sure = steps >= SURE_STEPS or (steps >= SURE_TIMES * lengths[chosen] and judge.tells(losses[chosen]))
        if is_sure and steps >= 2 * lengths[chosen]:
            break
    has_learnt = judge.tells(losses[chosen])
    settings = replace(usual, steps=lengths[chosen]) if has_learnt else usual
    return Sizing(settings, has_learnt, tuple(looks), len(held_out), a_step)


def _lengths(most_steps: int) -> list[int]:
    """Lengths that are looked at, each the square root of 2 times as long as the one before."""
    n = math.floor(2 * math.log2(max(1, most_steps / FEWEST_STEPS)) + 1e-9) + 1
    return [min(most_steps, round(FEWEST_STEPS * 2 ** (i / 2))) for i in range(n)]


def _end(steps: int) -> int:
    """Steps at a constant rate that stand for so many at a falling one: two thirds."""
    return max(1, round(2 * steps / 3))


def _start(steps: int) -> int:
    """Steps before the middle third."""
    return min(round(steps / 3), _end(steps) - 1)


def _held_out(labels: NDArray[np.int64], seed: int) -> list[NDArray[np.int64]]:
    """Numbers of the examples that each model does not see, of one size each; classes have equal shares of them."""
    generator = np.random.default_rng(derive_seed(seed, "held out"))
    dealt = np.lexsort((generator.random(len(labels)), labels))
    size = len(labels) // N_FOLDS
    n_folds = min(N_FOLDS, math.ceil(ENOUGH_HELD_OUT / size))
    return [np.sort(dealt[fold::N_FOLDS][:size]) for fold in range(n_folds)]


def _of_each_length(
    trainer: VmapTrainer, held_out: Sequence[NDArray[np.int64]], seed: int, lengths: Sequence[int]
) -> Iterator[tuple[int, Ensemble, float]]:
    """Each length, models that stand for a training of it, and the seconds that all training so far has taken."""
    seeds = [derive_seed(seed, "sizing model", fold) for fold in range(len(held_out))]
    everybody = np.arange(len(trainer.labels))
    members = torch.stack([torch.from_numpy(np.setdiff1d(everybody, fold)) for fold in held_out])
    device = trainer.labels.device
    settings = replace(trainer.settings, epochs=None, steps=_end(lengths[-1]))
    schedule = Schedule(settings, members.shape[1])
    batches = torch.stack([schedule.batches(each) for each in seeds], dim=1)  # [n_steps, n_models, batch_size]
    models = Ensemble.from_models(make_models(trainer.make_model, seeds), str(device))
    gradients_of_all = loss_gradients(models.architecture, trainer.task)
    parameters = models.parameters
    velocities = {name: torch.zeros_like(value) for name, value in parameters.items()}
    ones = next(iter(parameters.values())).new_ones(batches.shape[1:])
    totals = {name: torch.zeros_like(value) for name, value in parameters.items()}  # of the weights after each step
    starts = {_start(steps) for steps in lengths}
    before = {0: {name: value.clone() for name, value in totals.items()}}
    step, seconds = 0, 0.0
    for steps in lengths:
        began = time.perf_counter()
        start, end = _start(steps), _end(steps)
        while step < end:
            batch = members.gather(1, batches[step]).to(device)
            gradients = gradients_of_all(parameters, take(trainer.inputs, batch), trainer.labels[batch], ones)
            sgd_step(parameters, velocities, gradients, settings.learning_rate, settings)
            step += 1
            for name, total in totals.items():
                total.add_(parameters[name])
            if step in starts:
                before[step] = {name: total.clone() for name, total in totals.items()}
        means = {name: (total - before[start][name]) / (end - start) for name, total in totals.items()}
        before = {step: total for step, total in before.items() if step >= start}
        seconds += time.perf_counter() - began
        yield steps, Ensemble(models.architecture, means), seconds


class _Judge:
    """Looks at models by the examples that they were not trained on."""

    def __init__(self, trainer: VmapTrainer, held_out: Sequence[NDArray[np.int64]]) -> None:
        self.task = trainer.task
        most = math.ceil(len(held_out[0]) / MOST_HELD_OUT)
        places = [torch.from_numpy(fold[::most]).to(trainer.labels.device) for fold in held_out]
        self.inputs = [take(trainer.inputs, each) for each in places]
        self.labels = [trainer.labels[each] for each in places]
        self.weights = np.ones(sum(map(len, places)))
        self.blind: NDArray[np.float64] | None = None  # weighted losses of the shares of classes, where there are any
        if trainer.task.has_classes:
            seen = torch.cat(self.labels).cpu().numpy()
            self.weights = _class_weights(seen, trainer.labels.cpu().numpy())
            shares = np.bincount(seen, weights=self.weights) / self.weights.sum()
            self.blind = -np.log(np.maximum(shares, 1e-30))[seen] * self.weights

    def look(self, models: Ensemble) -> tuple[NDArray[np.float64], float]:
        """The weighted loss of each held-out example `[n]`, infinite where it is not finite; and the accuracy."""
        logs, losses, right = [], [], []
        for index, (inputs, labels) in enumerate(zip(self.inputs, self.labels, strict=True)):
            model = Ensemble(models.architecture, {key: value[[index]] for key, value in models.parameters.items()})
            outputs = model.outputs(self.task, inputs)
            losses.append(model.of_each("loss", self.task, outputs, labels)[0])
            for answer in model.answers(self.task, outputs):
                if answer.probabilities is not None:
                    logs.append(answer.probabilities.double().clamp_min(1e-30).log())
                if (agrees := self.task.agrees(answer, labels)) is not None:
                    right.append(agrees)
        loss = torch.cat(losses).double().cpu().numpy()
        if logs:
            loss = self._at_best_temperature(torch.cat(logs), torch.cat(self.labels))
        loss = np.where(np.isfinite(loss), loss, np.inf) * self.weights
        return loss, float(torch.cat(right).double().mean()) if right else math.nan

    def tells(self, losses: NDArray[np.float64]) -> bool:
        """Whether outputs with these losses tell more of the held-out examples than the shares of classes do."""
        if self.blind is None:
            return bool(np.isfinite(losses).all())
        is_more = losses.mean() < (1 - NEXT_TO_NOTHING) * self.blind.mean()
        return bool(is_more) and _is_lower(losses, self.blind, n_errors=2)

    def shortest(self, losses: Sequence[NDArray[np.float64]]) -> int:
        """Number of the shortest length that is as good as the best, but for noise and next to nothing."""
        best = min(losses, key=np.mean)
        gained = 0.0 if self.blind is None else float((self.blind - best).mean())
        if not np.isfinite(gained):  # all of them diverged
            return 0
        enough = best.mean() + NEXT_TO_NOTHING * gained
        return next(i for i, loss in enumerate(losses) if loss.mean() <= enough or not _is_lower(best, loss))

    def _at_best_temperature(self, logs: Tensor, labels: Tensor) -> NDArray[np.float64]:
        """Cross-entropies `[n]` of probabilities with logarithms `[n, n_classes]`, flattened as suits best."""
        logits = logs * logs.new_tensor(BETAS)[:, None, None]
        of_labels = logits.gather(2, labels.expand(len(BETAS), -1)[..., None])[..., 0]
        losses = (logits.logsumexp(-1) - of_labels).cpu().numpy()  # [n_betas, n]
        means = (losses * self.weights).mean(1)
        found: NDArray[np.float64] = losses[np.where(np.isnan(means), np.inf, means).argmin()]
        return found


def _class_weights(held_out: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights `[n]` of mean 1 by which classes count alike, small ones less; 0 for the only example of a class."""
    weights = 1 / np.maximum(np.bincount(held_out), WHOLE_CLASS)[held_out]
    weights[np.bincount(labels)[held_out] < 2] = 0
    found: NDArray[np.float64] = weights / weights.mean() if weights.any() else np.ones(len(weights))
    return found


def _is_lower(ours: NDArray[np.float64], theirs: NDArray[np.float64], n_errors: float = 1) -> bool:
    """Whether losses of the same examples are lower by more than some standard errors of the difference."""
    if not np.isfinite(theirs).all():
        return bool(np.isfinite(ours).all())
    difference = theirs - ours
    return bool(difference.mean() > n_errors * difference.std() / math.sqrt(len(difference)))
