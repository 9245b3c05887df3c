"""What minutes would buy, told before a build: when suspects and scores are there, and how much evidence follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trak_core.datasets.report import Forecast
from trak_core.datasets.sampling import sampled
from trak_core.engine.budget import N_FIT, chosen_within, most_steps_within, sizes_within
from trak_core.engine.custom_build import custom_model
from trak_core.engine.pace import Pace, measure_pace, measure_step
from trak_core.engine.settings import resolve_device
from trak_core.labels.label_scores import N_REPEATS
from trak_core.modalities import RawData, prepare
from trak_core.subjects.custom_data import custom_subject
from trak_core.training.sizing import SURE_STEPS, USUAL_STEPS

MINUTES = (1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0, 240.0)
SIZING_STEPS = round(2 * SURE_STEPS / 3)
"""That choosing how long to train takes at least; see training/sizing.py."""


def forecasts(
    raw: RawData,
    model: str | None = None,
    seed: int = 0,
    device: str = "auto",
    seconds_to_read: float = 0.0,
    minutes: Sequence[float] = MINUTES,
) -> list[Forecast]:
    """What each of some budgets would buy for data that were read, by a trial of some seconds.

    Raises:
        EmptyDataError, InvalidModelError, InvalidSettingError: as a build of the data.
    """
    device = resolve_device(device)
    ready = custom_model(raw, model)
    subject = custom_subject(prepare(sampled(raw, None, None, seed), ready.takes), ready)
    assert subject.training is not None
    a_step = measure_step(subject, device)
    usual = replace(subject.training, epochs=None, steps=USUAL_STEPS)
    pace = measure_pace(replace(subject, training=usual), device, a_step=a_step)
    return [_forecast(each, pace, a_step.among_few, seconds_to_read) for each in minutes]


def _forecast(minutes: float, pace: Pace, a_step: float, to_read: float) -> Forecast:
    share = min(1.0, most_steps_within(minutes, a_step) / USUAL_STEPS)
    sizing = pace.half_model / USUAL_STEPS * SIZING_STEPS * min(1.0, 2 * share)
    pace = replace(pace, **{name: share * getattr(pace, name) for name in ("model", "half_model", "labels")})
    began = to_read + pace.data + sizing
    sizes = sizes_within(minutes, began, pace, {})
    repeats = chosen_within(minutes, sizes, pace)["n_label_repeats"]
    to_suspects = began + pace.model + pace.labels * repeats / N_REPEATS
    n = sizes.n_checkpoints
    to_scores = to_suspects + (n - 1) * pace.model + n * (pace.features + pace.scores)
    return Forecast(minutes, to_suspects, to_scores, n, max(0, sizes.n_subsets - N_FIT))
