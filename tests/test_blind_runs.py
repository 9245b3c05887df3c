"""Runs whose models see nothing: whatever LDS says of them, trust in their explanations is low."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from tests.tiny import TINY, cut
from trak_core.engine import BuildSettings, build_run
from trak_core.evidence.controls import beats_controls
from trak_core.evidence.verification import verify
from trak_core.modalities.dataset import Dataset, Split
from trak_core.store.run import Run, open_run
from trak_core.subjects import RECIPES, Recipe, Subject
from trak_core.tasks import Regression
from trak_core.views.not_measured import why_no_fixed_lds

N_SUBSETS = 40


def zeroed(split: Split, n: int, labels: np.ndarray) -> Split:
    split = cut(split, n)
    return replace(split, inputs=np.zeros_like(split.inputs), labels=labels)


def classes_unseen() -> Subject:
    """Three classes of 90 images, and every input is zero."""
    tiny = TINY.load()
    parts = [zeroed(part, n, part.labels[:n] % 3) for part, n in ((tiny.dataset.train, 90), (tiny.dataset.test, 12))]
    dataset = replace(tiny.dataset, name="unseen", class_names=("a", "b", "c"), train=parts[0], test=parts[1])
    return replace(tiny, dataset=dataset, make_model=lambda: nn.Linear(64, 3))


def numbers_unseen() -> Subject:
    """A regression on 90 inputs that are zero."""
    tiny, random = TINY.load(), np.random.default_rng(0)
    train, test = (
        zeroed(part, n, random.normal(size=n).astype(np.float32))
        for part, n in ((tiny.dataset.train, 90), (tiny.dataset.test, 12))
    )
    dataset = Dataset("unseen", "image", (), train, test)
    training = replace(tiny.training, learning_rate=0.05)
    return replace(tiny, dataset=dataset, make_model=lambda: nn.Linear(64, 1), task=Regression(), training=training)


@pytest.fixture(scope="module", params=[classes_unseen, numbers_unseen])
def blind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    recipe = Recipe("unseen", "Unseen", "Inputs that are all zero.", request.param, 2, 4, N_SUBSETS, 2, 2)
    runs: Path = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, recipe.name, recipe)
        run_dir = build_run(BuildSettings.of(recipe, 0, "cpu"), "unseen", runs)
    with open_run(run_dir) as run:
        yield run


def test_lds_alone_would_believe_them(blind: Run):
    assert blind.lds("trak").ci_low > 0.5


def test_trust_in_none_of_their_explanations_is_above_low(blind: Run):
    for table in ("lds", "target_lds"):
        assert {trust for (trust,) in blind.rows(f"SELECT trust FROM {table}")} <= {"low", "not measured"}


def test_attribution_does_not_beat_the_rules_that_see_as_much(blind: Run):
    compared = blind.control_comparisons("trak")
    simple = "same_class" if blind.info.has_classes else "target_value"
    assert simple in compared["control"].tolist()
    assert beats_controls(compared["fixed_low" if blind.info.has_classes else "ci_low"]) is False


def test_at_fixed_class_counts_nothing_is_left(blind: Run):
    found = blind.lds("trak")
    if blind.info.has_classes:
        assert found.fixed_low < 0.1
        assert blind.lds("same_class").fixed == 0
        assert why_no_fixed_lds(blind) == ""
    else:
        assert np.isnan(found.fixed)
        assert "there are no classes" in why_no_fixed_lds(blind)


def test_the_gradient_norm_of_a_build_is_that_of_its_features(blind: Run):
    features = blind.columns(
        "SELECT avg(abs(q) * norm) AS n FROM features WHERE split = 'train' GROUP BY idx ORDER BY idx"
    )
    assert np.abs(blind.scores("grad_norm")[0]) == pytest.approx(features["n"], rel=1e-5)


def test_they_check_out(blind: Run):
    assert [check.detail for check in verify(blind) if not check.ok] == []
