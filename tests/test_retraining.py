"""Before and after a review: models really retrained, both kinds of chance, and labels in and out of files."""

import errno
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partialmethod
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import ttest_1samp, ttest_rel

from tests.tiny import N_TEST, N_TRAIN, SETTINGS, TINY
from trak_core.__main__ import cli
from trak_core.engine import build_run
from trak_core.engine.retraining import retrain_on_labels
from trak_core.engine.subject import load_subject
from trak_core.errors import (
    InvalidDataError,
    InvalidSettingError,
    NotInRunError,
    RunMismatchError,
    StoreDamagedError,
    TrainingDivergedError,
)
from trak_core.evidence.retraining import TestAnswers, as_trial, compare_label_sets, crossed_estimates
from trak_core.seeds import derive_seed
from trak_core.store.retrainings import Corrections, Estimate, LabelTrial, Retraining, RetrainingHistory
from trak_core.store.reviews import ReviewLog, Reviews
from trak_core.store.run import Run, open_run
from trak_core.subjects import RECIPES
from trak_core.training import Schedule, VmapTrainer, train_ensemble
from trak_core.views.retraining import (
    changed_table,
    changed_tests,
    corrections_of,
    gain_sentence,
    here_sentence,
    label_set_rows,
    nearest_retraining,
    second_sentence,
    why_changed,
)
from trak_core.views.review import data_fingerprint
from trak_core.views.review_tables import read_label_file, write_label_file

FLIPPED = replace(SETTINGS, flip_labels=0.3)
TRAINING_NOISE = 2e-4
"""Models trained at once and one by one add up in another order, over 48 steps in float32."""
Z = 1.959964


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tiny run with three tenths of its labels made wrong, with its recipe registered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, TINY.name, TINY)
        yield build_run(FLIPPED, "tiny", tmp_path_factory.mktemp("retraining"))


@pytest.fixture
def tiny(built: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(built, tmp_path / "tiny"))


@pytest.fixture
def run(built: Path) -> Iterator[Run]:
    with open_run(built) as opened:
        yield opened


@pytest.fixture
def truth(run: Run) -> Corrections:
    """All that was made wrong, put right."""
    return Corrections(tuple(run.rows("SELECT train_idx, true_label FROM planted_errors ORDER BY train_idx")))


def reviews_of(run_dir: Path) -> Reviews:
    with open_run(run_dir) as run:
        return Reviews(run_dir, data_fingerprint(run))


def some_answers(rng: np.random.Generator, labels: np.ndarray, share_right: float, n_seeds: int = 4) -> TestAnswers:
    right = rng.uniform(size=(n_seeds, len(labels))) < share_right
    return TestAnswers(rng.normal(size=right.shape), np.where(right, labels, (labels + 1) % 10))


def made_up(run: Run, corrections: Corrections, n_seeds: int = 4, seed: int = 0) -> Retraining:
    """A retraining with answers drawn at random."""
    rng = np.random.default_rng(seed)
    trial = LabelTrial(run.info.provenance["fingerprint"], corrections, n_seeds)
    shares = {"kept": 0.5, "cleaned": 0.8, "excluded": 0.7}
    found = {name: some_answers(rng, run.test_labels, share, n_seeds) for name, share in shares.items()}
    return compare_label_sets(trial, found, run.test_labels, 1.0)


# --- statistics ---------------------------------------------------------------------------------------------


def test_the_interval_is_the_crossed_bootstrap_written_as_a_loop():
    values = np.random.default_rng(0).normal(size=(2, 5, 7))
    found = crossed_estimates(values, seed=3, n_draws=200)
    generator = np.random.default_rng(3)
    seeds, tests = generator.integers(5, size=(200, 5)), generator.integers(7, size=(200, 7))
    stretch = math.sqrt(5 / 4) * 2.776445 / Z  # Student's quantile with 4 degrees of freedom
    for statistic, estimate in zip(values, found, strict=True):
        mean = statistic.mean()
        means = []
        for of_seeds, of_tests in zip(seeds, tests, strict=True):
            from_seeds = np.mean([statistic[s].mean() for s in of_seeds]) - mean
            from_tests = np.mean([statistic[:, i].mean() for i in of_tests]) - mean
            means.append(mean + stretch * from_seeds + from_tests)
        assert estimate.mean == pytest.approx(mean)
        assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=1e-6)
        over_seeds = ttest_1samp(statistic.mean(1), 0).confidence_interval(0.95)
        assert (estimate.seeds_low, estimate.seeds_high) == pytest.approx((over_seeds.low, over_seeds.high))


