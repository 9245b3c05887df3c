"""Labels made wrong on purpose: which, how many, and that a run built with them keeps the truth apart."""

import dataclasses
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from tests.tiny import N_TRAIN, QUICK, SETTINGS, TINY
from trak_core.__main__ import cli
from trak_core.engine import BuildSettings, build_run, measure_run
from trak_core.engine.subject import load_subject, read_build
from trak_core.errors import InvalidSettingError, RunMismatchError
from trak_core.evidence.verification import verify
from trak_core.live.context import read_context
from trak_core.live.run import open_run
from trak_core.store.files import RunFiles
from trak_core.subjects import RECIPES
from trak_core.subjects.planting import KINDS, SHRINKAGE, plant_errors, plant_in
from trak_core.views.compare import differing_settings
from trak_core.views.provenance import metadata_table

ROOT = Path(__file__).resolve().parents[1]
FLIPPED = dataclasses.replace(SETTINGS, flip_labels=0.1, flip_kind="confusable")


def clouds(n_of_each: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clouds of points: classes 0 and 1 overlap, 2 and 3 lie far away on either side."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), n_of_each)
    centres = np.array([[0.0, 0.0], [1.5, 0.0], [100.0, 0.0], [-100.0, 0.0]])
    points = centres[labels] + generator.normal(size=(len(labels), 2))
    order = generator.permutation(len(labels))
    return points[order].astype(np.float32), labels[order]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.333, 0.5])
def test_exactly_the_share_is_wrong_and_always_another_class(kind, share):
    inputs, labels = clouds((50, 40, 30, 20))
    before = labels.copy()
    planted = plant_errors(inputs, labels, 4, share, kind, seed=0)
    assert (planted != labels).sum() == round(share * 140)
    assert planted.dtype == np.int64
    assert set(planted.tolist()) <= {0, 1, 2, 3}
    assert np.array_equal(labels, before)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_plants_the_same_and_another_one_others(kind):
    inputs, labels = clouds((50, 40, 30, 20))
    first = plant_errors(inputs, labels, 4, 0.2, kind, seed=0)
    assert np.array_equal(first, plant_errors(inputs, labels, 4, 0.2, kind, seed=0))
    assert not np.array_equal(first, plant_errors(inputs, labels, 4, 0.2, kind, seed=1))


@pytest.mark.parametrize("kind", KINDS)
def test_a_larger_share_keeps_the_errors_of_a_smaller_one(kind):
    inputs, labels = clouds((50, 40, 30, 20))
    few, more = (plant_errors(inputs, labels, 4, share, kind, seed=0) for share in (0.1, 0.3))
    assert np.array_equal(more[few != labels], few[few != labels])


def test_both_kinds_take_the_same_examples():
    inputs, labels = clouds((50, 40, 30, 20))
    wrong = [np.flatnonzero(plant_errors(inputs, labels, 4, 0.2, kind, seed=0) != labels).tolist() for kind in KINDS]
    assert wrong[0] == wrong[1]


def test_uniform_errors_fall_on_all_examples_and_other_classes_alike():
    labels = np.repeat(np.arange(5), 2000)
    planted = plant_errors(np.zeros((10_000, 1)), labels, 5, 0.5, "uniform", seed=0)
    taken = np.zeros((5, 5))
    np.add.at(taken, (labels, planted), 1)
    # 250 expected in each place off the diagonal; their standard deviation is below 16.
    assert np.abs(taken[~np.eye(5, dtype=bool)] - 250).max() < 4 * 16


def test_confusable_errors_fall_on_the_class_that_looks_alike():
    inputs, labels = clouds((50, 40, 30, 20))
    planted = plant_errors(inputs, labels, 4, 0.5, "confusable", seed=0)
    wrong = planted != labels
    assert set(planted[wrong & (labels == 0)]) == {1}
    assert set(planted[wrong & (labels == 1)]) == {0}
    # Never taken for another class: the nearest mean.
    assert set(planted[wrong & (labels == 2)]) == {1}
    assert set(planted[wrong & (labels == 3)]) == {0}


