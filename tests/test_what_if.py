"""What-ifs: predictions are sums by a curve, answers are models really retrained, and the history loses nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partialmethod
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import ttest_rel

from tests.tiny import QUICK, SETTINGS, TINY
from trak_core.__main__ import cli
from trak_core.engine import build_run, measure_run, retraining
from trak_core.engine.retraining import verify_what_if
from trak_core.errors import InvalidSettingError, NotInRunError, RunMismatchError, TrainingDivergedError
from trak_core.evidence.lds import measure_lds
from trak_core.evidence.what_if import Pairs, as_question, compare_pairs, read_removed
from trak_core.seeds import derive_seed
from trak_core.store.run import Run, open_run
from trak_core.store.what_ifs import Question, Verified, WhatIfHistory
from trak_core.subjects import RECIPES
from trak_core.training import Schedule, VmapTrainer
from trak_core.views.browse import overview
from trak_core.views.what_if import history_table, predict_removal
from trak_core.views.what_if_scale import (
    DEFAULT_FACTOR,
    Known,
    Scale,
    estimate_scale,
    known_removals,
    leave_one_out,
    removal_units,
    with_what_ifs,
)

ROOT = Path(__file__).resolve().parents[1]
TRAINING_NOISE = 2e-4
"""Models trained at once and one by one add up in another order, over 48 steps in float32."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tiny run, built and measured, with its recipe registered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, TINY.name, TINY)
        patch.setattr("trak_core.engine.method_step.TRUTH_BOOTSTRAP", 20)
        patch.setattr(measure_lds, "__defaults__", (None, 50, None))
        run_dir = build_run(SETTINGS, "tiny", tmp_path_factory.mktemp("what-if"))
        measure_run(run_dir, replace(QUICK, n_truth_subsets=0))
        yield run_dir


@pytest.fixture
def tiny(measured: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(measured, tmp_path / "tiny"))


@pytest.fixture
def run(measured: Path) -> Iterator[Run]:
    with open_run(measured) as opened:
        yield opened


def some_answer(run: Run, test_idx: int, removed: tuple[int, ...], change: float = -1.0) -> Verified:
    n = len(run.info.class_names)
    return Verified(
        question=Question(run.info.provenance["fingerprint"], test_idx, removed, 2),
        asked_at=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
        before=(1.0,) * n,
        after=(1.0 + change,) * n,
        low=(change - 0.5,) * n,
        high=(change + 0.5,) * n,
        answer_before=0,
        answer_after=1,
        share_flipped=0.5,
        n_pairs=2,
        seconds=1.0,
    )


# --- prediction ---------------------------------------------------------------------------------------------


def unit_by_loop(row: np.ndarray, removed: list[int]) -> float:
    whole, positive, negative = 0.0, 0.0, 0.0
    for i, score in enumerate(row.tolist()):
        whole += max(score, 0.0)
        if i in removed:
            positive += max(score, 0.0)
            negative += max(-score, 0.0)
    return whole * np.log(1 - positive / whole) + negative


def test_predicted_changes_are_the_curve_over_sums_of_scores_for_every_class(run):
    removed, test_idx, factor = [3, 7, 50, 119], 5, 0.5
    found = predict_removal(run, overview(run), test_idx, removed, Scale(factor))
    assert [entry.number for entry in found.classes] == list(range(10))
    for entry in found.classes:
        row = run.score_row(test_idx, "trak", run.target_of_class(test_idx, entry.number))
        assert entry.change == pytest.approx(factor * unit_by_loop(row, removed), rel=1e-5)
        assert entry.after == pytest.approx(entry.before + entry.change)


def test_the_margins_of_now_are_those_of_the_checkpoints(run):
    found = predict_removal(run, overview(run), 5, [1], Scale(1.0))
    rows = run.rows("SELECT probabilities, model_output FROM predictions WHERE split = 'test' AND idx = 5")
    for entry in found.classes:
        margins = [np.log(p[entry.number] / (1 - p[entry.number])) for p, _ in rows]
        assert entry.before == pytest.approx(np.mean(margins), abs=1e-4)
    of_label = found.classes[run.label("test", 5)].before
    assert of_label == pytest.approx(np.mean([output for _, output in rows]), abs=1e-6)


def test_a_method_that_explains_the_label_only_predicts_the_label_only(run):
    found = predict_removal(
        run, overview(run), 5, [1, 2], Scale(2.0), "grad_dot", target=(run.label("test", 5) + 1) % 10 + 1
    )
    label = run.label("test", 5)
    assert {entry.number for entry in found.classes if entry.change is not None} == {label}
    assert found.target.number == label
    assert found.answer_after is not None