def differences(rng: np.random.Generator, n_seeds: int, n_test: int, seed_spread: float) -> np.ndarray:
    """Differences of answers that are right or wrong, with the mean `phi(0.3) - phi(0)` over seeds and tests."""
    easy, helped = rng.normal(0, 2, n_test), rng.normal(0, 1, n_test)
    of_seed = rng.normal(0, seed_spread, size=(2, n_seeds, 1))
    noise = rng.normal(size=(2, n_seeds, n_test))
    spread = math.sqrt(4 + seed_spread**2 + 1), math.sqrt(4 + 1 + seed_spread**2 + 1)
    before = (easy + of_seed[0] + noise[0]) / spread[0] > 0
    after = (easy + helped + of_seed[1] + noise[1]) / spread[1] + 0.3 > 0
    return after.astype(float) - before


def test_what_is_clear_on_these_test_examples_alone_is_said_so(run):
    found = made_up(run, Corrections(((1, 2),), (3,)))
    unclear, here = Estimate(0.01, -0.02, 0.04, -0.01, 0.03), Estimate(0.01, -0.02, 0.04, 0.004, 0.016)
    for gain, words in (
        (unclear, ""),
        (Estimate(0.05, 0.02, 0.08, 0.03, 0.07), ""),
        (here, "than the seeds of training explain (+0.4 to +1.6); more test examples would tell."),
    ):
        said = here_sentence(replace(found, gain_cleaned=gain))
        assert said.endswith(words) and bool(said) == bool(words)
    assert gain_sentence(replace(found, gain_cleaned=here)).endswith(
        "significant (+1.0 points, 95% interval -2.0 to +4.0)."
    )
    fell = Estimate(-0.05, -0.08, -0.02, -0.07, -0.03)
    assert gain_sentence(replace(found, gain_cleaned=fell)).startswith("Test accuracy fell from ")


@pytest.mark.parametrize(("n_seeds", "seed_spread"), [(3, 0.6), (10, 0.0), (10, 0.6)])
def test_19_of_20_intervals_hold_the_difference_that_was_put_in(n_seeds, seed_spread):
    rng = np.random.default_rng(0)
    actual = 0.5 * (1 + math.erf(0.3 / math.sqrt(2))) - 0.5
    n, held, held_by_seeds = 300, 0, 0
    for i in range(n):
        (estimate,) = crossed_estimates(differences(rng, n_seeds, 80, seed_spread)[None], seed=i, n_draws=500)
        held += estimate.low <= actual <= estimate.high
        held_by_seeds += estimate.seeds_low <= actual <= estimate.seeds_high
    # Three standard errors of a share of .95 of 300 are .038; with three seeds the interval is wide on purpose.
    assert 0.91 <= held / n <= (1.0 if n_seeds == 3 else 0.99)
    if seed_spread == 0.0:
        assert held_by_seeds / n < 0.75  # seeds alone leave out that other test examples would differ


def test_where_nothing_varies_the_interval_is_a_point():
    for value in (0.0, 0.25):
        (estimate,) = crossed_estimates(np.full((1, 4, 6), value), seed=0, n_draws=50)
        assert estimate == Estimate(*[value] * 5)
    assert not Estimate(0.0, 0.0, 0.0, 0.0, 0.0).is_clear


def test_either_kind_of_chance_alone_makes_the_interval():
    rng = np.random.default_rng(0)
    of_tests, of_seeds = rng.normal(size=(1, 1, 50)), rng.normal(size=(1, 10, 1))
    (tests,) = crossed_estimates(np.repeat(of_tests, 10, axis=1), seed=0)
    assert tests.high - tests.low == pytest.approx(2 * Z * of_tests.std() / math.sqrt(50), rel=0.05)
    assert tests.seeds_high - tests.seeds_low == pytest.approx(0, abs=1e-12)
    (seeds,) = crossed_estimates(np.repeat(of_seeds, 50, axis=2), seed=0)
    assert seeds.high - seeds.low == pytest.approx(seeds.seeds_high - seeds.seeds_low, rel=0.05)


def test_many_test_examples_are_drawn_in_parts_with_the_same_kind_of_interval(monkeypatch):
    values = np.random.default_rng(0).normal(size=(1, 6, 40))
    (whole,) = crossed_estimates(values, seed=0)
    monkeypatch.setattr("trak_core.evidence.retraining.DRAWN_AT_ONCE", 1000)
    (parts,) = crossed_estimates(values, seed=0)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.02)