def test_confusable_errors_follow_what_a_classifier_without_the_example_confuses():
    """Against distances to means that are computed anew for each example; over 100 seeds, so that shares are steady."""
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 3, 60)
    means = np.array([[0, 0], [1.2, 0], [0, 1.2]])[labels]
    inputs = (means + generator.normal(size=(60, 2)) @ [[1.0, 0.5], [0.0, 0.8]]).astype(np.float32)
    spread = sum(np.cov(inputs[labels == c].T, bias=True) * (labels == c).mean() for c in range(3))
    measured_by = np.linalg.inv(spread + SHRINKAGE * np.trace(spread) / 2 * np.eye(2))
    confused = np.zeros((3, 3))
    for i in range(60):
        rest = np.arange(60) != i
        away = [inputs[i] - inputs[rest & (labels == c)].mean(axis=0) for c in range(3)]
        confused[labels[i], np.argmin([d @ measured_by @ d for d in away])] += 1
    np.fill_diagonal(confused, 0)
    expected = confused / confused.sum(axis=1, keepdims=True)
    taken = np.zeros((3, 3))
    for seed in range(100):
        planted = plant_errors(inputs, labels, 3, 0.5, "confusable", seed)
        np.add.at(taken, (labels[planted != labels], planted[planted != labels]), 1)
    assert (taken[expected == 0] == 0).all()
    assert taken / taken.sum(axis=1, keepdims=True) == pytest.approx(expected, abs=0.05)


def test_inputs_of_many_numbers_are_projected_and_keep_who_looks_alike(monkeypatch):
    inputs, labels = clouds((50, 40, 30, 20))
    wide = np.repeat(inputs, 40, axis=1)
    monkeypatch.setattr("trak_core.subjects.planting.MAX_WIDTH", 16)
    planted = plant_errors(wide, labels, 4, 0.5, "confusable", seed=0)
    assert {*planted[(planted != labels) & (labels == 0)]} == {1}
    assert {*planted[(planted != labels) & (labels == 1)]} == {0}
    assert np.array_equal(planted, plant_errors(wide, labels, 4, 0.5, "confusable", seed=0))


@pytest.mark.slow
def test_confusable_errors_do_not_depend_on_the_number_of_threads():
    """The labels of a run are made again whenever its models are trained again, on whatever machine."""
    script = (
        "from trak_core.datasets import load_digits; from trak_core.subjects.planting import plant_in; "
        "dataset, _ = plant_in(load_digits(), 0.3, 'confusable', 0); print(dataset.fingerprint())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for n in ("1", "2")
    }
    assert len(said) == 1 and len(said.pop().strip()) == 64