def test_a_method_without_unit_predicts_nothing(run):
    found = predict_removal(run, overview(run), 5, [1, 2], Scale(None), "random")
    assert all(entry.change is None for entry in found.classes)
    assert found.answer_after is None and not found.is_flipped


def test_removing_next_to_nothing_is_the_plain_sum_and_everything_is_finite():
    row = np.abs(np.random.default_rng(0).normal(size=(1, 1000)))
    assert removal_units(row, [4])[0] == pytest.approx(-row[0, 4], rel=0.01)
    assert np.isfinite(removal_units(row, list(range(1000)))).all()
    assert removal_units(-row, [1, 2])[0] == pytest.approx(row[0, [1, 2]].sum())
    assert removal_units(np.zeros((2, 9)), [1]).tolist() == [0, 0]


def test_an_answer_whose_margin_falls_far_enough_is_predicted_to_flip(run):
    tests = overview(run)
    test_idx = int(np.flatnonzero(tests.predicted == run.test_labels)[0])
    strongest = run.proponents(test_idx, 30)["train_idx"].tolist()
    stays, flips = (predict_removal(run, tests, test_idx, strongest, Scale(factor)) for factor in (1e-6, 50.0))
    assert stays.answer_after == stays.answer and not stays.is_flipped
    assert flips.is_flipped


# --- scale --------------------------------------------------------------------------------------------------


