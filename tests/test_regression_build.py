"""A run whose labels are numbers: built, measured, asked further and scored live, as one of classes is."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import trak_core as tc
from tests.tiny import QUICK
from trak_core.engine import BuildSettings, build_run, measure_run
from trak_core.engine.retraining import verify_what_if
from trak_core.errors import InvalidSettingError
from trak_core.evidence.lds import lds_per_test, predicted_outcomes
from trak_core.methods import METHODS, Need
from trak_core.modalities.dataset import Dataset, Split
from trak_core.seeds import derive_seed
from trak_core.store.ledger import read_masks, read_outcomes
from trak_core.subjects import RECIPES, Recipe, Subject
from trak_core.tasks import find_task
from trak_core.training import TrainingSettings, train_ensemble
from trak_core.views.model_quality import learnt_sentence, quality_of

# torch's own, when it takes its first forward derivative.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
]
N_TRAIN, N_TEST, N_INPUTS = 120, 40, 6
TRAINING = TrainingSettings(epochs=8, batch_size=20, learning_rate=0.05, momentum=0.9, weight_decay=0.01)


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(N_INPUTS, 8), nn.Tanh(), nn.Linear(8, 1))


@cache
def load() -> Subject:
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(N_TRAIN + N_TEST, N_INPUTS)).astype(np.float32)
    labels = (inputs @ draw.normal(size=N_INPUTS) + 0.3 * draw.normal(size=len(inputs))).astype(np.float32)
    texts = [", ".join(f"{value:.1f}" for value in row) for row in inputs]
    train, test = (
        Split(inputs[part], labels[part], texts=texts[part]) for part in (slice(N_TRAIN), slice(N_TRAIN, None))
    )
    dataset = Dataset("sums", "numbers", (), train, test)
    return Subject(dataset=dataset, make_model=make_model, task=find_task("regression"), training=TRAINING)


SUMS = Recipe("sums", "Weighted sums", "Numbers with a number each.", load, 2, 8, 20, 2, 3)
SETTINGS = BuildSettings.of(SUMS, 0, "cpu")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, SUMS.name, SUMS)
        built = build_run(SETTINGS, "sums", tmp_path_factory.mktemp("runs"), recipe=SUMS)
        measure_run(built, replace(QUICK, methods=tuple(METHODS)))
    return built


@pytest.fixture
def run(run_dir: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(RECIPES, SUMS.name, SUMS)
    with tc.open_run(run_dir) as opened:
        yield opened


def test_every_method_but_those_of_classes_and_of_texts_is_measured(run: tc.Run):
    unmet = {Need.CLASSES, Need.TEXTS}
    left_out = {name for name, method in METHODS.items() if unmet & set(method.info.needs)}
    assert set(run.info.provenance["methods_left_out"]) == left_out
    assert {name for (name,) in run.rows("SELECT method FROM methods")} == set(METHODS) - left_out
    for name in set(METHODS) - left_out:
        assert np.isfinite(run.scores(name)).all(), name
    assert not run.info.has_classes and run.rows("SELECT count(*) FROM target_scores") == [(0,)]


def test_answers_are_numbers_and_neither_right_nor_wrong(run: tc.Run):
    dataset = load().dataset
    rows = run.rows(
        "SELECT model_output, loss, predicted, probabilities FROM predictions WHERE split = 'test' "
        "AND checkpoint_id = 0 ORDER BY idx"
    )
    outputs = np.array([output for output, _, _, _ in rows])
    np.testing.assert_allclose([loss for _, loss, _, _ in rows], (outputs - dataset.test.labels) ** 2 / 2, rtol=1e-4)
    assert {(predicted, probabilities) for _, _, predicted, probabilities in rows} == {(None, None)}
    assert run.rows("SELECT DISTINCT train_accuracy, test_accuracy FROM checkpoints") == [(None, None)]
    assert np.corrcoef(outputs, dataset.test.labels)[0, 1] > 0.9


def test_what_the_models_have_learnt_is_told_by_r2(run: tc.Run):
    quality, test = quality_of(run), load().dataset.test
    rows = run.rows("SELECT avg(model_output) FROM predictions WHERE split = 'test' GROUP BY idx ORDER BY idx")
    errors = (np.array([output for (output,) in rows]) - test.labels) ** 2
    of_mean = (load().dataset.train.labels.mean() - test.labels) ** 2
    assert quality is not None and quality.beats_guess and quality.linear is not None
    assert quality.value == pytest.approx(1 - errors.sum() / of_mean.sum(), abs=1e-4)
    assert quality.linear > 0.8 and quality.inputs is not None and not quality.inputs.n_empty_test
    assert learnt_sentence(quality).startswith("The models have beaten the mean of the training targets: R²")


def test_outcomes_are_predictions_of_retrained_models_and_the_scores_foresee_them(run: tc.Run):
    train, test = load().dataset.train, load().dataset.test
    masks, outcomes = read_masks(run, "eval", N_TRAIN), read_outcomes(run, "eval", 2, N_TEST)
    first = int(run.rows("SELECT min(subset_id) FROM subsets WHERE role = 'eval'")[0][0])
    seeds = [derive_seed(SETTINGS.seed, "ledger", first, seed) for seed in range(2)]
    both = np.stack([masks[0], masks[0]])
    inputs, labels = torch.from_numpy(train.inputs), torch.from_numpy(train.labels)
    models = train_ensemble(make_model, find_task("regression"), inputs, labels, both, seeds, TRAINING)
    expected = models.outputs(find_task("regression"), torch.from_numpy(test.inputs))[..., 0]
    np.testing.assert_allclose(outcomes[0], expected.numpy(), rtol=1e-3, atol=1e-4)
    found = {
        name: np.nanmean(lds_per_test(predicted_outcomes(run.scores(name), masks), outcomes.mean(1)))
        for name in ("trak", "magic", "influence_ekfac", "random")
    }
    assert min(found["trak"], found["magic"], found["influence_ekfac"]) > 0.15 > abs(found["random"])


def test_new_inputs_are_scored_as_the_stored_ones_are(run: tc.Run):
    stored = run.scores("trak")[:5]
    live = run.attribute(load().dataset.test.inputs[:5])  # asked about the prediction itself
    assert np.abs(live - stored).max() < 1e-4 * np.abs(stored).max()


def test_errors_are_planted_among_classes_only(tmp_path: Path):
    with pytest.raises(InvalidSettingError, match=r"those of 'sums' are numbers.*Plant no errors"):
        build_run(BuildSettings.of(SUMS, 0, "cpu", flip_labels=0.1), "wrong", tmp_path, recipe=SUMS)


def test_a_what_if_moves_a_number_and_flips_nothing(run_dir: Path, run: tc.Run):
    verified = verify_what_if(run_dir, 3, [1, 2, 5], n_seeds=2)
    assert len(verified.before) == len(verified.after) == 1 and verified.share_flipped == 0
    assert abs(verified.before[0] - load().dataset.test.labels[3]) < 2
