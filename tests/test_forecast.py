"""What minutes of a build would buy, told before it."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.test_custom_build import images, texts  # noqa: F401
from trak_core.__main__ import cli
from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.report import Forecast
from trak_core.engine import custom_build, forecast
from trak_core.engine.budget import N_FIT, Sizes
from trak_core.engine.custom_build import CustomBuild, build_custom_data
from trak_core.engine.forecast import forecasts
from trak_core.engine.pace import DIGITS_PACE, StepTime
from trak_core.subjects import Subject
from trak_core.views.data_report import forecast_for, forecast_sentence, read_report


def test_more_minutes_buy_no_less(texts):  # noqa: F811
    raw = CustomData("table", texts, text="review", label="verdict").read()
    found = forecasts(raw, device="cpu", minutes=(0.01, 1.0, 10.0, 100.0))
    assert [each.minutes for each in found] == [0.01, 1.0, 10.0, 100.0]
    for less, more in itertools.pairwise(found):
        assert less.n_checkpoints <= more.n_checkpoints and less.n_subsets <= more.n_subsets
    assert found[0].n_subsets == 0 < found[-1].n_subsets
    assert all(0 < each.seconds_to_suspects <= each.seconds_to_scores for each in found)


class Planned(Exception):
    """A build has planned, and is not wanted any further."""


def planned(source: CustomData, minutes: float, runs_dir: Path) -> Sizes:
    """What a build of so many minutes plans."""
    told: list[Sizes] = []

    def stop(sizes: Sizes) -> None:
        told.append(sizes)
        raise Planned

    with pytest.raises(Planned):
        build_custom_data(source, CustomBuild(minutes=minutes), f"in-{minutes:g}", runs_dir, on_sizes=stop)
    return told[0]


@pytest.mark.parametrize("kind", ["image-folder", "table"])
@pytest.mark.parametrize("seconds_a_step", [0.0002, 0.004])
def test_a_forecast_promises_what_a_build_of_the_same_data_plans(kind, seconds_a_step, request, tmp_path, monkeypatch):
    options = {"text": "review", "label": "verdict"} if kind == "table" else {}
    source = CustomData(kind, request.getfixturevalue("texts" if kind == "table" else "images"), **options)
    steps_tried: list[int | None] = []

    def pace(subject: Subject, device: str, a_step: StepTime) -> object:
        assert subject.training is not None and subject.training.steps is not None
        steps_tried.append(subject.training.steps)
        a_model = a_step.by_clock * subject.training.steps
        return replace(DIGITS_PACE, model=a_model, half_model=a_model, labels=2 + 40 * a_model)

    for module in (forecast, custom_build):  # the speed of this machine plays no part
        monkeypatch.setattr(module, "measure_step", lambda subject, device: StepTime(seconds_a_step, seconds_a_step))
        monkeypatch.setattr(module, "measure_pace", pace)
    minutes = (3.0, 10.0, 30.0)
    promised = forecasts(source.read(), device="cpu", minutes=minutes)
    for each in promised:
        sizes = planned(source, each.minutes, tmp_path)
        n_reported = max(0, sizes.n_subsets - N_FIT)
        assert n_reported / 2 <= each.n_subsets <= 2 * n_reported
        assert sizes.n_checkpoints / 2 <= each.n_checkpoints <= 2 * sizes.n_checkpoints
    assert len(set(steps_tried)) == 1  # both would train for as long


def test_a_forecast_is_told_in_words():
    found = (Forecast(1.0, 21, 44, 2, 0), Forecast(10.0, 30, 250, 5, 40))
    assert forecast_for(found, 0) is None
    assert forecast_for(found, 9) == found[0]
    said = forecast_sentence(found[0])
    assert said.startswith(
        "With 1 minute: suspects after about 20 s, scores after about 45 s; no time to measure trust"
    )
    said = forecast_sentence(found[0], 9)
    assert said.startswith("With 9 minutes, at least what 1 minute buys: suspects after about 20 s")
    assert forecast_sentence(found[1], 10).startswith("With 10 minutes: ")
    assert forecast_sentence(found[1]).endswith(
        "scores after about 4 min; then trust, measured on about 40 random halves."
    )


def test_check_forecasts_for_people_and_as_json(texts):  # noqa: F811
    words = ["check", "table", str(texts), "--text", "review", "--label", "verdict", "--forecast"]
    said = CliRunner().invoke(cli, words)
    assert said.exit_code == 0 and "\nWith 1 minute: suspects after about" in said.stdout
    told = CliRunner().invoke(cli, [*words, "--json"])
    assert len(read_report(told.stdout).forecasts) == len(json.loads(told.stdout)["forecasts"]) > 5