@pytest.mark.parametrize("kind", KINDS)
def test_classes_with_one_example_or_none_are_no_trouble(kind):
    inputs, labels = clouds((20, 1, 0, 15))
    planted = plant_errors(inputs, labels, 6, 0.5, kind, seed=0)
    assert (planted != labels).sum() == 18
    assert set(planted.tolist()) <= {0, 1, 3}  # a class that nobody has is given to nobody
    alone = plant_errors(np.array([[0.0], [1.0]]), np.array([0, 1]), 2, 0.5, kind, seed=0)
    assert alone.tolist() in ([0, 0], [1, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_classes_that_cannot_be_told_apart_are_no_trouble(kind):
    labels = np.arange(30) % 3
    planted = plant_errors(np.zeros((30, 4), dtype=np.float32), labels, 3, 0.4, kind, seed=0)
    assert (planted != labels).sum() == 12


def test_images_are_looked_at_as_flat_rows():
    inputs, labels = clouds((50, 40, 30, 20))
    flat = plant_errors(inputs, labels, 4, 0.5, "confusable", seed=0)
    assert np.array_equal(flat, plant_errors(inputs.reshape(-1, 1, 2, 1), labels, 4, 0.5, "confusable", seed=0))


@pytest.mark.parametrize(
    ("share", "kind", "labels", "message"),
    [
        (0.6, "uniform", [0, 1], "share=0.6; it must be from 0 to 0.5"),
        (-0.1, "uniform", [0, 1], "share=-0.1; it must be from 0"),
        (float("nan"), "uniform", [0, 1], "share=nan; it must be from 0"),
        (0.1, "nearest", [0, 1], "kind='nearest'; it must be uniform or confusable"),
        (0.5, "uniform", [1, 1, 1, 1], "share=0.5 cannot be made wrong: all 4 labels are of class 1"),
        (0.5, "confusable", [1, 1, 1, 1], "share=0.5 cannot be made wrong"),
    ],
)
def test_what_cannot_be_planted_is_refused(share, kind, labels, message):
    with pytest.raises(InvalidSettingError, match=message):
        plant_errors(np.zeros((len(labels), 2), dtype=np.float32), np.array(labels), 2, share, kind, seed=0)


def test_a_data_set_without_errors_stays_the_same_one():
    dataset = TINY.load().dataset
    same, planted = plant_in(dataset, 0.0, "uniform", 0)
    assert same is dataset
    assert len(planted.train_idx) == len(planted.true_label) == 0


# --- settings -------------------------------------------------------------------------------------------------


def flags_of(command: list[str]) -> dict[str, str]:
    return dict(zip(command[2::2], command[3::2], strict=True))


def test_settings_come_back_from_their_command(monkeypatch):
    built = []
    monkeypatch.setitem(RECIPES, "tiny", TINY)
    monkeypatch.setattr("trak_core.engine.build_run", lambda *given: built.append(given) or 1 / 0)
    for settings in (SETTINGS, FLIPPED, dataclasses.replace(SETTINGS, flip_labels=0.29)):
        with pytest.raises(ZeroDivisionError):
            CliRunner().invoke(cli, settings.command("mine"), catch_exceptions=False)
        assert built[-1][:2] == (settings, "mine")


def test_the_command_tells_of_wrong_labels_only_where_there_are_some():
    assert flags_of(FLIPPED.command("x"))["--flip-labels"] == "0.1"
    assert flags_of(FLIPPED.command("x"))["--flip-kind"] == "confusable"
    assert not [word for word in SETTINGS.command("x") if "flip" in word]


def test_no_wrong_labels_are_one_setting_however_they_are_written(monkeypatch):
    subject = TINY.load()
    same = [dataclasses.replace(SETTINGS, flip_labels=nothing) for nothing in (0, 0.0, -0.0)]
    assert len({settings.fingerprint(subject) for settings in (SETTINGS, *same)}) == 1
    others = [FLIPPED, dataclasses.replace(FLIPPED, flip_kind="uniform"), dataclasses.replace(FLIPPED, flip_labels=0.2)]
    assert len({settings.fingerprint(subject) for settings in (SETTINGS, *others)}) == 4


@pytest.mark.parametrize(
    ("flips", "message"),
    [
        ({"flip_labels": 0.51}, "flip_labels=0.51; it must be from 0 to 0.5"),
        ({"flip_labels": float("nan")}, "flip_labels=nan"),
        ({"flip_labels": 0.1, "flip_kind": "odd"}, "flip_kind='odd'; it must be uniform or confusable"),
        ({"flip_kind": "confusable"}, "flip_labels=0 makes no label wrong"),
    ],
)
def test_settings_that_cannot_work_are_refused(flips, message):
    with pytest.raises(InvalidSettingError, match=message):
        BuildSettings.of(TINY, 0, "cpu", **flips)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--flip-labels", "2"], "error: flip_labels=2.0; it must be from 0 to 0.5"),
        (["--flip-labels", "x"], "'x' is not a valid float"),
        (["--flip-labels", "0.1", "--flip-kind", "odd"], "'odd' is not one of 'uniform', 'confusable'"),
        (["--flip-kind", "confusable"], "as in flip_labels=0.1"),
    ],
)
def test_the_command_line_refuses_them_in_one_line(no_runs, flags, message):
    result = CliRunner().invoke(cli, ["build", "digits", *flags])
    assert result.exit_code == 2
    assert message in result.output
    assert not no_runs.exists()


# --- runs -----------------------------------------------------------------------------------------------------


