"""What minutes would buy, told before a build: when suspects and scores are there, and how much evidence follows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from trak_core.datasets.report import Forecast
from trak_core.datasets.sampling import sampled
from trak_core.engine.budget import N_FIT, chosen_within, most_steps_within, sizes_within
from trak_core.engine.custom_build import custom_model
from trak_core.engine.pace import Pace, StepTime, measure_pace, measure_step
from trak_core.engine.settings import resolve_device
from trak_core.labels.label_scores import N_REPEATS
from trak_core.modalities import RawData, prepare
from trak_core.seeds import derive_seed
from trak_core.subjects import Subject
from trak_core.subjects.custom_data import custom_subject
from trak_core.training.sizing import N_FOLDS, SURE_STEPS, USUAL_STEPS, choose_steps
from trak_core.training.trainer import VmapTrainer

MINUTES = (1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 240.0)
LONGEST_SIZING = 15.0
"""Seconds that choosing how long to train may take here; a build may take longer for it."""


@dataclass(frozen=True)
class _Length:
    """How long a build would train each model."""

    steps: int  # that it would choose, were there time enough
    looked_at: int  # the longest length that it would look at for that
    seconds: float  # that looking takes


def forecasts(
    raw: RawData,
    model: str | None = None,
    seed: int = 0,
    device: str = "auto",
    seconds_to_read: float = 0.0,
    minutes: Sequence[float] = MINUTES,
) -> list[Forecast]:
    """What each of some budgets would buy for data that were read, by a trial of some seconds.

    The model is tried and the length of its training chosen as a build does, so that both plan the same.

    Raises:
        EmptyDataError, InvalidModelError, InvalidSettingError: as a build of the data.
    """
    device = resolve_device(device)
    ready = custom_model(raw, model)
    subject = custom_subject(prepare(sampled(raw, None, None, seed), ready.takes), ready)
    assert subject.training is not None
    a_step = measure_step(subject, device)
    length = _length(subject, a_step, max(minutes), seed, device)
    training = replace(subject.training, epochs=None, steps=length.steps)
    pace = measure_pace(replace(subject, training=training), device, a_step=a_step)
    return [_forecast(each, pace, length, a_step.among_few, seconds_to_read) for each in minutes]


def _length(subject: Subject, a_step: StepTime, minutes: float, seed: int, device: str) -> _Length:
    """Chosen as a build of so many minutes does; the usual one where no length that is looked at here is long enough.

    Of a model that takes long a few seconds show the shortest lengths alone.
    """
    payable = most_steps_within(minutes, a_step.among_few)
    most = min(payable, max(1, int(1.5 * LONGEST_SIZING / max(1e-9, N_FOLDS * a_step.among_few))))
    began = time.perf_counter()
    found = choose_steps(cast(VmapTrainer, subject.trainer(device)), derive_seed(seed, "steps"), most)
    seconds, steps = time.perf_counter() - began, found.settings.steps
    assert steps is not None  # they were chosen
    looked_at = found.curve[-1].steps if found.curve else most
    is_cut = most < payable and looked_at == most and (not found.has_learnt or steps == most)
    if not is_cut:
        return _Length(steps, looked_at, seconds)
    return _Length(max(steps, USUAL_STEPS), SURE_STEPS, seconds * max(1.0, SURE_STEPS / most))


def _forecast(minutes: float, pace: Pace, length: _Length, a_step: float, to_read: float) -> Forecast:
    payable = most_steps_within(minutes, a_step)
    share = min(1.0, payable / length.steps)
    sizing = length.seconds * min(1.0, payable / length.looked_at)
    pace = replace(pace, **{name: share * getattr(pace, name) for name in ("model", "half_model", "labels")})
    began = to_read + pace.data + sizing
    sizes = sizes_within(minutes, began, pace, {})
    repeats = chosen_within(minutes, sizes, pace)["n_label_repeats"]
    to_suspects = began + pace.model + pace.labels * repeats / N_REPEATS
    n = sizes.n_checkpoints
    to_scores = to_suspects + (n - 1) * pace.model + n * (pace.features + pace.scores)
    return Forecast(minutes, to_suspects, to_scores, n, max(0, sizes.n_subsets - N_FIT))
