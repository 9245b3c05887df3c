"""The evidence of every method: right, resumable, and never at the cost of what a run had before."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from tests import subjects
from tests.conftest import CHEAP, SMALL
from tests.oracles import plain_spearman
from tests.tiny import N_TEST, N_TRAIN, QUICK, SETTINGS, TINY
from trak_core.__main__ import cli
from trak_core.engine import MeasureSettings, build_run, measure_run
from trak_core.engine.measure_settings import Truth
from trak_core.errors import (
    InvalidSettingError,
    NeedNotMetError,
    NonFiniteGradientError,
    NotInRunError,
    RunMismatchError,
    TrainingDivergedError,
)
from trak_core.evidence.lds import calibration_slope, measure_lds, predicted_outcomes
from trak_core.evidence.verification import verify
from trak_core.methods import METHODS, MethodContext, MethodInfo, ScoreMatrix
from trak_core.methods.method import choose
from trak_core.seeds import derive_seed
from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.files import RunFiles, generation
from trak_core.store.progress import BuildStatus, read_status
from trak_core.store.run import Run, open_run
from trak_core.store.run_ledger import outcomes, reported_tests, subset_masks
from trak_core.store.schema import ORDER_BY
from trak_core.store.writer import StoreWriter
from trak_core.subjects import RECIPES, Recipe, find_recipe
from trak_core.training import Ensemble, draw_subsets, train_reweighted
from trak_core.views.evidence import board, board_text, truth_table

ROOT = Path(__file__).resolve().parents[1]
DIGITS = find_recipe("digits")
SCORES_ALONE = MeasureSettings(("nearest", "random"), n_removal_tests=0, n_datamodel_subsets=0, n_truth_subsets=0)
COSTS = {"lds_summary": "seconds, peak_megabytes", "methods": "seconds"}
"""Columns that differ from one time to the next."""
BUILT_ALONE = {"embedding", "grad_norm", "amount", "input_similarity"}
"""Methods of the build that are not measured again."""
OVER_CHECKPOINTS = ("trak", "grad_dot", "tracin", "nearest")


@contextmanager
def with_tiny() -> Iterator[pytest.MonkeyPatch]:
    """The tiny recipe is there, and the intervals that nobody looks at cost little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, TINY.name, TINY)
        patch.setattr("trak_core.engine.method_step.TRUTH_BOOTSTRAP", 20)
        patch.setattr(measure_lds, "__defaults__", (None, 50, None))
        yield patch


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run, built."""
    with with_tiny():
        return build_run(SETTINGS, "tiny", tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def unbroken(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run, measured; its working store is still there to be looked at."""
    run_dir = copy(built, tmp_path_factory.mktemp("unbroken"))
    with with_tiny() as patch:
        patch.setattr(StoreWriter, "finish", lambda self: None)
        measure_run(run_dir, QUICK)
    return run_dir