def test_each_set_of_labels_is_summed_up_example_by_example(run):
    trial = LabelTrial("f", Corrections(excluded=(1,)), 4)
    rng = np.random.default_rng(1)
    found = {name: some_answers(rng, run.test_labels, 0.6) for name in ("kept", "cleaned", "excluded")}
    result = compare_label_sets(trial, found, run.test_labels, 2.5)
    for name in found:
        of_set, answers = getattr(result, name), found[name].answers
        assert of_set.by_seed == pytest.approx([np.mean(row == run.test_labels) for row in answers])
        assert of_set.accuracy.mean == pytest.approx(np.mean(of_set.by_seed))
        assert list(of_set.n_right) == [int((answers[:, i] == label).sum()) for i, label in enumerate(run.test_labels)]
        np.testing.assert_allclose(of_set.margins, found[name].margins.mean(0), atol=1e-4)
        # 2 of 4 are not most of them.
        assert [a == label for a, label in zip(of_set.answers, run.test_labels, strict=True)] == [
            n > 2 for n in of_set.n_right
        ]
    expected = np.mean(result.excluded.by_seed) - np.mean(result.kept.by_seed)
    assert result.gain_excluded.mean == pytest.approx(expected)
    interval = ttest_rel(result.cleaned.by_seed, result.kept.by_seed).confidence_interval(0.95)
    assert (result.gain_cleaned.seeds_low, result.gain_cleaned.seeds_high) == pytest.approx(
        (interval.low, interval.high)
    )


def test_intervals_of_accuracies_end_at_none_and_all(run):
    rng = np.random.default_rng(0)
    found = {name: some_answers(rng, run.test_labels, 0.99, 2) for name in ("kept", "cleaned", "excluded")}
    result = compare_label_sets(LabelTrial("f", Corrections(excluded=(1,)), 2), found, run.test_labels, 1.0)
    assert result.kept.accuracy.high <= 1 and result.kept.accuracy.seeds_high <= 1


def test_seeds_of_which_a_model_diverged_are_left_out_of_all_sets(run):
    rng = np.random.default_rng(0)
    found = {name: some_answers(rng, run.test_labels, 0.6) for name in ("kept", "cleaned", "excluded")}
    trial = LabelTrial("f", Corrections(excluded=(1,)), 4)
    without = {name: TestAnswers(of.margins[1:], of.answers[1:]) for name, of in found.items()}
    found["cleaned"].margins[0] = np.nan
    result = compare_label_sets(trial, found, run.test_labels, 1.0)
    assert result.n_models == 3
    assert result.kept == compare_label_sets(trial, without, run.test_labels, 1.0).kept
    found["kept"].margins[1:3] = np.inf
    with pytest.raises(TrainingDivergedError, match="training diverged for 3 of 4 seeds"):
        compare_label_sets(trial, found, run.test_labels, 1.0)


# --- which labels -------------------------------------------------------------------------------------------


def test_standing_verdicts_become_corrections(tiny):
    with open_run(tiny) as run:
        given, reviews = run.train_labels, reviews_of(tiny)
        other = [(int(label) + 1) % 10 for label in given]
        reviews.record(0, "relabel", "ann", other[0])
        reviews.record(1, "exclude", "ann")
        reviews.record(2, "keep", "ann")
        reviews.record(3, "unsure", "ann")
        reviews.record(4, "relabel", "ann", int(given[4]))  # says nothing new
        reviews.record(5, "exclude", "ann")
        reviews.undo(6, "ann")
        reviews.record(7, "exclude", "ann")
        reviews.record(7, "relabel", "bob", other[7])  # the last one counts
        reviews.record(8, "relabel", "ann", 10)  # no such class
        reviews.record(N_TRAIN, "exclude", "ann")  # no such example
        found = corrections_of(run, reviews.read())
    assert found == Corrections(((0, other[0]), (7, other[7])), (1,))
    assert found.new_labels == {0: other[0], 1: None, 7: other[7]}


def test_labels_that_differ_are_counted_by_train_example():
    one = Corrections(((1, 3), (2, 4)), (5,))
    assert one.n_differing(one) == 0
    assert one.n_differing(Corrections(((1, 9),), (2, 5, 6))) == 3
    assert Corrections().n_differing(one) == 3


def test_the_nearest_retraining_is_that_of_these_labels_with_most_models(run):
    near, far = Corrections(excluded=(1, 2)), Corrections(excluded=(3, 4))
    history = [made_up(run, far, 8), made_up(run, near, 4), made_up(run, near, 6)]
    assert nearest_retraining(history, near) is history[2]
    assert nearest_retraining(history, Corrections(excluded=(3,))) is history[0]
    assert nearest_retraining([], near) is None