@contextmanager
def with_tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, TINY.name, TINY)
        yield patch


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A directory with the tiny run, once as it is and once with wrong labels that a stopped build began."""
    runs = tmp_path_factory.mktemp("flipped")
    with with_tiny():

        def stop(status):
            if status.step == "scoring":
                raise KeyboardInterrupt

        build_run(SETTINGS, "plain", runs)
        with pytest.raises(KeyboardInterrupt):
            build_run(FLIPPED, "flipped", runs, stop)
        assert RunFiles(runs / "flipped").working_store.exists()
        build_run(FLIPPED, "flipped", runs)
    return runs


@pytest.fixture
def flipped(built):
    with with_tiny(), open_run(built / "flipped") as run:
        yield run


def test_a_run_has_the_wrong_labels_and_keeps_the_true_ones_apart(flipped):
    truth = TINY.load().dataset
    wrong = np.flatnonzero(flipped.train_labels != truth.train.labels)
    assert len(wrong) == round(0.1 * N_TRAIN)
    assert flipped.rows("SELECT train_idx, true_label FROM planted_errors ORDER BY train_idx") == [
        (int(i), int(truth.train.labels[i])) for i in wrong
    ]
    assert np.array_equal(flipped.test_labels, truth.test.labels)
    names = flipped.rows("SELECT label, label_name FROM examples")
    assert all(truth.class_names[label] == name for label, name in names)
    assert (flipped.info.provenance["flip_labels"], flipped.info.provenance["flip_kind"]) == (0.1, "confusable")
    assert [check for check in verify(flipped) if not check.ok] == []


def test_a_run_without_planted_errors_has_none(built):
    with open_run(built / "plain") as run:
        assert run.rows("SELECT * FROM planted_errors") == []
        assert run.info.provenance["flip_labels"] == 0
        assert np.array_equal(run.train_labels, TINY.load().dataset.train.labels)


def test_the_checkpoints_were_trained_on_the_wrong_labels(flipped):
    context = read_context(flipped).context
    said, accuracy = zip(
        *flipped.rows("SELECT checkpoint_id, train_accuracy FROM checkpoints ORDER BY checkpoint_id"), strict=True
    )
    for checkpoint_id in said:
        context.architecture.load_state_dict(context.states[checkpoint_id])
        with torch.no_grad():
            right = context.architecture(context.train.inputs).argmax(1).numpy() == flipped.train_labels
        assert right.mean() == pytest.approx(accuracy[checkpoint_id])


def test_new_inputs_are_scored_against_the_labels_that_were_trained_on(flipped):
    dataset = TINY.load().dataset
    assert np.array_equal(read_context(flipped).context.train.targets.numpy(), flipped.train_labels)
    live = flipped.attribute(dataset.test.inputs[:3], flipped.test_labels[:3])
    stored = flipped.scores("trak")[:3]
    assert np.abs(live - stored).max() < 1e-3 * np.abs(stored).max()


def test_a_finished_run_is_read_with_its_wrong_labels_and_can_be_measured(built, flipped):
    settings, subject = read_build(flipped)
    assert settings == FLIPPED
    assert np.array_equal(subject.dataset.train.labels, flipped.train_labels)
    assert np.array_equal(load_subject(settings)[0].dataset.train.labels, flipped.train_labels)
    quick = dataclasses.replace(QUICK, methods=("nearest",), n_removal_tests=0, n_truth_subsets=0)
    planted = flipped.rows("SELECT * FROM planted_errors ORDER BY ALL")
    measure_run(built / "flipped", quick)
    with open_run(built / "flipped") as run:
        assert run.rows("SELECT * FROM planted_errors ORDER BY ALL") == planted


@pytest.mark.parametrize("flips", [(0.1, "uniform"), (0.2, "confusable"), (0.0, "uniform")])
def test_the_same_name_with_other_wrong_labels_is_refused(built, flipped, flips):
    other = dataclasses.replace(FLIPPED, flip_labels=flips[0], flip_kind=flips[1])
    with pytest.raises(RunMismatchError, match="other settings"):
        build_run(other, "flipped", built)


def test_a_store_that_lost_the_truth_fails_its_checks(flipped, monkeypatch):
    monkeypatch.setitem(flipped.info.provenance, "flip_labels", 0.2)
    assert [check.detail for check in verify(flipped) if not check.ok] == ["planted_errors has 12 rows instead of 24"]


def test_what_a_run_is_made_of_tells_of_its_wrong_labels(built, flipped, monkeypatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(built))
    said = CliRunner().invoke(cli, ["info", "flipped"]).output
    assert "12 of 120 training labels were made wrong on purpose (confusable, --flip-labels 0.1)." in said
    assert json.loads(CliRunner().invoke(cli, ["info", "flipped", "--json"]).output)["n_planted_errors"] == 12
    assert "on purpose" not in CliRunner().invoke(cli, ["info", "plain"]).output
    facts = dict(metadata_table(flipped)[["what", "value"]].itertuples(index=False))
    assert facts["share of labels made wrong on purpose"] == "0.1"
    assert facts["kind of wrong labels"] == "confusable"
    with open_run(built / "plain") as plain:
        assert "kind of wrong labels" not in set(metadata_table(plain)["what"])
        differing = set(differing_settings(flipped, plain)["setting"])
    assert {"share of labels made wrong on purpose", "kind of wrong labels"} <= differing