@pytest.fixture
def tiny(built: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the tiny run, to be measured."""
    with with_tiny():
        yield copy(built, tmp_path)


def copy(run_dir: Path, directory: Path, leave_out: str = "") -> Path:
    return Path(shutil.copytree(run_dir, directory / run_dir.name, ignore=lambda _, names: {leave_out} & set(names)))


def summary(run: Run, table: str) -> tuple[int, int]:
    """Number of rows, and a number that changes with any value of any row."""
    return run.rows(f"SELECT count(*), sum(hash(hash(t))::HUGEINT) FROM {table} t")[0]


def contents(run_dir: Path) -> dict[str, tuple[int, int]]:
    """A summary of every table, the costs left out."""
    with open_run(run_dir) as run:
        found = {}
        for table in ORDER_BY:
            left_out = f"EXCLUDE ({COSTS[table]})" if table in COSTS else ""
            found[table] = summary(run, f"(SELECT * {left_out} FROM {table})")
    return found


def differing(one: Path, other: Path) -> set[str]:
    found, expected = contents(one), contents(other)
    return {table for table in ORDER_BY if found[table] != expected[table]}


def working_rows(run_dir: Path, query: str) -> list[tuple]:
    with duckdb.connect(str(RunFiles(run_dir).working_evidence), read_only=True) as connection:
        return connection.execute(query).fetchall()


def truth_masks(run_dir: Path, truth_id: int) -> np.ndarray:
    """Bool `[n_subsets, n_train]`."""
    rows = working_rows(run_dir, f"SELECT mask FROM truth_subsets WHERE truth_id = {truth_id} ORDER BY subset")
    packed = np.stack([np.frombuffer(blob, dtype=np.uint8) for (blob,) in rows])
    return np.unpackbits(packed, axis=1)[:, :N_TRAIN].astype(bool)


def stop_at(step: str) -> Callable[[BuildStatus], None]:
    def listener(status: BuildStatus) -> None:
        if status.step == step:
            raise KeyboardInterrupt

    return listener


def interrupted(run_dir: Path, settings: MeasureSettings, step: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        measure_run(run_dir, settings, stop_at(step))


def failed(run: Run) -> list:
    return [check for check in verify(run) if not check.ok]


# --- what is measured -------------------------------------------------------------------------------------------


def test_every_check_passes_after_measuring(measured_run):
    assert failed(measured_run) == []
    assert set(measured_run.info.methods) == {*CHEAP["methods"], *BUILT_ALONE}


def test_what_the_run_had_before_is_the_same_bit_for_bit(small_run, measured_run):
    for method in small_run.info.methods:
        assert np.array_equal(measured_run.scores(method), small_run.scores(method))
        before, after = small_run.lds(method), measured_run.lds(method)
        assert np.array_equal(after.per_test, before.per_test, equal_nan=True)
        assert (after.mean, after.ci_low, after.ci_high) == (before.mean, before.ci_low, before.ci_high)
    for table in ("target_scores", "target_lds", "features", "outcomes", "subsets", "checkpoints"):
        assert summary(measured_run, table) == summary(small_run, table)


@pytest.mark.parametrize("method", [*CHEAP["methods"], "embedding"])
def test_lds_is_the_mean_over_reported_tests_of_plain_spearman_correlations(measured_run, method):
    masks, actual = subset_masks(measured_run, "eval"), outcomes(measured_run, "eval").mean(1)
    predicted = masks.astype(float) @ measured_run.scores(method).astype(float).T
    reported = np.flatnonzero(reported_tests(measured_run))
    plain = [plain_spearman(predicted[:, t].tolist(), actual[:, t].tolist()) for t in reported]
    found = measured_run.lds(method)
    assert len(reported) == 270
    assert found.mean == pytest.approx(np.mean(plain), abs=1e-6)
    assert found.ci_low < found.mean < found.ci_high


def test_every_method_has_a_row_for_each_number_of_checkpoints(measured_run):
    rows = measured_run.rows(
        "SELECT method, list(n_checkpoints ORDER BY n_checkpoints) FROM lds_summary GROUP BY method"
    )
    expected = {method: [0] for method in measured_run.info.methods}
    expected |= {method: [1, 2, 3] for method in OVER_CHECKPOINTS}
    assert dict(rows) == {**expected, "embedding": [3], "grad_norm": [3]}


def test_calibrated_scores_are_in_units_of_the_margin_on_what_they_were_calibrated_on(measured_run):
    """One factor for each method, from fitting halves and tuning tests: there a predicted change of 1 is 1."""
    masks, actual = subset_masks(measured_run, "fit"), outcomes(measured_run, "fit").mean(1)
    tuned = ~reported_tests(measured_run)
    factors = dict(measured_run.rows("SELECT method, calibration FROM methods"))
    for method in ("grad_dot", "tracin"):
        predicted = predicted_outcomes(measured_run.scores(method)[tuned], masks)
        assert calibration_slope(predicted, actual[:, tuned]) == pytest.approx(1, abs=1e-4)
        assert measured_run.in_model_units(method)
    assert factors["nearest"] is factors["same_class"] is factors["random"] is None


def test_scores_over_checkpoints_have_standard_errors_and_others_have_none(measured_run):
    rows = measured_run.rows("SELECT method, count(standard_error), min(standard_error) FROM topk GROUP BY method")
    counts = {method: (n, smallest) for method, n, smallest in rows}
    for method in ("trak", "grad_dot", "tracin"):
        assert counts[method][0] == 360 * 200
        assert counts[method][1] >= 0
    assert counts["random"] == counts["datamodel_ridge"] == (0, None)


def test_every_measured_method_has_its_cost(measured_run):
    rows = measured_run.rows("SELECT method, n_checkpoints, seconds, peak_megabytes FROM lds_summary")
    assert {method for method, _, _, megabytes in rows if megabytes is None} == BUILT_ALONE
    cost = {(method, m): seconds for method, m, seconds, _ in rows}
    assert cost["grad_dot", 1] == pytest.approx(cost["grad_dot", 3] / 3)
    assert cost["trak", 1] == pytest.approx(cost["trak", 3] / 3)
    assert min(cost.values()) >= 0


# --- further truths ---------------------------------------------------------------------------------------------


def test_every_truth_has_an_lds_for_every_method_with_one_and_with_all_checkpoints(measured_run):
    found = measured_run.rows("SELECT kind, dropped, n_subsets, n_seeds, noise_ceiling FROM truths ORDER BY truth_id")
    assert [row[:4] for row in found] == [
        (truth.kind, truth.dropped, 6, 1 if truth.kind == "single model" else SMALL["n_seeds"])
        for truth in MeasureSettings.truths
    ]
    for kind, _, _, _, ceiling in found:
        assert (ceiling is None) == (kind == "single model")
    pairs = measured_run.rows(
        "SELECT method, truth_id, list(n_checkpoints ORDER BY n_checkpoints) FROM truth_lds GROUP BY ALL"
    )
    assert {(method, truth) for method, truth, _ in pairs} == {(m, i) for m in CHEAP["methods"] for i in range(5)}
    for method, _, counts in pairs:
        assert counts == ([1, 3] if method in OVER_CHECKPOINTS else [0])
    disordered = measured_run.rows("SELECT * FROM truth_lds WHERE (ci_low <= lds AND lds <= ci_high) IS NOT TRUE")
    assert disordered == []


def test_truths_drop_the_share_that_they_say(unbroken):
    for truth_id, truth in enumerate(MeasureSettings.truths):
        masks, n_members = truth_masks(unbroken, truth_id), N_TRAIN - max(1, round(truth.dropped * N_TRAIN))
        assert (masks.sum(1) == n_members).all()
        assert np.array_equal(masks, draw_subsets(5, N_TRAIN, n_members, derive_seed(0, "truth", truth_id)))


@pytest.mark.parametrize("truth_id", range(5))
def test_lds_against_a_truth_is_that_of_the_stored_scores_and_the_retrained_models(unbroken, truth_id):
    means = working_rows(
        unbroken,
        f"SELECT avg(model_output::DOUBLE) FROM truth_outcomes WHERE truth_id = {truth_id} "
        "GROUP BY subset, test_idx ORDER BY subset, test_idx",
    )
    masks, actual = truth_masks(unbroken, truth_id), np.array(means).reshape(5, N_TEST)
    with open_run(unbroken) as run:
        reported = np.flatnonzero(reported_tests(run))
        for method in QUICK.methods:
            predicted = masks.astype(float) @ run.scores(method).astype(float).T
            plain = [plain_spearman(predicted[:, t].tolist(), actual[:, t].tolist()) for t in reported]
            stored = run.rows(
                "SELECT lds FROM truth_lds WHERE truth_id = ? AND method = ? ORDER BY n_checkpoints DESC LIMIT 1",
                [truth_id, method],
            )
            assert stored[0][0] == pytest.approx(np.mean(plain), abs=1e-6), method


def trained_again(recipe: Recipe, weights: np.ndarray, seeds: list[int]) -> tuple[Ensemble, np.ndarray, np.ndarray]:
    """Models with loss weights `[n_models, n_train]`, their margins of the test labels, and whether they are right."""
    subject = recipe.load()
    (inputs, labels), (test_inputs, test_labels) = (
        (torch.from_numpy(split.inputs), torch.from_numpy(split.labels))
        for split in (subject.dataset.train, subject.dataset.test)
    )
    ensemble = train_reweighted(
        subject.make_model, subject.task, inputs, labels, weights.astype(np.float32), seeds, subject.training
    )
    logits, labels = ensemble.outputs(subject.task, test_inputs), test_labels.expand(len(seeds), -1)
    return ensemble, subject.task.model_output(logits, labels).double().numpy(), (logits.argmax(-1) == labels).numpy()


def test_one_model_with_nothing_dropped_is_its_checkpoint(measured_run):
    (seed,) = measured_run.rows("SELECT seed FROM checkpoints WHERE checkpoint_id = 0")[0]
    ensemble, _, _ = trained_again(DIGITS, np.ones((1, 1437)), [seed])
    stored = load_file(measured_run.path / "checkpoints" / "model_0.safetensors")
    for name, value in ensemble.state_dict(0).items():
        # float32, and one model at a time adds up in another order than three.
        torch.testing.assert_close(value, stored[name], rtol=1e-3, atol=1e-4)


def test_one_model_is_asked_with_weights_of_the_same_sum(unbroken):
    """Retrained by hand: the seed of checkpoint 0, and everything that is kept counts for more."""
    mask = truth_masks(unbroken, 0)[3]
    (seed,) = working_rows(unbroken, "SELECT seed FROM checkpoints WHERE checkpoint_id = 0")[0]
    weights = (mask * N_TRAIN / mask.sum()).astype(np.float32)
    assert weights.sum() == pytest.approx(N_TRAIN)
    _, margins, _ = trained_again(TINY, weights[None], [seed])
    query = "SELECT model_output FROM truth_outcomes WHERE truth_id = 0 AND subset = 3 ORDER BY test_idx"
    np.testing.assert_allclose(margins[0], np.array(working_rows(unbroken, query))[:, 0], atol=1e-3)


# --- removal ----------------------------------------------------------------------------------------------------


def test_removal_is_measured_on_reported_tests_that_the_model_gets_right(measured_run):
    rows = measured_run.rows(
        "SELECT method, k, list(test_idx ORDER BY test_idx) FROM removals WHERE k IN (5, 10) GROUP BY method, k"
    )
    tests = rows[0][2]
    assert {(method, k): found for method, k, found in rows} == {
        (method, k): tests for method in ("trak", "nearest", "random") for k in (5, 10)
    }
    assert len(tests) == CHEAP["n_removal_tests"]
    assert reported_tests(measured_run)[tests].all()
    p = measured_run.arrow(
        "SELECT probabilities FROM predictions WHERE split = 'test' AND idx IN (SELECT unnest(?::INTEGER[])) "
        "ORDER BY checkpoint_id, idx",
        [tests],
    )
    mean = from_arrow_arrays(p, "probabilities").reshape(SMALL["n_checkpoints"], len(tests), -1).mean(0)
    assert mean.argmax(1).tolist() == measured_run.test_labels[tests].tolist()


def test_the_best_method_is_chosen_on_tests_that_removal_is_not_measured_on(measured_run):
    tuned = ~reported_tests(measured_run)
    lds = {method: np.nanmean(measured_run.lds(method).per_test[tuned]) for method in measured_run.info.methods}
    assert measured_run.info.provenance["removal_method"] == max(lds, key=lds.get)
    assert measured_run.info.provenance["removal_sizes"] == list(CHEAP["removal_sizes"])


@pytest.mark.parametrize(("method", "k"), [("trak", 10), ("nearest", 5)])
def test_a_removal_is_what_retraining_by_hand_gives(measured_run, method, k):
    row = measured_run.rows(
        "SELECT test_idx, model_output, unremoved, standard_error, flipped, n_seeds FROM removals "
        "WHERE method = ? AND k = ? ORDER BY test_idx DESC LIMIT 1",
        [method, k],
    )[0]
    test_idx, seeds = row[0], [derive_seed(0, "removal", i) for i in range(2)]
    gone = np.argsort(-measured_run.scores(method)[test_idx], kind="stable")[:k]
    stored = measured_run.rows(
        "SELECT train_idx FROM topk WHERE method = ? AND test_idx = ? AND side = 'proponent' AND rank <= ? "
        "ORDER BY rank",
        [method, test_idx, k],
    )
    assert [train_idx for (train_idx,) in stored] == gone.tolist()
    weights = np.ones((4, 1437))
    weights[:2, gone] = 0
    _, margins, right = trained_again(DIGITS, weights, seeds * 2)
    without, complete = margins[:2, test_idx], margins[2:, test_idx]
    assert row[1:3] == pytest.approx((without.mean(), complete.mean()), abs=5e-3)
    assert row[3] == pytest.approx(np.std(without - complete, ddof=1) / np.sqrt(2), abs=5e-3)
    assert row[4:] == (right[:2, test_idx].mean() < 0.5, 2)


# --- again, and broken off --------------------------------------------------------------------------------------


def test_what_is_measured_is_not_measured_again_nor_touched(measured_runs):
    store = measured_runs / "digits" / "store.duckdb"
    before = (store.stat().st_mtime_ns, store.stat().st_ino)
    began = time.monotonic()
    measure_run(measured_runs / "digits", MeasureSettings(**CHEAP), pytest.fail)
    assert (store.stat().st_mtime_ns, store.stat().st_ino) == before
    assert time.monotonic() - began < 5
    assert sorted(path.name for path in (measured_runs / "digits").iterdir()) == ["checkpoints", "store.duckdb"]


@pytest.mark.slow
def test_a_measurement_interrupted_in_every_block_ends_like_an_unbroken_one(tiny, unbroken, monkeypatch):
    """Stopped before or after each thing that it writes, publishing and tidying up included; every start goes on."""
    stops: list[str] = []

    def stopping(name: str) -> None:
        original = getattr(StoreWriter, name)

        def event(self, *arguments, **keywords):
            what = arguments[0] if name == "write" else name
            met = [stop for stop in stops if stop.endswith(f" {what}")]
            # Before some blocks and after others, but both at the end, where a run is nearly whole.
            both = what in ("done", "publish", "finish")
            stop_before = not met and (both or len(stops) % 2 == 0)
            stop_after = (both and len(met) == 1) or (not met and not stop_before)
            if stop_before:
                stops.append(f"before {what}")
                raise KeyboardInterrupt
            original(self, *arguments, **keywords)
            if stop_after:
                stops.append(f"after {what}")
                raise KeyboardInterrupt

        monkeypatch.setattr(StoreWriter, name, event)

    for name in ("write", "publish", "finish"):
        stopping(name)
    for _ in range(60):
        try:
            measure_run(tiny, QUICK)
        except KeyboardInterrupt:
            continue
        break
    blocks = {stop.split(" ", 1)[1] for stop in stops}
    assert {"datamodels", "truth 0", "truth 4", "method trak", "method random", "removals anew"} <= blocks
    assert {"removal trak 10", "removal random 10", "flips 0", "flips 3", "done", "publish", "finish"} <= blocks
    assert differing(tiny, unbroken) == set()
    assert not RunFiles(tiny).build.exists()


@pytest.mark.slow
def test_a_measurement_that_is_killed_goes_on_and_ends_like_an_unbroken_one(runs, small_runs, tmp_path):
    settings = replace(SCORES_ALONE, methods=("datamodel_ridge",), n_datamodel_subsets=6)
    command = [sys.executable, "-m", "trak_core", *settings.command("digits")]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while (status := read_status(runs / "digits")) is None or not status.step.startswith("measuring"):
        assert process.poll() is None, "it ended by itself before the kill"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    status = read_status(runs / "digits")
    assert (status.state, status.command) == ("stopped", settings.command("digits"))
    assert ("datamodels",) in working_rows(runs / "digits", "SELECT block FROM journal")
    with open_run(runs / "digits") as run:
        assert failed(run) == []
    whole = copy(small_runs / "digits", tmp_path / "whole")
    for run_dir in (runs / "digits", whole):
        measure_run(run_dir, settings)
        assert not RunFiles(run_dir).build.exists()
    assert differing(runs / "digits", whole) == set()


@pytest.mark.slow
def test_while_a_measurement_is_unfinished_the_run_is_readable_and_a_build_leaves_the_work_alone(tiny):
    settings = replace(QUICK, methods=("grad_dot", "random"), n_removal_tests=0)
    interrupted(tiny, settings, "measuring Random")
    status = read_status(tiny)
    assert status.state == "stopped"
    assert status.command == settings.command("tiny")
    assert 0 < status.fraction < 1
    with open_run(tiny) as run:
        assert failed(run) == []
    journal = working_rows(tiny, "SELECT block FROM journal ORDER BY block")
    assert ("method grad_dot",) in journal
    assert build_run(SETTINGS, "tiny", tiny.parent) == tiny
    assert working_rows(tiny, "SELECT block FROM journal ORDER BY block") == journal
    measure_run(tiny, settings)
    with open_run(tiny) as run:
        assert failed(run) == []
        assert "grad_dot" in run.info.methods


def test_other_settings_are_refused_while_a_measurement_is_unfinished_and_its_work_is_kept(tiny):
    interrupted(tiny, SCORES_ALONE, "measuring Random")
    before = read_status(tiny)
    journal = working_rows(tiny, "SELECT block FROM journal ORDER BY block")
    with pytest.raises(RunMismatchError, match="finish it with the command that began it"):
        measure_run(tiny, replace(SCORES_ALONE, methods=("random",)))
    assert read_status(tiny) == before
    assert working_rows(tiny, "SELECT block FROM journal ORDER BY block") == journal
    measure_run(tiny, SCORES_ALONE)
    assert not RunFiles(tiny).build.exists()


@pytest.mark.slow
def test_what_is_done_is_published_along_the_way_and_whole_whenever_it_is_read(tiny, monkeypatch):
    monkeypatch.setattr(sys.modules["trak_core.engine.measure"], "PUBLISH_EVERY_SECONDS", 0)
    monkeypatch.setattr("trak_core.engine.progress.WRITE_EVERY_SECONDS", 0)
    settings = replace(QUICK, methods=("nearest",), n_datamodel_subsets=0, n_truth_subsets=0)
    seen: dict[object, tuple[int, int]] = {}
    fractions: list[float] = []

    def look(status: BuildStatus) -> None:
        fractions.append(status.fraction)
        if generation(tiny) not in seen:
            with open_run(tiny) as run:
                assert failed(run) == []
                seen[run.generation] = (len(run.info.methods), run.rows("SELECT count(*) FROM removals")[0][0])

    with open_run(tiny) as run:
        n_before = len(run.info.methods)
    measure_run(tiny, settings, look)
    assert {methods for methods, _ in seen.values()} == {n_before, n_before + 1}
    assert {removals for _, removals in seen.values()} >= {0, 3, 6}
    assert fractions == sorted(fractions)
    assert fractions[0] == 0 and fractions[-1] > 0.9


# --- measured again with other settings -------------------------------------------------------------------------


@pytest.mark.slow
def test_measuring_again_with_other_settings_gives_what_they_give_alone(tiny, unbroken, tmp_path):
    """More retrained models to learn from, other truths, other removals: nothing is there twice or left over."""
    other = replace(QUICK, n_datamodel_subsets=8, n_truth_subsets=6, n_removal_tests=2, removal_sizes=(3, 10))
    measure_run(tiny, other)
    twice = copy(unbroken, tmp_path / "twice", leave_out="build")
    measure_run(twice, other)
    assert differing(tiny, unbroken) > {"scores", "truths", "truth_lds", "removals"}
    assert differing(twice, tiny) == set()


def test_measuring_one_method_again_leaves_the_others_their_evidence(unbroken, tmp_path):
    again = copy(unbroken, tmp_path, leave_out="build")
    with with_tiny():
        measure_run(again, replace(QUICK, methods=("random",), n_removal_tests=0))
    assert differing(again, unbroken) == {"meta"}


# --- what cannot be measured ------------------------------------------------------------------------------------


def test_a_run_saved_from_python_is_refused_with_what_to_do(tmp_path):
    attributor = subjects.make_attributor(1, precision="float32").fit(subjects.TRAIN)
    attributor.save(tmp_path / "mine", subjects.TRAIN, subjects.TEST)
    with pytest.raises(NotInRunError, match=r"'mine' was saved from Python.*`python -m trak_core build RECIPE` makes"):
        measure_run(tmp_path / "mine", QUICK)
    assert not RunFiles(tmp_path / "mine").build.exists()


def test_a_run_that_is_not_built_to_its_end_is_refused_with_its_command(tmp_path):
    with with_tiny():
        with pytest.raises(KeyboardInterrupt):
            build_run(SETTINGS, "tiny", tmp_path, stop_at("measuring the evidence"))
        with pytest.raises(NotInRunError, match="finish it first: `python -m trak_core build tiny --name tiny "):
            measure_run(tmp_path / "tiny", QUICK)
        assert read_status(tmp_path / "tiny").state == "stopped"


def test_a_run_of_another_version_is_refused(tiny, monkeypatch):
    monkeypatch.setattr("trak_core.engine.settings.METHOD_REVISION", 1000)
    with pytest.raises(RunMismatchError, match="by another version of this program; build it again"):
        measure_run(tiny, QUICK)


def test_a_run_built_on_a_gpu_that_is_not_there_is_refused(tiny):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with duckdb.connect(str(tiny / "store.duckdb")) as connection:
        connection.execute("UPDATE meta SET value = '\"cuda\"' WHERE key = 'device'")
    with pytest.raises(InvalidSettingError, match="finds no GPU"):
        measure_run(tiny, QUICK)


def test_a_method_asked_for_by_name_that_cannot_be_had_is_refused_before_anything_is_begun(tiny, monkeypatch):
    before = (tiny / "store.duckdb").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("trak_core.methods.context.MAX_HESSIAN", 10)
        with pytest.raises(NeedNotMetError, match=r"'influence_exact' needs a model small enough.*use influence_cg"):
            measure_run(tiny, replace(SCORES_ALONE, methods=("random", "influence_exact")))
    assert (tiny / "store.duckdb").read_bytes() == before
    assert read_status(tiny) is None
    measure_run(tiny, replace(SCORES_ALONE, methods=("random",)))


@MethodInfo("unsolvable", "Unsolvable", "Fails.")
def unsolvable(context: MethodContext) -> ScoreMatrix:
    """As a method whose linear algebra fails."""
    return ScoreMatrix(torch.linalg.cholesky(-torch.eye(3)))


@MethodInfo("wild", "Wild", "Not a number.")
def wild(context: MethodContext) -> ScoreMatrix:
    """As a method whose models are at the edge of divergence: one score is not a number."""
    values = torch.ones(len(context.test), len(context.train))
    values[3, 5] = float("nan")
    return ScoreMatrix(values)


@pytest.mark.slow
def test_of_all_methods_those_that_fail_are_left_out_and_named_until_they_can_be_had(tiny, monkeypatch):
    names = set(METHODS) - {"target_value", "bm25", "lexical_overlap"}  # of runs without classes, and of texts
    with monkeypatch.context() as patch:
        patch.setattr("trak_core.methods.context.MAX_HESSIAN", 10)
        for method in (unsolvable, wild):
            patch.setitem(METHODS, method.info.name, method)
        every = MeasureSettings(tuple(METHODS), n_removal_tests=0, n_datamodel_subsets=6, n_truth_subsets=0)
        measure_run(tiny, every)
    with open_run(tiny) as run:
        assert failed(run) == []
        assert set(run.info.methods) == names - {"influence_exact"}
        left_out = run.info.provenance["methods_left_out"]
        assert board(run).is_measured
        said = board_text(run)
    assert "needs a model small enough for its whole Hessian" in left_out.pop("influence_exact")
    assert "cannot solve its equations" in left_out.pop("unsolvable")
    assert "not finite for 1 of 40 test examples" in left_out.pop("wild")
    assert "needs targets that are numbers" in left_out.pop("target_value")
    assert all("needs texts of" in left_out.pop(name) for name in ("bm25", "lexical_overlap"))
    assert left_out == {}
    assert "skipped: influence_exact: method 'influence_exact' needs" in said
    measure_run(tiny, replace(SCORES_ALONE, methods=("influence_exact",)))
    with open_run(tiny) as run:
        assert set(run.info.methods) == names
        assert set(board(run).left_out) == {"unsolvable", "wild", "target_value", "bm25", "lexical_overlap"}
        assert board(run).is_measured


def test_a_method_asked_for_by_name_whose_scores_are_not_finite_is_an_error(tiny, monkeypatch):
    monkeypatch.setitem(METHODS, "wild", wild)
    with pytest.raises(NonFiniteGradientError, match="'wild' gives scores that are not finite"):
        measure_run(tiny, replace(SCORES_ALONE, methods=("wild",)))
    assert read_status(tiny).state == "failed"
    with open_run(tiny) as run:
        assert failed(run) == []
        assert "wild" not in run.info.methods


@MethodInfo("constant", "All the same", "One number.")
def constant(context: MethodContext) -> ScoreMatrix:
    """Scores that predict the same for every half; its setting makes no difference either."""
    values = torch.ones(len(context.test), len(context.train))
    level = choose(context, (0.5, 1.0), 0.25, lambda level, masks: 2 * level * masks.float() @ values.T)
    return ScoreMatrix(values, {"level": level})


def test_a_method_that_predicts_nothing_has_an_lds_of_0_and_is_on_the_board(tiny, monkeypatch):
    monkeypatch.setitem(METHODS, "constant", constant)
    settings = replace(QUICK, methods=("constant", "random"), n_removal_tests=0, n_datamodel_subsets=0)
    measure_run(tiny, settings)
    with open_run(tiny) as run:
        assert failed(run) == []
        for table in ("lds_summary", "lds", "truth_lds"):
            values = run.rows(f"SELECT DISTINCT lds, ci_low, ci_high FROM {table} WHERE method = 'constant'")
            assert values == [(0, 0, 0)], table
        stored = run.rows("SELECT calibration, settings FROM methods WHERE method = 'constant'")[0]
        assert (stored[0], json.loads(stored[1])) == (None, {"level": 0.25})
        said, table = board_text(run), truth_table(run)
    (line,) = [line for line in said.splitlines() if line.startswith("All the same") and "to" in line]
    assert line.split()[3:7] == ["0.000", "0.000", "to", "0.000"]
    assert "nan" not in said.lower()
    assert set(table["method"]) == {"Random", "All the same"}
    assert (table.set_index("method").loc["All the same"] == 0).all()


# --- models that diverge ----------------------------------------------------------------------------------------


def second_model(ensemble) -> np.ndarray:
    """As if the second model of every ensemble had diverged."""
    return np.arange(len(ensemble)) == 1


@pytest.mark.slow
def test_a_retrained_model_that_diverged_is_left_out_and_counted_and_never_averaged_in(tiny, unbroken, monkeypatch):
    monkeypatch.setattr("trak_core.engine.retrained.diverged", second_model)
    monkeypatch.setattr(StoreWriter, "finish", lambda self: None)
    measure_run(tiny, QUICK)
    same = "SELECT subset, test_idx, model_output FROM datamodel_outcomes WHERE subset <> 1 ORDER BY ALL"
    assert working_rows(tiny, "SELECT DISTINCT subset FROM datamodel_outcomes ORDER BY 1") == [
        (i,) for i in (0, 2, 3, 4, 5)
    ]
    assert working_rows(tiny, same) == working_rows(unbroken, same)
    for truth_id, truth in enumerate(MeasureSettings.truths):
        # With two seeds a subset, the second model is the second seed of the first subset, which goes as a whole.
        gone = 1 if truth.kind == "single model" else 0
        query = "SELECT model_output FROM truth_outcomes WHERE truth_id = {} {} ORDER BY subset, seed, test_idx"
        kept = working_rows(unbroken, query.format(truth_id, f"AND subset <> {gone}"))
        assert working_rows(tiny, query.format(truth_id, "")) == kept
    with open_run(tiny) as run:
        assert failed(run) == []
        assert run.rows("SELECT DISTINCT n_subsets FROM truths") == [(4,)]
        # Of two seeds the second goes everywhere, because the one without removal has diverged.
        assert run.rows("SELECT DISTINCT n_seeds, standard_error FROM removals") == [(1, None)]
        n_removals = run.rows("SELECT count(*) FROM removals")[0][0]
        counted = run.info.provenance["n_diverged"]
        assert counted["datamodels: random halves"] == 1
        assert sum(count for what, count in counted.items() if what.startswith("truths")) == 5
        assert board(run).n_diverged == 1 + 5 + n_removals == sum(counted.values())
        assert f"{board(run).n_diverged} random halves, subsets or removals were skipped" in board_text(run)


@pytest.mark.slow
def test_a_removal_with_a_seed_that_diverged_is_that_of_the_other_seed(tiny, monkeypatch):
    settings = replace(QUICK, methods=("random",), removal_sizes=(10,), n_datamodel_subsets=0, n_truth_subsets=0)
    with monkeypatch.context() as patch:
        patch.setattr("trak_core.engine.retrained.diverged", second_model)
        measure_run(tiny, settings)
    query = "SELECT test_idx, model_output, unremoved FROM removals WHERE method = 'random' ORDER BY test_idx"
    with open_run(tiny) as run:
        left = run.rows(query)
    measure_run(tiny, replace(settings, n_removal_seeds=1))
    with open_run(tiny) as run:
        for one, other in zip(left, run.rows(query), strict=True):
            assert one == pytest.approx(other, abs=1e-4)


def test_a_truth_whose_models_nearly_all_diverge_is_left_out_and_the_rest_goes_on(tiny, monkeypatch):
    monkeypatch.setattr("trak_core.engine.retrained.diverged", lambda ensemble: np.arange(len(ensemble)) > 0)
    measure_run(tiny, replace(QUICK, n_removal_tests=0))
    with open_run(tiny) as run:
        assert failed(run) == []
        assert truth_table(run).empty
        assert run.rows("SELECT count(*) FROM truths") == [(0,)]
        assert set(QUICK.methods) <= set(run.info.methods)
        # Of five subsets, one of each truth is left with one seed and none with two; of six halves, one.
        assert board(run).n_diverged == 3 * 4 + 2 * 5 + 5


@pytest.fixture
def with_a_lost_subset(tmp_path: Path) -> Iterator[Path]:
    """The tiny run, built while the second seed of subset 6 diverged."""
    with with_tiny() as patch:
        patch.setattr(
            "trak_core.engine.training_step.diverged",
            # Blocks of ten subsets with two seeds each; the first block of reporting halves begins with subset 4.
            lambda ensemble: np.arange(len(ensemble)) == (5 if len(ensemble) == 20 else -1),
        )
        yield build_run(SETTINGS, "tiny", tmp_path)


def test_a_subset_of_the_ledger_with_a_model_that_diverged_is_left_out_as_a_whole(with_a_lost_subset, built):
    query = "SELECT * FROM {} WHERE subset_id <> 6 ORDER BY ALL"
    with open_run(with_a_lost_subset) as run, open_run(built) as whole:
        assert failed(run) == []
        assert run.rows("SELECT subset_id FROM subsets WHERE role = 'diverged'") == [(6,)]
        for table in ("outcomes", "target_outcomes"):
            assert run.rows(f"SELECT count(*) FROM {table} WHERE subset_id = 6") == [(0,)]
            assert run.rows(query.format(table)) == whole.rows(query.format(table))
        assert run.lds().n_subsets == whole.lds().n_subsets - 1 == 15
        assert (board(run).n_diverged, board(whole).n_diverged) == (1, 0)
        assert "1 random halves, subsets or removals were skipped" in board_text(run)
    measure_run(with_a_lost_subset, replace(SCORES_ALONE, methods=("nearest",)))
    with open_run(with_a_lost_subset) as run:
        assert failed(run) == []
        assert run.lds("nearest").n_subsets == 15


def test_a_ledger_whose_models_all_diverge_stops_the_build_with_a_sentence(tmp_path):
    with with_tiny() as patch:
        patch.setattr("trak_core.engine.training_step.diverged", lambda ensemble: np.ones(len(ensemble), dtype=bool))
        with pytest.raises(TrainingDivergedError, match="on 4 random halves; 0 are left to choose settings on"):
            build_run(SETTINGS, "tiny", tmp_path)


# --- settings and commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"methods": ("magik",)}, "no method 'magik'; there are: trak, "),
        ({"n_removal_tests": -1}, "n_removal_tests=-1"),
        ({"n_removal_seeds": 0}, "n_removal_seeds=0"),
        ({"n_datamodel_subsets": -5}, "n_datamodel_subsets=-5"),
        ({"n_truth_subsets": 3}, "n_truth_subsets=3; it must be 0, or from 4"),
        ({"removal_sizes": ()}, "give numbers from 1 to 100"),
        ({"removal_sizes": (5, 101)}, "give numbers from 1 to 100"),
    ],
)
def test_settings_that_cannot_work_are_refused(override, message):
    with pytest.raises(InvalidSettingError, match=message):
        MeasureSettings(**override)


def test_truths_ask_for_less_and_less_and_for_one_model_and_for_several():
    assert Truth("single model", 0.01) in MeasureSettings.truths
    assert {truth.kind for truth in MeasureSettings.truths} == {"single model", "multi-seed"}


@pytest.mark.parametrize(
    "settings",
    [
        MeasureSettings(),
        MeasureSettings(("magic", "trak"), n_removal_tests=7, n_removal_seeds=1, n_datamodel_subsets=9),
        replace(SCORES_ALONE, n_truth_subsets=11),
    ],
)
def test_the_command_of_a_measurement_gives_its_settings(settings, runs, monkeypatch):
    given = []
    monkeypatch.setattr("trak_core.engine.measure_run", lambda run_dir, settings, show: given.append(settings))
    monkeypatch.setattr("trak_core.stopping.signal.signal", lambda *_: None)
    result = CliRunner().invoke(cli, settings.command("digits"), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert given == [settings]


def test_build_with_evidence_then_measures_every_method_as_the_recipe_says(tmp_path, monkeypatch):
    given = []
    monkeypatch.setenv("TRAK_RUNS_DIR", str(tmp_path))
    monkeypatch.setattr("trak_core.engine.measure_run", lambda *arguments: given.append(arguments[:2]))
    monkeypatch.setattr("trak_core.stopping.signal.signal", lambda *_: None)
    commands = []
    with with_tiny() as patch:
        patch.setattr("trak_core.engine.progress.write_status", lambda files, status: commands.append(status.command))
        result = CliRunner().invoke(cli, ["build", "tiny", "--device", "cpu", "--evidence"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert given == [(tmp_path / "tiny", MeasureSettings(n_removal_tests=TINY.n_removal_tests))]
    assert {(command[0], command[-1]) for command in commands} == {("build", "--evidence")}