@pytest.mark.parametrize(
    ("corrections", "n_seeds", "error", "words"),
    [
        (Corrections(), 2, InvalidSettingError, "no label of run 'tiny' was found wrong"),
        (Corrections(excluded=(1,)), 1, InvalidSettingError, "n_seeds=1; an interval needs at least 2 models"),
        (Corrections(excluded=(1,)), 101, InvalidSettingError, "100 are the most"),
        (Corrections(((3, 1), (3, 2))), 2, InvalidSettingError, "name train example 3 more than once"),
        (Corrections(((3, 1),), (2, 3)), 2, InvalidSettingError, "name train example 3 more than once"),
        (Corrections(excluded=(N_TRAIN,)), 2, NotInRunError, "no train example 120"),
        (Corrections(((1, 10),)), 2, NotInRunError, "no class 10"),
        (Corrections(excluded=tuple(range(101))), 2, InvalidSettingError, "the 19 others do not fill one batch of 20"),
    ],
)
def test_a_trial_that_cannot_be_made_is_refused_in_one_sentence(run, corrections, n_seeds, error, words):
    with pytest.raises(error, match=words):
        as_trial(run, corrections, n_seeds)


def test_the_order_of_corrections_does_not_matter(run):
    one = as_trial(run, Corrections(((5, 1), (2, 3)), (9, np.int64(7))), 2)
    assert one == as_trial(run, Corrections(((2, 3), (5, 1)), (7, 9)), 2)
    assert one.retraining_id == as_trial(run, one.corrections, 2).retraining_id


# --- training -----------------------------------------------------------------------------------------------


def seeds_of(n: int) -> list[int]:
    return [derive_seed(FLIPPED.seed, "retraining", i) for i in range(n)]


def trained_together(labels: np.ndarray, n_seeds: int) -> TestAnswers:
    """Test margins and answers of models trained as checkpoints are, with the same seeds."""
    subject, _ = load_subject(FLIPPED)
    train, test = subject.dataset.train, subject.dataset.test
    masks = np.ones((n_seeds, N_TRAIN), dtype=bool)
    ensemble = train_ensemble(
        subject.make_model,
        subject.task,
        torch.from_numpy(train.inputs),
        torch.from_numpy(labels),
        masks,
        seeds_of(n_seeds),
        subject.training,
    )
    logits = ensemble.outputs(subject.task, torch.from_numpy(test.inputs))
    margins = subject.task.model_output(logits, torch.from_numpy(test.labels).expand(n_seeds, -1))
    return TestAnswers(margins.double().numpy(), logits.argmax(-1).numpy())


def trained_by_hand(seed: int, labels: np.ndarray, left_out: tuple[int, ...]) -> np.ndarray:
    """Test margins of the labels of one model, trained step by step with torch's own optimizer."""
    subject, _ = load_subject(FLIPPED)
    inputs, test = torch.from_numpy(subject.dataset.train.inputs), subject.dataset.test
    settings = subject.training
    torch.manual_seed(seed)
    model = subject.make_model()
    optimizer = torch.optim.SGD(
        model.parameters(), settings.learning_rate, settings.momentum, weight_decay=settings.weight_decay
    )
    schedule = Schedule(settings, N_TRAIN)
    for step, batch in enumerate(schedule.batches(seed)):
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate(step)
        stays = torch.tensor([idx not in left_out for idx in batch.tolist()])
        wanted = torch.from_numpy(labels)[batch]
        losses = torch.nn.functional.cross_entropy(model(inputs[batch]), wanted, reduction="none")
        optimizer.zero_grad()
        (losses * stays).mean().backward()
        optimizer.step()
    with torch.no_grad():
        p = model(torch.from_numpy(test.inputs)).double().softmax(-1).numpy()
    of_label = p[np.arange(N_TEST), test.labels]
    return np.log(of_label / (1 - of_label))


def test_kept_labels_are_the_models_of_the_run_to_the_last_bit(tiny, run):
    found = retrain_on_labels(tiny, Corrections(excluded=(3, 4)), n_seeds=3).kept
    expected = trained_together(run.train_labels, 3)
    assert list(found.margins) == expected.margins.mean(0).round(4).tolist()
    right = expected.answers == run.test_labels
    assert list(found.by_seed) == right.mean(1).tolist()
    assert list(found.n_right) == right.sum(0).tolist()


