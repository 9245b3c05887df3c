"""What minutes of a build would buy, told before it."""

import itertools
import json

from click.testing import CliRunner

from tests.test_custom_build import texts  # noqa: F401
from trak_core.__main__ import cli
from trak_core.datasets.custom_data import CustomData
from trak_core.datasets.report import Forecast
from trak_core.engine.forecast import forecasts
from trak_core.views.data_report import forecast_for, forecast_sentence, read_report


def test_more_minutes_buy_no_less(texts):  # noqa: F811
    raw = CustomData("table", texts, text="review", label="verdict").read()
    found = forecasts(raw, device="cpu", minutes=(0.01, 1.0, 10.0, 100.0))
    assert [each.minutes for each in found] == [0.01, 1.0, 10.0, 100.0]
    for less, more in itertools.pairwise(found):
        assert less.n_checkpoints <= more.n_checkpoints and less.n_subsets <= more.n_subsets
    assert found[0].n_subsets == 0 < found[-1].n_subsets
    assert all(0 < each.seconds_to_suspects <= each.seconds_to_scores for each in found)


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
