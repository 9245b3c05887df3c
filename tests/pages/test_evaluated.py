"""Scores that were judged are offered on every page, with a board that says nothing that nobody knows."""

from pathlib import Path

import numpy as np
import pytest

import trak_core as tc
from tests.pages.conftest import words
from trak_core.store.run import open_run


@pytest.fixture
def judged(runs) -> Path:
    run_dir: Path = runs / "digits"
    with open_run(run_dir) as run:
        scores = run.scores("trak") + np.random.default_rng(0).normal(0, 0.01, run.scores("trak").shape)
    tc.evaluate(run_dir, scores, "mine")
    return run_dir


def test_evidence_has_them_on_its_board(judged, open_page):
    app = open_page("evidence", run="digits")
    assert not app.exception
    assert "mine" in app.dataframe[0].value["method"].tolist()


@pytest.mark.parametrize("page", ["explore", "training_item", "runs", "home"])
def test_pages_show_explanations_by_them(judged, open_page, page):
    app = open_page(page, run="digits", test="17", train="3", method="mine")
    assert not app.exception
    assert "None" not in words(app)