def test_the_truth_trains_the_models_that_right_labels_would_have_and_accuracy_rises(tiny, run, truth):
    assert len(truth.relabelled) == 36
    found = retrain_on_labels(tiny, truth, n_seeds=20)
    expected = trained_together(TINY.load().dataset.train.labels, 20)
    assert list(found.cleaned.margins) == expected.margins.mean(0).round(4).tolist()
    assert found.gain_cleaned.low > 0.02
    assert gain_sentence(found).startswith("Test accuracy rose from ")
    assert "with the cleaned labels: +" in gain_sentence(found)
    assert second_sentence(found).startswith("With all 36 that were found wrong removed it was ")


def test_cleaning_and_leaving_out_is_training_by_hand(tiny, run, truth):
    relabelled, excluded = truth.relabelled[:20], tuple(idx for idx, _ in truth.relabelled[20:])
    found = retrain_on_labels(tiny, Corrections(relabelled, excluded), n_seeds=2)
    labels = run.train_labels.copy()
    for idx, label in relabelled:
        labels[idx] = label
    wrong = tuple(idx for idx, _ in truth.relabelled)
    for of_set, given, left_out in (
        (found.cleaned, labels, excluded),
        (found.excluded, run.train_labels, wrong),
        (found.kept, run.train_labels, ()),
    ):
        by_hand = [trained_by_hand(seed, given, left_out) for seed in seeds_of(2)]
        np.testing.assert_allclose(of_set.margins, np.mean(by_hand, axis=0), atol=TRAINING_NOISE)


def test_where_nothing_is_relabelled_cleaning_is_leaving_out(tiny):
    found = retrain_on_labels(tiny, Corrections(excluded=(1, 2, 3)), n_seeds=2)
    assert found.cleaned == found.excluded
    assert [row.title for row in label_set_rows(found)] == ["as given", "cleaned"]
    assert second_sentence(found).startswith("Nothing was relabelled")


def test_labels_relabelled_as_they_are_change_nothing_to_the_last_bit(tiny, run):
    same = Corrections(tuple((idx, int(run.train_labels[idx])) for idx in (1, 5)))
    found = retrain_on_labels(tiny, same, n_seeds=3)
    assert found.cleaned == found.kept
    assert found.gain_cleaned == Estimate(0.0, 0.0, 0.0, 0.0, 0.0)
    assert "not statistically significant (+0.0 points" in gain_sentence(found)


def test_the_same_labels_are_answered_from_the_history(tiny, truth, monkeypatch):
    first = retrain_on_labels(tiny, truth, n_seeds=2)
    monkeypatch.setattr("trak_core.training.trainer.train_reweighted", None)
    assert retrain_on_labels(tiny, truth, n_seeds=2) == first
    for corrections, n_seeds in ((truth, 3), (Corrections(truth.relabelled[1:]), 2), (Corrections((), truth.wrong), 2)):
        with pytest.raises(TypeError):
            retrain_on_labels(tiny, corrections, n_seeds)


def test_many_models_are_trained_in_parts_with_the_same_outcome(tiny, truth, monkeypatch):
    whole = retrain_on_labels(tiny, truth, n_seeds=3)
    (tiny / "reviews.duckdb").unlink()
    monkeypatch.setattr(VmapTrainer, "__init__", partialmethod(VmapTrainer.__init__, at_once=2))
    parts = retrain_on_labels(tiny, truth, n_seeds=3)
    np.testing.assert_allclose(parts.cleaned.margins, whole.cleaned.margins, atol=TRAINING_NOISE)