def made_up(factor: float, n: int = 60, noise: float = 0.01) -> Known:
    rng = np.random.default_rng(0)
    units = -rng.gamma(2, size=n)
    return Known(np.repeat(np.arange(n // 3), 3), units, factor * units + noise * rng.normal(size=n))


def test_the_scale_is_the_slope_of_what_was_measured():
    known = made_up(0.4)
    scale = estimate_scale(known, default=DEFAULT_FACTOR)
    assert scale.factor == pytest.approx(np.linalg.lstsq(known.units[:, None], known.changes, rcond=None)[0][0])
    assert scale.n_known == 60
    assert scale.typical_error == pytest.approx(0.0067, abs=0.003)
    assert scale.correlation > 0.99


def test_each_half_of_the_test_examples_is_judged_by_the_factor_of_the_other():
    known = made_up(0.4)
    changed = replace(known, changes=np.where(known.test_idx % 2 == 0, 1.0, 0.2) * known.units)
    scale = estimate_scale(changed, default=DEFAULT_FACTOR)
    of_even, of_odd = known.test_idx % 2 == 0, known.test_idx % 2 == 1
    errors = np.abs(np.concatenate([(0.2 - 1.0) * known.units[of_even], (1.0 - 0.2) * known.units[of_odd]]))
    assert scale.typical_error == pytest.approx(np.median(errors))


def test_where_little_is_known_there_is_a_default_or_nothing():
    little = made_up(0.4, n=6)
    assert estimate_scale(little, default=DEFAULT_FACTOR) == Scale(DEFAULT_FACTOR)
    assert estimate_scale(little, default=None) == Scale(None)
    backwards = replace(made_up(0.4), changes=-made_up(0.4).changes)
    assert estimate_scale(backwards, default=None) == Scale(None)


def test_leaving_one_out_is_estimating_without_it():
    known = made_up(0.4, n=30, noise=0.3)
    expected = []
    for i in range(30):
        rest = np.arange(30) != i
        others = Known(known.test_idx[rest], known.units[rest], known.changes[rest])
        expected.append(estimate_scale(others, None).factor * known.units[i])
    np.testing.assert_allclose(leave_one_out(known, DEFAULT_FACTOR), expected)


def test_known_removals_are_those_of_the_run(run):
    known = known_removals(run, "grad_dot")
    rows = run.rows("SELECT test_idx, method, k, model_output - unremoved FROM removals ORDER BY test_idx, method, k")
    assert len(rows) == len(known.units) > 0
    scores = run.scores("grad_dot")
    for (test_idx, by, k, change), at, unit, actual in zip(
        rows, known.test_idx, known.units, known.changes, strict=True
    ):
        removed = np.argsort(-run.scores(by)[test_idx], kind="stable")[:k].tolist()
        assert (at, actual) == (test_idx, change)
        assert unit == pytest.approx(unit_by_loop(scores[test_idx], removed), rel=1e-4)


def test_verified_what_ifs_join_what_is_known_and_are_predicted_without_themselves(run):
    history = [some_answer(run, 3, (1, 2), -0.3), some_answer(run, 5, (9,), 0.2)]
    nothing = known_removals(run, "trak")
    known = with_what_ifs(nothing, run, "trak", history)
    assert known.changes[-2:].tolist() == pytest.approx([-0.3, 0.2])
    assert known.units[-1] == pytest.approx(unit_by_loop(run.score_row(5), [9]), rel=1e-5)
    table = history_table(run, "trak", nothing, history)
    assert table["predicted"].tolist() == pytest.approx(leave_one_out(known, DEFAULT_FACTOR)[-2:].tolist())
    assert table["actual"].tolist() == pytest.approx([-0.3, 0.2])
    assert (table["test example"].tolist(), table["removed"].tolist()) == ([3, 5], [2, 1])
    assert history_table(run, "trak", nothing, []).empty
    unknown = history_table(run, "random", Known(*(np.array([]),) * 3), history)
    assert unknown["predicted"].isna().all()


# --- verification -------------------------------------------------------------------------------------------


def trained_by_hand(seed: int, removed: list[int], test_idx: int) -> np.ndarray:
    """Margins of all classes of one model, trained step by step with torch's own optimizer."""
    subject = TINY.load()
    inputs, labels = torch.from_numpy(subject.dataset.train.inputs), torch.from_numpy(subject.dataset.train.labels)
    settings = subject.training
    torch.manual_seed(seed)
    model = subject.make_model()
    optimizer = torch.optim.SGD(
        model.parameters(), settings.learning_rate, settings.momentum, weight_decay=settings.weight_decay
    )
    schedule = Schedule(settings, len(labels))
    for step, batch in enumerate(schedule.batches(seed)):
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate(step)
        stays = torch.tensor([idx not in removed for idx in batch.tolist()])
        losses = torch.nn.functional.cross_entropy(model(inputs[batch]), labels[batch], reduction="none")
        optimizer.zero_grad()
        (losses * stays).mean().backward()
        optimizer.step()
    with torch.no_grad():
        p = model(torch.from_numpy(subject.dataset.test.inputs[[test_idx]])).double().softmax(-1)[0].numpy()
    return np.log(p / (1 - p))


def test_verification_is_training_both_sets_by_hand_with_the_same_seeds(tiny):
    removed, test_idx = [2, 30, 31, 77], 4
    verified = verify_what_if(tiny, test_idx, [77, 2, 30, 31, 2], n_seeds=3)
    seeds = [derive_seed(SETTINGS.seed, "what if", i) for i in range(3)]
    before = np.array([trained_by_hand(seed, [], test_idx) for seed in seeds])
    after = np.array([trained_by_hand(seed, removed, test_idx) for seed in seeds])
    np.testing.assert_allclose(verified.before, before.mean(0), atol=TRAINING_NOISE)
    np.testing.assert_allclose(verified.after, after.mean(0), atol=TRAINING_NOISE)
    assert verified.question.removed == tuple(removed)
    assert verified.n_pairs == 3
    assert verified.share_flipped == np.mean(before.argmax(1) != after.argmax(1))
    interval = ttest_rel(after, before).confidence_interval(0.95)
    np.testing.assert_allclose(verified.low, interval.low, atol=3 * TRAINING_NOISE)
    np.testing.assert_allclose(verified.high, interval.high, atol=3 * TRAINING_NOISE)


def test_the_interval_is_students_over_paired_differences(run):
    rng = np.random.default_rng(0)
    before = rng.normal(size=(8, 10)) * 5
    after = before + rng.normal(0.4, 0.1, size=(8, 10))
    pairs = Pairs(before, after, np.stack([before.argmax(1), after.argmax(1)]))
    verified = compare_pairs(Question("f", 0, (1,), 8), pairs, 1.0)
    interval = ttest_rel(pairs.after, pairs.before).confidence_interval(0.95)
    np.testing.assert_allclose(verified.low, interval.low)
    np.testing.assert_allclose(verified.high, interval.high)
    np.testing.assert_allclose(verified.change, (pairs.after - pairs.before).mean(0))


def test_pairs_that_diverged_are_left_out_and_too_few_are_an_error():
    before, after = np.zeros((3, 2)), np.arange(6.0).reshape(3, 2)
    after[1] = np.nan
    verified = compare_pairs(Question("f", 0, (1,), 3), Pairs(before, after, np.zeros((2, 3), dtype=np.int64)), 1.0)
    assert verified.n_pairs == 2
    assert verified.after == (2.0, 3.0)
    after[0] = np.nan
    with pytest.raises(TrainingDivergedError, match="diverged in 2 of 3 pairs"):
        compare_pairs(Question("f", 0, (1,), 3), Pairs(before, after, np.zeros((2, 3), dtype=np.int64)), 1.0)


def test_the_same_question_is_answered_from_the_history(tiny, monkeypatch):
    first = verify_what_if(tiny, 4, [5, 3], n_seeds=2)
    monkeypatch.setattr("trak_core.training.trainer.train_reweighted", None)
    assert verify_what_if(tiny, 4, [3, 5, 3], n_seeds=2) == first
    for other in ((5, [3, 5], 2), (4, [3], 2), (4, [3, 5], 3)):
        with pytest.raises(TypeError):
            verify_what_if(tiny, *other)


def test_progress_goes_from_nothing_to_all(tiny):
    told: list[tuple[float, str]] = []
    verify_what_if(tiny, 4, [1], 2, lambda fraction, step: told.append((fraction, step)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0 and fractions[-1] == 1
    assert "training 4 models" in {step for _, step in told}


def test_many_models_are_trained_in_parts_with_the_same_outcome(tiny, monkeypatch):
    whole = verify_what_if(tiny, 4, [1, 2], n_seeds=3)
    (tiny / "reviews.duckdb").unlink()
    monkeypatch.setattr(VmapTrainer, "__init__", partialmethod(VmapTrainer.__init__, at_once=4))
    parts = verify_what_if(tiny, 4, [1, 2], n_seeds=3)
    np.testing.assert_allclose(parts.after, whole.after, atol=TRAINING_NOISE)


# --- what cannot be asked -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test_idx", "removed", "n_seeds", "error", "words"),
    [
        (0, [], 2, InvalidSettingError, "removed is empty"),
        (0, [120], 2, NotInRunError, "no train example 120 .* numbers 0 to 119"),
        (0, [-1], 2, NotInRunError, "no train example -1"),
        (40, [1], 2, NotInRunError, "no test example 40 .* numbers 0 to 39"),
        (0, [1], 1, InvalidSettingError, "n_seeds=1; an interval needs at least 2"),
        (0, [1], 10**6, InvalidSettingError, "200 are the most"),
        (
            0,
            range(120),
            2,
            InvalidSettingError,
            "the 0 that would stay do not fill one batch of 20; remove at most 100",
        ),
        (0, range(101), 2, InvalidSettingError, "remove at most 100"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused_in_one_sentence(run, test_idx, removed, n_seeds, error, words):
    with pytest.raises(error, match=words):
        as_question(run, test_idx, removed, n_seeds)


def test_a_whole_class_cannot_be_removed_but_all_but_one_can(run):
    of_class = np.flatnonzero(run.train_labels == 3)
    with pytest.raises(InvalidSettingError, match=f"all {len(of_class)} train examples of class '3'"):
        as_question(run, 0, of_class, 2)
    assert as_question(run, 0, of_class[1:], 2).removed == tuple(of_class[1:])


def test_what_is_no_number_is_refused():
    assert read_removed("3, 17\n4") == [3, 17, 4]
    with pytest.raises(InvalidSettingError, match=r"removed holds '1\.5'"):
        read_removed("3,1.5")


def set_meta(run_dir: Path, key: str, value: object) -> None:
    with duckdb.connect(str(run_dir / "store.duckdb")) as connection:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, json.dumps(value)])


def test_a_run_saved_from_python_cannot_be_retrained(tiny):
    set_meta(tiny, "recipe", "python")
    with pytest.raises(NotInRunError, match="saved from Python: its models cannot be retrained here"):
        verify_what_if(tiny, 0, [1], 2)


def test_a_run_of_other_data_is_not_retrained(tiny):
    set_meta(tiny, "fingerprint", "other")
    with pytest.raises(RunMismatchError, match="built from other data or by another version"):
        verify_what_if(tiny, 0, [1], 2)
    assert not (tiny / "reviews.duckdb").exists()


def test_an_answer_about_a_run_that_was_built_anew_meanwhile_is_not_kept(tiny):
    def rebuilt(fraction: float, step: str) -> None:
        if fraction > 0.5:
            set_meta(tiny, "fingerprint", "other")

    with pytest.raises(RunMismatchError, match="built anew while models were retrained"):
        verify_what_if(tiny, 0, [1], 2, rebuilt)
    assert not (tiny / "reviews.duckdb").exists()


def test_training_that_diverges_is_said_and_nothing_is_kept(tiny, monkeypatch):
    monkeypatch.setattr(retraining, "diverged", lambda ensemble: np.ones(len(ensemble), dtype=bool))
    with pytest.raises(TrainingDivergedError, match="training diverged in 2 of 2 pairs"):
        verify_what_if(tiny, 0, [1], 2)
    assert not (tiny / "reviews.duckdb").exists()


# --- history ------------------------------------------------------------------------------------------------


def test_the_history_survives_reopening_word_for_word(tiny, run):
    answers = [some_answer(run, 3, (1, 2)), some_answer(run, 4, (5,))]
    later = replace(answers[1], asked_at=datetime(2031, 1, 1, tzinfo=UTC))
    WhatIfHistory(tiny).add(answers[0])
    WhatIfHistory(tiny).add(later)
    history = WhatIfHistory(tiny)
    assert history.of_run(run.info.provenance["fingerprint"]) == [later, answers[0]]
    assert history.find(answers[0].question) == answers[0]
    assert history.of_run("another build") == []


def test_an_answer_that_is_there_stays_as_it_is(tiny, run):
    history, first = WhatIfHistory(tiny), some_answer(run, 3, (1, 2))
    history.add(first)
    history.add(replace(first, share_flipped=1.0))
    assert history.find(first.question) == first


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.test_what_if import some_answer
from trak_core.store.run import open_run
from trak_core.store.what_ifs import WhatIfHistory
with open_run(Path(sys.argv[1])) as run:
    for i in range(5):
        WhatIfHistory(run.path).add(some_answer(run, int(sys.argv[2]), (i,)))
"""


@pytest.mark.slow
def test_two_processes_that_write_at_once_lose_nothing(tiny, run):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tiny), str(test_idx)], cwd=ROOT) for test_idx in (1, 2)
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    kept = WhatIfHistory(tiny).of_run(run.info.provenance["fingerprint"])
    assert sorted((one.question.test_idx, one.question.removed) for one in kept) == [
        (test_idx, (i,)) for test_idx in (1, 2) for i in range(5)
    ]


# --- command line -------------------------------------------------------------------------------------------


def test_the_command_prints_predicted_beside_actual(tiny):
    result = CliRunner().invoke(
        cli, ["what-if", str(tiny), "--test", "4", "--remove", "3,5", "--top-proponents", "2", "--seeds", "2"]
    )
    assert result.exit_code == 0, result.output
    with open_run(tiny) as run:
        removed = {3, 5, *run.proponents(4, 2)["train_idx"].tolist()}
        (verified,) = WhatIfHistory(tiny).of_run(run.info.provenance["fingerprint"])
    assert verified.question.removed == tuple(sorted(removed))
    lines = result.output.splitlines()
    assert sum("95% interval" in line for line in lines) == 1
    row = next(line.split() for line in lines if line.startswith("7 "))
    assert float(row[1]) == pytest.approx(verified.before[7], abs=1e-3)
    assert float(row[3]) == pytest.approx(verified.change[7], abs=1e-3)
    assert "Retrained 2 times with and without them" in result.output


def test_the_command_takes_proponents_of_a_target_by_its_name(tiny):
    command = ["what-if", str(tiny), "--test", "4", "--top-proponents", "3", "--seeds", "2", "--target"]
    with open_run(tiny) as run:
        name = run.targets(4)[1]
        removed = run.proponents(4, 3, target=1)["train_idx"].tolist()
    assert CliRunner().invoke(cli, [*command, name]).exit_code == 0
    with open_run(tiny) as run:
        (verified,) = WhatIfHistory(tiny).of_run(run.info.provenance["fingerprint"])
    assert verified.question.removed == tuple(sorted(removed))
    refused = CliRunner().invoke(cli, [*command, "cat"])
    assert refused.exit_code == 2
    assert "has no target 'cat'" in refused.output


def test_numbers_can_come_from_standard_input(tiny):
    arguments = ["what-if", str(tiny), "--test", "4", "--remove", "-", "--seeds", "2"]
    assert CliRunner().invoke(cli, arguments, input="3,5\n").exit_code == 0
    wrong = CliRunner().invoke(cli, arguments, input="3,five\n")
    assert wrong.exit_code == 2
    assert "error: removed holds 'five'" in wrong.output


@pytest.mark.slow
def test_a_killed_process_leaves_what_was_finished(runs):
    def command(*asked: str) -> list[str]:
        return [sys.executable, "-m", "trak_core", "what-if", "digits", "--test", "4", *asked]

    subprocess.run(command("--remove", "1", "--seeds", "2"), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    status_file = runs / "status.json"
    killed = subprocess.Popen(
        command("--remove", "2", "--seeds", "200"),
        cwd=ROOT,
        env={**os.environ, "TRAK_JOB_STATUS": str(status_file)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not status_file.exists() or json.loads(status_file.read_text())["fraction"] == 0:
        assert killed.poll() is None
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    with open_run(runs / "digits") as run:
        kept = WhatIfHistory(run.path).of_run(run.info.provenance["fingerprint"])
    assert [one.question.removed for one in kept] == [(1,)]
