"""Builds of the digits run: right, resumable, and safe to watch."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import trak_core as tc
from tests.conftest import SMALL
from tests.oracles import loop_gradients, plain_spearman
from trak_core.engine import BuildSettings, build_run
from trak_core.errors import (
    InvalidSettingError,
    RunMismatchError,
    StoreDamagedError,
    TrakCoreError,
)
from trak_core.evidence.verification import verify
from trak_core.store.files import RunFiles
from trak_core.store.progress import read_status
from trak_core.store.run import open_run
from trak_core.store.run_ledger import outcomes, subset_masks
from trak_core.subjects import find_recipe
from trak_core.views.evidence import board

ROOT = Path(__file__).resolve().parents[1]
RECIPE = find_recipe("digits")
FLAGS = [f"--{key.replace('_', '-')}={value}" for key, value in SMALL.items()]


def settings(seed: int = 0, **overrides: int) -> BuildSettings:
    return BuildSettings.of(RECIPE, seed, "cpu", **{**SMALL, **overrides})


def build_command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "trak_core", "build", "digits", "--device", "cpu", *FLAGS, *flags]


def test_every_check_of_a_finished_run_passes(small_run):
    assert [check for check in verify(small_run) if not check.ok] == []
    assert len(verify(small_run)) == 8


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("DELETE FROM topk WHERE method = 'trak' AND test_idx = 3 AND side = 'opponent' AND rank = 100", "top lists"),
        ("DELETE FROM topk", "top lists"),
        ("DELETE FROM outcomes WHERE subset_id = 7 AND test_idx = 3", "LDS of the stored scores"),
        ("DELETE FROM target_scores", "as many rows"),
        ("DELETE FROM target_lds", "as many rows"),
        ("DELETE FROM suspects WHERE train_idx = 3 AND signal = 'neighbours'", "as many rows"),
        ("DELETE FROM out_of_fold WHERE train_idx = 3", "as many rows"),
        ("DELETE FROM target_outcomes WHERE subset_id = 7", "all other targets"),
        ("UPDATE lds_summary SET lds = .99 WHERE method = 'trak'", "LDS of the stored scores"),
        ("UPDATE lds SET noise_ceiling = .1 WHERE test_idx = 3", "LDS of the stored scores"),
        ("UPDATE lds SET trust = 'high'", "LDS of the stored scores"),
        ("UPDATE target_lds SET lds = 0 WHERE test_idx = 3", "all other targets"),
        ("UPDATE target_lds SET lds = lds + .0005 WHERE test_idx = 3 AND target = 5", "all other targets"),
        ("UPDATE methods SET fingerprint = 'x'", "made from these settings"),
        ("UPDATE meta SET value = '7.0' WHERE key = 'ridge'", "made from these settings"),
        ("UPDATE checkpoints SET sha256 = 'x' WHERE checkpoint_id = 0", "checkpoints are the files"),
        ("UPDATE features SET phi = list_transform(phi, lambda x: 'nan'::FLOAT)::FLOAT[16] WHERE idx = 3", "finite"),
    ],
)
def test_verify_notices_what_was_changed(runs, statement, check):
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:
        connection.execute(statement)
    with open_run(runs / "digits") as run:
        failed = [result.name for result in verify(run) if not result.ok]
    assert any(check in name for name in failed), failed


@pytest.mark.parametrize("target", [0, 1])
def test_scores_are_in_units_of_the_margin_on_subsets_that_calibration_did_not_see(small_run, target):
    """The slope of actual against predicted changes lies in .5 to 2, for labels and for other classes."""
    assert small_run.in_model_units("trak", target)
    found = board(small_run)
    slope = found.slope_of_others if target else found.slope
    assert 0.5 < slope < 2


def test_a_refused_build_leaves_the_unfinished_one_as_it_was(tmp_path):
    def stop(status):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_run(settings(seed=3), "mine", tmp_path, stop)
    before = read_status(tmp_path / "mine")
    with pytest.raises(RunMismatchError):
        build_run(settings(seed=5), "mine", tmp_path)
    assert read_status(tmp_path / "mine") == before


def test_another_model_has_another_fingerprint():
    subject = RECIPE.load()
    other = replace(subject, make_model=lambda: torch.nn.Linear(64, 10))
    assert settings().fingerprint(subject) != settings().fingerprint(other)


def test_nothing_is_left_of_the_building_site(small_runs):
    assert sorted(path.name for path in (small_runs / "digits").iterdir()) == ["checkpoints", "store.duckdb"]


def test_trak_scores_equal_those_of_a_loop_and_a_dense_solve(small_run):
    """From the checkpoint files: gradients one by one, the kernel in float64, its inverse, and the calibration."""
    subject = RECIPE.load()
    test_rows = [0, 17, 359]
    train, test = subject.dataset.train, subject.dataset.test
    made = small_run.info.provenance
    total, q = 0.0, 0.0
    for i in range(SMALL["n_checkpoints"]):
        state = load_file(small_run.path / "checkpoints" / f"model_{i}.safetensors")
        parameters = {name: value.double() for name, value in state.items()}
        model = subject.make_model().double()
        inputs, labels = torch.from_numpy(train.inputs).double(), torch.from_numpy(train.labels)
        phi = loop_gradients(model, parameters, inputs, labels).numpy()
        test_inputs = torch.from_numpy(test.inputs[test_rows]).double()
        phi_test = loop_gradients(model, parameters, test_inputs, torch.from_numpy(test.labels[test_rows])).numpy()
        kernel = phi @ phi.T
        inverse = np.linalg.inv(kernel + made["ridge"] * np.trace(kernel) / len(kernel) * np.eye(len(kernel)))
        total = total + phi_test @ phi.T @ inverse
        logits = torch.func.functional_call(model, parameters, (inputs,))
        q = q + 1 - logits.softmax(-1)[torch.arange(len(labels)), labels].detach().numpy()
    n = SMALL["n_checkpoints"]
    expected = made["calibration"] * (total / n) * (q / n)
    scores = small_run.scores("trak")[test_rows]
    # float32 in the program, float64 here.
    np.testing.assert_allclose(scores, expected, atol=2e-4 * np.abs(expected).max())


def test_scores_of_another_target_are_stored_and_differ(small_run):
    label = small_run.label("test", 4)
    own = small_run.score_row(4)
    other = small_run.score_row(4, target=small_run.target_of_class(4, (label + 1) % 10))
    assert own.shape == other.shape == (1437,)
    assert not np.allclose(own, other)
    assert np.array_equal(other, small_run.score_row(4, target=str((label + 1) % 10)))
    assert np.array_equal(own, small_run.score_row(4, target=small_run.target_of_class(4, label)))


def test_the_targets_of_a_test_example_are_its_label_and_every_other_class(small_run):
    label = small_run.label("test", 4)
    expected = {0: str(label)} | {c + 1: str(c) for c in range(10) if c != label}
    assert small_run.targets(4) == expected
    assert {small_run.class_of_target(4, target) for target in expected} == set(range(10))


def test_stored_lds_is_the_spearman_correlation_by_definition(small_run):
    masks, actual = subset_masks(small_run, "eval"), outcomes(small_run, "eval").mean(1)
    stored = small_run.lds("trak").per_test
    for test_idx in (0, 100, 359):
        predicted = [float(small_run.scores("trak")[test_idx][mask].astype(float).sum()) for mask in masks]
        assert stored[test_idx] == pytest.approx(plain_spearman(predicted, actual[:, test_idx].tolist()), abs=1e-6)


def test_ridge_is_chosen_on_subsets_that_lds_is_not_reported_on(small_run):
    roles = small_run.rows("SELECT role, list(subset_id ORDER BY subset_id) FROM subsets GROUP BY role ORDER BY role")
    assert roles == [("eval", list(range(4, 20))), ("fit", list(range(4)))]
    assert small_run.lds().n_subsets == 16
    by_ridge = small_run.info.provenance["lds_by_ridge_on_fit_subsets"]
    assert small_run.info.provenance["ridge"] == float(max(by_ridge, key=by_ridge.get))


def test_features_are_stored_although_the_kernel_is_exact(small_run):
    rows = small_run.rows("SELECT split, count(*), len(any_value(phi)) FROM features GROUP BY split ORDER BY split")
    assert rows == [("test", 3 * 360, 16), ("train", 3 * 1437, 16)]


def test_projected_features_have_the_norm_of_the_gradients_on_average(small_run):
    """With 16 dimensions one squared norm is off by a third; over 1,437 examples the mean is not."""
    (ratio,) = small_run.rows(
        "SELECT sum(list_sum(list_transform(phi, lambda x: x * x))) / sum(norm * norm) "
        "FROM features WHERE split = 'train'"
    )[0]
    assert ratio == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_the_same_settings_give_the_same_run(small_run, tmp_path):
    build_run(settings(), "again", tmp_path)
    with open_run(tmp_path / "again") as again:
        assert np.array_equal(again.scores(), small_run.scores())
        assert np.array_equal(again.lds().per_test, small_run.lds().per_test)
        assert again.info.provenance["fingerprint"] == small_run.info.provenance["fingerprint"]


def test_a_finished_run_is_found_finished(runs):
    before = (runs / "digits" / "store.duckdb").stat().st_mtime_ns
    assert build_run(settings(), "digits", runs) == runs / "digits"
    assert (runs / "digits" / "store.duckdb").stat().st_mtime_ns == before


def test_a_build_killed_while_tidying_up_is_tidied_up_next_time(runs):
    files = RunFiles(runs / "digits")
    files.build.mkdir()
    files.working_store.write_bytes(b"left over")
    assert read_status(files.run_dir).state == "stopped"
    build_run(settings(), "digits", runs)
    assert read_status(files.run_dir) is None
    assert not files.build.exists()


def test_other_settings_do_not_touch_a_run_that_is_there(runs):
    before = (runs / "digits" / "store.duckdb").read_bytes()
    with pytest.raises(RunMismatchError, match=r"other settings.*seed was 0 and is 1.*another name"):
        build_run(settings(seed=1), "digits", runs)
    assert (runs / "digits" / "store.duckdb").read_bytes() == before


def test_a_damaged_run_is_not_built_over(runs):
    store = runs / "digits" / "store.duckdb"
    store.write_bytes(b"damaged" * 1000)
    with pytest.raises(StoreDamagedError):
        build_run(settings(), "digits", runs)
    assert store.read_bytes() == b"damaged" * 1000


@pytest.mark.slow
def test_a_checkpoint_changed_during_a_build_is_noticed(tmp_path):
    def stop_at_gradients(status):
        if "gradients" in status.step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_run(settings(), "mine", tmp_path, stop_at_gradients)
    assert read_status(tmp_path / "mine").state == "stopped"
    shutil.copy(tmp_path / "mine/checkpoints/model_1.safetensors", tmp_path / "mine/checkpoints/model_0.safetensors")
    with pytest.raises(RunMismatchError, match=r"model_0\.safetensors is missing or is not the checkpoint"):
        build_run(settings(), "mine", tmp_path)
    status = read_status(tmp_path / "mine")
    assert status.state == "failed"
    assert "model_0.safetensors" in status.message


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../up", "a" * 101, "a b"])
def test_names_that_could_leave_the_directory_are_refused(tmp_path, name):
    with pytest.raises(InvalidSettingError, match="run name"):
        build_run(settings(), name, tmp_path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"n_subsets": 3}, "n_subsets=3; it must be from 20"),
        ({"n_seeds": 0}, "n_seeds=0"),
        ({"proj_dim": 0}, "proj_dim=0"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_computed(override, message):
    with pytest.raises(InvalidSettingError, match=message):
        settings(**override)


def test_a_gpu_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InvalidSettingError, match="finds no GPU"):
        BuildSettings.of(RECIPE, 0, "cuda")


@pytest.mark.slow
def test_a_full_disk_gives_one_sentence_and_loses_nothing(tmp_path):
    """The limit on file sizes stands in for a full disk: the same kind of write error, without needing to be root."""

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))

    environment = {**os.environ, "TRAK_RUNS_DIR": str(tmp_path)}
    broken = subprocess.run(
        build_command(), cwd=ROOT, env=environment, capture_output=True, text=True, preexec_fn=limit_file_size
    )
    assert broken.returncode == 1, broken.stderr
    assert "error: cannot write" in broken.stderr
    assert "the same command" in broken.stderr
    assert "Traceback" not in broken.stderr
    mended = subprocess.run(build_command(), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert mended.returncode == 0, mended.stderr
    with open_run(tmp_path / "digits") as run:
        assert all(check.ok for check in verify(run))


@pytest.mark.slow
def test_a_directory_that_cannot_be_written_gives_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    environment = {**os.environ, "TRAK_RUNS_DIR": str(tmp_path / "file" / "runs")}
    result = subprocess.run(build_command(), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert "error: cannot write" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_readers_in_another_process_never_see_an_incomplete_table(tmp_path):
    """While a build runs, another process opens the run again and again; whatever it sees passes every check."""
    environment = {**os.environ, "TRAK_RUNS_DIR": str(tmp_path)}
    build = subprocess.Popen(
        build_command(), cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    seen = set()
    while build.poll() is None:
        try:
            with tc.open_run(tmp_path / "digits") as run:
                assert [check for check in verify(run) if not check.ok] == []
                seen.add("with evidence" if run.has_lds else "scores only")
        except TrakCoreError as error:
            seen.add(type(error).__name__)
        time.sleep(0.02)
    assert build.returncode == 0
    assert seen <= {"RunNotFoundError", "RunNotReadyError", "scores only", "with evidence"}
    assert "scores only" in seen


@pytest.mark.slow
def test_a_build_killed_in_every_block_has_the_scores_of_an_unbroken_one(small_run, tmp_path):
    """Dead before or after each thing that it writes; every start goes on.

    The last death comes after the publication and before the tidying up, which is then all that is left to do.

    Largest difference allowed: 1e-5 of the largest score.
    """
    died = []
    for start in range(60):
        child = subprocess.run(
            [sys.executable, "-m", "tests.killing", str(tmp_path), "before" if start % 2 else "after"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL, child.stderr
        died.append(child.stdout.strip())
    with open_run(tmp_path / "digits") as run:
        difference = np.abs(run.scores() - small_run.scores()).max() / np.abs(small_run.scores()).max()
        assert all(check.ok for check in verify(run))
        assert np.array_equal(run.lds().per_test, small_run.lds().per_test)
    print(f"killed {len(died)} times: {', '.join(died)}; largest difference {difference:.1e} of the largest score")
    assert {what.split()[1] for what in died} >= {"data", "checkpoints", "ledger", "features", "ridge", "scores", "lds"}
    assert died[-2:] == ["before publish", "after publish"]
    assert sorted(path.name for path in (tmp_path / "digits").iterdir()) == ["checkpoints", "store.duckdb"]
    assert difference <= 1e-5


@pytest.mark.slow
def test_status_of_a_build_is_plain_json_and_tells_how_to_go_on(tmp_path):
    def stop(status):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_run(settings(seed=3), "mine", tmp_path, stop)
    status = json.loads(RunFiles(tmp_path / "mine").progress.read_text())
    assert status["command"][:6] == ["build", "digits", "--name", "mine", "--seed", "3"]
    subprocess.run(
        [sys.executable, "-m", "trak_core", *status["command"]],
        cwd=ROOT,
        env={**os.environ, "TRAK_RUNS_DIR": str(tmp_path)},
        check=True,
        capture_output=True,
    )
    with open_run(tmp_path / "mine") as run:
        assert run.info.provenance["seed"] == 3
        assert run.has_lds