def test_progress_goes_from_nothing_to_all(tiny, truth):
    told: list[tuple[float, str]] = []
    retrain_on_labels(tiny, truth, 2, lambda fraction, step: told.append((fraction, step)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0 and fractions[-1] == 1
    assert "training 6 models" in {step for _, step in told}


def set_meta(run_dir: Path, key: str, value: object) -> None:
    with duckdb.connect(str(run_dir / "store.duckdb")) as connection:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [key, json.dumps(value)])


def test_runs_that_cannot_be_retrained_say_so(tiny, truth):
    set_meta(tiny, "recipe", "python")
    with pytest.raises(NotInRunError, match="saved from Python: its models cannot be retrained here"):
        retrain_on_labels(tiny, truth, 2)
    set_meta(tiny, "recipe", "gone")
    with pytest.raises(
        NotInRunError, match=r"was built from the recipe 'gone', which is not here; put it into .*RECIPES"
    ):
        retrain_on_labels(tiny, truth, 2)
    set_meta(tiny, "class_names", ["value"])
    with pytest.raises(NotInRunError, match="has numbers as targets and no labels"):
        retrain_on_labels(tiny, truth, 2)


def test_an_answer_about_a_run_that_was_built_anew_meanwhile_is_not_kept(tiny, truth):
    def rebuilt(fraction: float, step: str) -> None:
        if fraction > 0.5:
            set_meta(tiny, "fingerprint", "other")

    with pytest.raises(RunMismatchError, match="built anew while models were retrained"):
        retrain_on_labels(tiny, truth, 2, rebuilt)
    assert not (tiny / "reviews.duckdb").exists()
    with pytest.raises(RunMismatchError, match="built from other data or by another version"):
        retrain_on_labels(tiny, truth, 2)


def test_training_that_diverges_is_said_and_nothing_is_kept(tiny, truth, monkeypatch):
    monkeypatch.setattr("trak_core.engine.retrained.diverged", lambda ensemble: np.ones(len(ensemble), dtype=bool))
    with pytest.raises(TrainingDivergedError, match="training diverged for 2 of 2 seeds"):
        retrain_on_labels(tiny, truth, 2)
    assert not (tiny / "reviews.duckdb").exists()


# --- history ------------------------------------------------------------------------------------------------


def test_the_history_survives_reopening_word_for_word_beside_the_verdicts(tiny, run):
    reviews_of(tiny).record(3, "exclude", "ann")
    first = made_up(run, Corrections(((1, 2), (4, 0)), (3,)))
    later = replace(made_up(run, Corrections(excluded=(3,)), seed=1), asked_at=datetime(2031, 1, 1, tzinfo=UTC))
    for one in (first, later):
        RetrainingHistory(tiny).add(one)
    history = RetrainingHistory(tiny)
    assert history.of_run(run.info.provenance["fingerprint"]) == [later, first]
    assert history.find(first.trial) == first
    assert history.of_run("another build") == []
    assert reviews_of(tiny).read().excluded == [3]


def test_an_answer_that_is_there_stays_as_it_is(tiny, run):
    history, first = RetrainingHistory(tiny), made_up(run, Corrections(excluded=(3,)))
    history.add(first)
    history.add(replace(first, seconds=9.0))
    assert history.find(first.trial) == first


def test_an_answer_that_cannot_be_read_is_damage(tiny, run):
    RetrainingHistory(tiny).add(made_up(run, Corrections(excluded=(3,))))
    with duckdb.connect(str(tiny / "reviews.duckdb")) as connection:
        connection.execute("UPDATE retrainings SET result = '{}'")
    with pytest.raises(StoreDamagedError, match="holds a retraining that cannot be read"):
        RetrainingHistory(tiny).of_run(run.info.provenance["fingerprint"])


# --- what changed and why -----------------------------------------------------------------------------------


def test_changed_test_examples_come_in_the_order_of_the_change(run):
    found = made_up(run, Corrections(((1, 2), (4, 0)), (3, 9)), n_seeds=3)
    changed = changed_tests(run, found)
    expected: dict[bool, list[tuple[float, int]]] = {True: [], False: []}
    for i, label in enumerate(run.test_labels):
        before, after = found.kept.n_right[i] >= 2, found.cleaned.n_right[i] >= 2
        change = found.cleaned.margins[i] - found.kept.margins[i]
        if before != after:
            expected[after].append((-change if after else change, i))
        assert (found.kept.answers[i] == label) == before
    for came_right in (True, False):
        here = [one for one in changed if one.came_right == came_right]
        assert [one.example.idx for one in here] == [i for _, i in sorted(expected[came_right])]
        for one in here:
            assert one.came_right == (one.answer_after == one.example.label_name)
            assert (one.n_right_before < one.n_right_after) == came_right
    assert changed[0].came_right and not changed[-1].came_right


def test_reasons_are_the_mended_examples_with_the_strongest_scores_of_the_right_sign(run):
    found = made_up(run, Corrections(tuple((idx, 7) for idx in range(0, 40, 2)), tuple(range(1, 40, 2))), n_seeds=3)
    signs = set()
    for one in changed_tests(run, found):
        row = run.score_row(one.example.idx)
        sign = -1 if one.came_right else 1
        expected = sorted((i for i in range(40) if sign * row[i] > 0), key=lambda i: -sign * row[i])[:5]
        reasons = why_changed(run, found, one)
        assert [reason.example.idx for reason in reasons] == expected
        assert [reason.score for reason in reasons] == pytest.approx([row[i] for i in expected])
        assert [reason.became for reason in reasons] == ["removed" if i % 2 else "now “7”" for i in expected]
        signs.add(sign)
    assert signs == {1, -1}


def test_the_table_says_the_same(run):
    found = made_up(run, Corrections(((1, 2),), (3,)), n_seeds=3)
    changed = changed_tests(run, found)
    table = changed_table(run, found, changed)
    assert table["test example"].tolist() == [one.example.idx for one in changed]
    reasons = why_changed(run, found, changed[0])
    assert all(f"train {reason.example.idx}, " in table["why"][0] for reason in reasons)
    assert changed_table(run, found, []).empty


# --- command line -------------------------------------------------------------------------------------------


def command(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    return result.exit_code, result.output


def test_the_command_prints_before_and_after(tiny, truth):
    reviews = reviews_of(tiny)
    for idx, label in truth.relabelled[1:]:
        reviews.record(idx, "relabel", "ann", label)
    reviews.record(truth.relabelled[0][0], "exclude", "ann")
    reviews.record(N_TRAIN + 5, "exclude", "ann")
    status, said = command("retrain", tiny, "--n-seeds", 3)
    assert status == 0, said
    with open_run(tiny) as run:
        (found,) = RetrainingHistory(tiny).of_run(run.info.provenance["fingerprint"])
        changed = changed_tests(run, found)
    assert found.trial.corrections == Corrections(truth.relabelled[1:], (truth.relabelled[0][0],))
    assert "35 train examples relabelled, 1 excluded; 3 models on each set of labels, 40 test examples" in said
    for row in label_set_rows(found):
        line = next(line for line in said.splitlines() if line.startswith(row.title))
        assert f"{row.found.accuracy.mean:.1%}" in line
    assert gain_sentence(found) in said
    n_came = sum(one.came_right for one in changed)
    assert f"Test examples fixed: {n_came}\n" in said and n_came > 0
    assert f"test {changed[0].example.idx}, label “{changed[0].example.label_name}”" in said
    assert "1 verdict is about data, examples or classes that the run does not have" in said


def test_json_holds_all_that_changed(tiny, truth, tmp_path):
    file = tmp_path / "truth.csv"
    file.write_text("train_idx,new_label\n" + "".join(f"{idx},{label}\n" for idx, label in truth.relabelled))
    status, said = command("retrain", tiny, "--labels", file, "--n-seeds", 2, "--json")
    assert status == 0, said
    facts = json.loads(said[said.index("{") :])
    with open_run(tiny) as run:
        (found,) = RetrainingHistory(tiny).of_run(run.info.provenance["fingerprint"])
        changed = changed_tests(run, found)
    assert facts["accuracy"]["kept"]["by_seed"] == list(found.kept.by_seed)
    assert facts["gain_cleaned"]["low"] == found.gain_cleaned.low
    assert facts["relabelled"] == [{"train_idx": idx, "new_label": label} for idx, label in truth.relabelled]
    assert [one["test_idx"] for one in facts["changed"]] == [one.example.idx for one in changed]
    assert (facts["n_models"], facts["n_left_aside"]) == (2, 0)


def test_where_nothing_was_found_wrong_the_command_says_so(tiny):
    reviews_of(tiny).record(1, "keep", "ann")
    status, said = command("retrain", tiny)
    assert status == 2
    assert said.startswith("error: no label of run 'tiny' was found wrong")


@pytest.mark.parametrize("ending", ["csv", "parquet", "CSV"])
def test_labels_go_out_and_come_back(tiny, tmp_path, ending):
    reviews = reviews_of(tiny)
    with open_run(tiny) as run:
        reviews.record(4, "relabel", "ann", (run.label("train", 4) + 1) % 10)
        reviews.record(7, "exclude", "ann")
        reviews.record(9, "unsure", "ann")
        reviews.record(10**6, "exclude", "ann")
        file = tmp_path / "new" / f"labels.{ending}"
        status, said = command("labels", tiny, file)
        assert status == 0, said
        assert f"The labels of 120 train examples are in {file}: 1 changed, 1 removed (no new label)." in said
        assert "1 verdict is about" in said
        found = read_label_file(run, file)
        assert found == corrections_of(run, reviews.read())
        assert found == Corrections(((4, (run.label("train", 4) + 1) % 10),), (7,))
    table = pd.read_parquet(file) if ending == "parquet" else pd.read_csv(file)
    assert len(table) == N_TRAIN
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_file_that_is_there_is_not_replaced_unless_asked(tiny, tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("mine")
    status, said = command("labels", tiny, file)
    assert (status, file.read_text()) == (2, "mine")
    assert "is there already and was not changed; give --overwrite" in said
    status, _ = command("labels", tiny, file, "--overwrite")
    assert status == 0
    assert file.read_text().startswith("train_idx,origin,label,")
    status, said = command("labels", tiny, tmp_path / "labels.txt")
    assert status == 2
    assert "ends in '.txt'; name a file that ends in .csv or .parquet" in said


@pytest.mark.parametrize(("ending", "writer"), [("csv", "to_csv"), ("parquet", "to_parquet")])
def test_a_full_disk_leaves_the_file_as_it_was_and_nothing_else(tiny, tmp_path, monkeypatch, ending, writer):
    def full(table: pd.DataFrame, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, writer, full)
    file = tmp_path / "out" / f"labels.{ending}"
    file.parent.mkdir()
    file.write_text("mine")
    status, said = command("labels", tiny, file, "--overwrite")
    assert status == 1
    assert "the disk is full; free some space" in said
    assert [(path.name, path.read_text()) for path in file.parent.iterdir()] == [(file.name, "mine")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("idx,new_label\n1,2\n", "has no column train_idx; its columns are: idx, new_label"),
        ("a;b\n1;2\n", "has no column train_idx and no column new_label; its columns are: a;b"),
        ("", "has no column train_idx and no column new_label; its columns are: none"),
        ("train_idx,new_label\n1,2\n120,3\n", "line 3: train_idx is '120', and run 'tiny' has train examples 0 to 119"),
        ("train_idx,new_label\n-1,2\n", "line 2: train_idx is '-1'"),
        ("train_idx,new_label\n1.5,2\n", "line 2: train_idx is '1.5'"),
        ("train_idx,new_label\n,2\n", "line 2: train_idx is ''"),
        ("train_idx,new_label\n1,2\n\n1,3\n", "line 4: train example 1 was given on line 2 already"),
        ("train_idx,new_label\n1,10\n", "line 2: new_label is '10'; give the number of a class, 0 to 9, or leave it"),
        ("train_idx,new_label\n1,cat\n", "line 2: new_label is 'cat'"),
        ("train_idx,new_label\n1,2\n2\n", "line 3: new_label is missing"),
        ('train_idx,new_label\n1,"2\n', "cannot be read as labels"),
    ],
)
def test_a_file_that_says_nothing_clear_is_refused_with_its_row(run, tmp_path, text, words):
    file = tmp_path / "labels.csv"
    file.write_text(text)
    with pytest.raises(InvalidDataError) as caught:
        read_label_file(run, file)
    assert str(caught.value).startswith(str(file))
    assert words in str(caught.value)


def test_what_is_no_table_is_refused(run, tmp_path):
    for name, content in (("labels.csv", b"\xff\xfe\x00"), ("labels.parquet", b"PAR0 nothing of the kind PAR0")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidDataError, match="cannot be read as labels"):
            read_label_file(run, tmp_path / name)
        with pytest.raises(InvalidDataError, match="there is no file"):
            read_label_file(run, tmp_path / "none" / name)
    with pytest.raises(InvalidSettingError, match=r"ends in '\.xlsx'"):
        read_label_file(run, tmp_path / "labels.xlsx")


def test_numbers_may_come_back_with_a_point_from_other_programs(run, tmp_path):
    other = (run.label("train", 2) + 1) % 10
    table = pd.DataFrame({"train_idx": [2.0, 3.0, 4.0], "new_label": [other, np.nan, run.label("train", 4)]})
    table.to_csv(tmp_path / "labels.csv", index=False)
    table.to_parquet(tmp_path / "labels.parquet")
    for name in ("labels.csv", "labels.parquet"):
        assert read_label_file(run, tmp_path / name) == Corrections(((2, other),), (3,))
    (tmp_path / "bom.csv").write_text(f"\ufefftrain_idx,new_label\n 2 , {other} \n3, \n", encoding="utf-8")
    assert read_label_file(run, tmp_path / "bom.csv") == Corrections(((2, other),), (3,))


def test_wrong_rows_of_a_parquet_file_are_named_too(run, tmp_path):
    pd.DataFrame({"train_idx": [1, 2], "new_label": [3, 77]}).to_parquet(tmp_path / "labels.parquet")
    with pytest.raises(InvalidDataError, match="row 2: new_label is '77'"):
        read_label_file(run, tmp_path / "labels.parquet")


def test_a_run_without_labels_has_none_to_write_or_read(tiny, tmp_path):
    set_meta(tiny, "class_names", ["value"])
    with open_run(tiny) as run:
        with pytest.raises(NotInRunError, match="no labels to write"):
            write_label_file(run, ReviewLog(), tmp_path / "labels.csv")
        with pytest.raises(NotInRunError, match="no labels to try"):
            read_label_file(run, tmp_path / "labels.csv")
