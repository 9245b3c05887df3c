"""What the guide to modalities tells people to write works: one folder, one line, and every page shows the run."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trak_core as tc
from trak_core.engine import BuildSettings, build_run
from trak_core.live.new_input import explain_new
from trak_core.media import Picture, Text
from trak_core.modalities import MODALITIES
from trak_core.subjects import RECIPES
from trak_core.subjects.of_run import read_dataset
from trak_core.views.examples import read_examples

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "adding-a-modality.md").read_text(encoding="utf-8")
FOLDER, LINE, DATA = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
PAGES = ("home", "explore", "training_item", "map", "evidence", "review", "present", "runs")


@pytest.fixture
def squares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run of the guide's modality, which is known here for as long as the test runs."""
    names: dict[str, Any] = {"__name__": "guide"}
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path))
    try:
        for code in (FOLDER, LINE, DATA):
            exec(code, names)
        recipe = names["SQUARES"]
        monkeypatch.setitem(RECIPES, recipe.name, recipe)
        settings = BuildSettings.of(recipe, 0, "cpu")
        build_run(settings, "squares", tmp_path, recipe=recipe)
        yield tmp_path / "squares"
    finally:
        MODALITIES.pop("captioned", None)


def test_a_modality_is_one_folder_and_one_line(squares, open_page):
    with tc.open_run(squares) as run:
        assert run.info.modality == "captioned" and run.has_lds
        example = read_examples(run, "test", [3])[0]
        assert isinstance(example.media[0], Picture)
        assert example.media[1] == Text("a pale square, number 3")
        dataset = read_dataset(run)
        np.testing.assert_array_equal(dataset.train.inputs, RECIPES["squares"].load().dataset.train.inputs)
        new = explain_new(run, {"picture": example.media[0].content, "caption": example.media[1].text})
        stored = run.score_row(3, "trak", run.target_of_class(3, new.answer.predicted))
        assert np.corrcoef(new.answer.scores[new.answer.predicted], stored)[0, 1] > 0.99
    for page in PAGES:
        app = open_page(page, run="squares")
        assert not app.exception and not app.error, page
    MODALITIES.pop("captioned")
    for page in PAGES:
        app = open_page(page, run="squares")
        assert not app.exception and not app.error, f"{page}, where the modality is not known"
