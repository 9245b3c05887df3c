"""Whether models have learnt anything: measured, said, and kept apart from trust in explanations."""

import html
import itertools
import json
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import ttest_rel
from sklearn.linear_model import LogisticRegression

from tests.blind_runs import BLIND, RECIPES_OF_TRUTH, UNLEARNT, digits, not_beaten, unknown_words, zeroed
from tests.blind_runs import NOT_SHOWN as RUNS_NOT_SHOWN
from trak_core.__main__ import cli
from trak_core.engine.quality_step import input_facts, linear_on, model_quality
from trak_core.evidence.lds_alone import lds_alone
from trak_core.evidence.model_quality import (
    ModelQuality,
    better_p_value,
    blind_tests,
    capped_trust,
    quality_of_classes,
    quality_of_numbers,
    wilson_interval,
)
from trak_core.modalities import Dataset, Split, find_modality
from trak_core.modalities.image.pixels import Pixels
from trak_core.modalities.text.word_ids import WordIds
from trak_core.store.run import open_run
from trak_core.store.run_ledger import subset_masks
from trak_core.tasks import Classification, Regression
from trak_core.views.browse import overview
from trak_core.views.evidence import board, board_text
from trak_core.views.explanation import explain
from trak_core.views.inline import show
from trak_core.views.model_quality import (
    NO_BETTER,
    NOT_SHOWN,
    further_sentences,
    learnt_sentence,
    mark_of,
    quality_of,
    trust_counts,
)
from trak_core.views.run_facts import LINES, WIDTH, facts_text, run_facts
from trak_core.views.verdict import verdict

NAMES = ("no", "yes")


# --- arithmetic ---------------------------------------------------------------------------------------------------


def test_the_paired_test_is_the_share_of_all_sign_flips_that_are_as_good():
    draw = np.random.default_rng(0)
    right, others = draw.random(14) < 0.8, draw.random(14) < 0.4
    signs = (right.astype(int) - others.astype(int))[right != others]
    flips = [np.dot(flip, np.abs(signs)) for flip in itertools.product((-1, 1), repeat=len(signs))]
    assert better_p_value(right, others) == pytest.approx(np.mean(np.array(flips) >= signs.sum()))
    assert better_p_value(right, right) == 1


def test_a_share_has_wilsons_interval():
    for n_right, n in ((0, 7), (7, 7), (30, 61)):
        low, high = wilson_interval(n_right, n)
        assert 0 <= low <= n_right / n <= high <= 1
        for end in {low, high} - {0.0, 1.0}:  # where the score test is just at its bound
            assert abs(n_right / n - end) / np.sqrt(end * (1 - end) / n) == pytest.approx(1.95996, abs=1e-4)


def test_the_majority_is_beaten_by_a_test_and_not_by_a_bare_comparison():
    labels, train = np.array([0] * 21 + [1] * 19), np.array([0] * 60 + [1] * 40)
    always = np.zeros(40, dtype=int)
    lucky = always.copy()
    lucky[[21, 22]] = 1
    good = labels.copy()
    good[::9] = 1 - good[::9]
    said = {
        name: quality_of_classes(predicted, labels, train, NAMES, None)
        for name, predicted in {"always": always, "lucky": lucky, "good": good}.items()
    }
    assert [quality.beats_guess for quality in said.values()] == [False, False, True]
    assert said["lucky"].value > said["lucky"].guess == 21 / 40
    assert [mark_of(quality) for quality in said.values()] == [NO_BETTER, NOT_SHOWN, ""]
    assert learnt_sentence(said["lucky"]).endswith("; 40 test examples are too few to tell (p = 0.25).")
    assert learnt_sentence(said["always"]).startswith("The models have not beaten the majority: accuracy 0.53")
    assert said["always"].never_answered == ("yes",) and said["good"].never_answered == ()


@pytest.mark.parametrize(
    ("n", "n_rare", "can_be_shown"), [(60, 2, False), (60, 4, False), (60, 5, True), (2, 1, False)]
)
def test_a_model_without_a_mistake_is_never_called_no_better_than_a_guess(n, n_rare, can_be_shown):
    labels = np.array([0] * (n - n_rare) + [1] * n_rare)
    quality = quality_of_classes(labels, labels, np.tile(labels, 4), NAMES, None)
    assert quality.can_be_shown is quality.beats_guess is can_be_shown
    assert quality.can_be_shown == (better_p_value(np.ones(n, dtype=bool), labels == 0) < 0.05)
    if not can_be_shown:
        said = learnt_sentence(quality)
        assert said.startswith(
            "The models have not been shown to beat the majority: accuracy 1.00, the majority's share"
        )
        assert f"{n} test examples are too few to tell" in said and said.endswith(
            ", even for a model without a mistake."
        )
        assert mark_of(quality) == NOT_SHOWN


def test_numbers_that_are_above_the_mean_by_chance_are_not_called_no_better_either():
    draw = np.random.default_rng(5)
    targets, train = draw.normal(size=8), draw.normal(size=200)
    close = quality_of_numbers(targets + draw.normal(0, 0.3, 8), targets, train, None, 0)
    blind = quality_of_numbers(np.full(8, train.mean()), targets, train, None, 0)
    said = learnt_sentence(replace(close, p_value=0.2))
    assert said.startswith("The models have not been shown to beat the mean of the training targets: R² 0.")
    assert said.endswith("; 8 test examples are too few to tell (p = 0.20).")
    assert learnt_sentence(blind).startswith("The models have not beaten the mean of the training targets: R²")


def test_a_model_that_always_gives_the_majority_of_the_test_part_has_not_learnt_either():
    labels, train = np.array([0] * 12 + [1] * 48), np.array([0] * 51 + [1] * 49)
    quality = quality_of_classes(np.ones(60, dtype=int), labels, train, NAMES, None)
    assert (quality.guess_name, quality.guess, quality.constant) == ("no", 0.2, 0.8)
    assert not quality.beats_guess
    assert "accuracy 0.80, the majority's share 0.20, that of the largest class" in learnt_sentence(quality)


def test_numbers_are_judged_by_r2_and_a_paired_t_test():
    draw = np.random.default_rng(0)
    targets, train = draw.normal(3, 1, 50), draw.normal(3, 1, 200)
    close, mean = targets + draw.normal(0, 0.5, 50), np.full(50, train.mean())
    quality = quality_of_numbers(close, targets, train, None, 0)
    assert quality.value == pytest.approx(1 - ((close - targets) ** 2).sum() / ((train.mean() - targets) ** 2).sum())
    best = (targets.mean() - targets) ** 2
    assert quality.p_value == pytest.approx(ttest_rel(best, (close - targets) ** 2, alternative="greater").pvalue)
    assert quality.beats_guess and quality.ci_low < quality.value < quality.ci_high
    for blind in (mean, np.full(50, targets.mean()), draw.permutation(close)):
        assert not quality_of_numbers(blind, targets, train, None, 0).beats_guess


def test_what_was_measured_comes_back_from_json_and_anything_else_is_none():
    quality = quality_of_classes(np.array([0, 1]), np.array([0, 1]), np.array([0, 0, 1]), NAMES, 0.5, linear=0.4)
    assert ModelQuality.from_metadata(json.loads(json.dumps(quality.metadata()))) == quality
    kept = quality.metadata()
    earlier = {name: value for name, value in kept.items() if name != "n_test"}  # older versions did not keep it
    assert ModelQuality.from_metadata(earlier) == replace(quality, n_test=None)
    for broken in (None, 3, {}, "text", {**kept, "value": "high"}, {**kept, "inputs": {"empty_tests": 3}}):
        assert ModelQuality.from_metadata(broken) is None


# --- inputs -------------------------------------------------------------------------------------------------------


def test_the_linear_model_is_about_as_good_as_logistic_regression_by_hand():
    data = digits()
    by_hand = LogisticRegression(max_iter=500).fit(data.train.inputs, data.train.labels)
    expected = by_hand.score(data.test.inputs, data.test.labels)
    found = linear_on(data, 0)
    assert (found == data.test.labels).mean() == pytest.approx(expected, abs=0.06)
    np.testing.assert_array_equal(found, linear_on(data, 0))


def test_ids_of_words_are_weights_of_words_to_a_linear_model():
    """Order and place say nothing there: a word counts wherever it stands."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, 200)
    ids = draw.integers(20, 60, (200, 9))
    ids[np.arange(200), draw.integers(0, 9, 200)] = 2 + labels  # one telling word at any place
    ids[:, 7:][draw.random((200, 2)) < 0.5] = 0
    told = (ids == 2).any(1) | (ids == 3).any(1)
    train, test = (Split(ids[part], labels[part]) for part in (slice(150), slice(150, None)))
    found = linear_on(Dataset("ids", "text", NAMES, train, test), 0)
    assert (found == test.labels)[told[150:]].mean() > 0.9


def test_numbers_without_classes_get_a_linear_model_too_and_what_is_not_finite_gets_none():
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(150, 5)).astype(np.float32) * [1, 1000, 1, 1, 0.001]
    labels = (inputs / [1, 1000, 1, 1, 0.001]).sum(1)
    train, test = (Split(inputs[part], labels[part]) for part in (slice(100), slice(100, None)))
    found = linear_on(Dataset("sums", "numbers", (), train, test), 0)
    assert np.corrcoef(found, test.labels)[0, 1] > 0.99
    inputs[3, 2] = np.nan
    assert linear_on(Dataset("sums", "numbers", (), train, test), 0) is None


def test_tasks_whose_answers_are_neither_classes_nor_one_number_are_not_measured():
    data = digits()
    assert model_quality(data, Classification(), [], 0) is None
    several = Split(data.test.inputs, np.zeros((len(data.test), 3)))
    numbers = Dataset("several", "numbers", (), several, several)
    answers = [Regression().answer(np_tensor(np.zeros((len(several), 3))))]
    assert model_quality(numbers, Regression(), answers, 0) is None
    one = Split(data.test.inputs, np.arange(len(data.test), dtype=np.float32))
    diverged = [Regression().answer(np_tensor(np.full((len(one), 1), np.nan)))]
    assert model_quality(Dataset("one", "numbers", (), one, one), Regression(), diverged, 0) is None


def test_what_the_data_alone_tell_is_found_once(monkeypatch):
    data, task = digits(), Classification()
    answers = [task.answer(np_tensor(np.eye(10)[data.test.labels] * 5.0))]
    first = model_quality(data, task, answers, 0)
    monkeypatch.setattr("trak_core.engine.quality_step.linear_on", lambda *_: pytest.fail("fitted again"))
    again = model_quality(data, task, answers * 2, 0, ModelQuality.from_metadata(first))
    assert again == first and first["value"] == 1 and first["linear"] > 0.5


def np_tensor(values):
    import torch

    return torch.from_numpy(np.asarray(values))


def test_what_is_empty_to_the_model_is_told_by_kind():
    texts = WordIds.learn(["one two", "two three"], "texts")
    image, numbers, text = (find_modality(name) for name in ("image", "numbers", "text"))
    ids = texts.inputs(["two", "", "nine ten", "nine two"])
    assert text.empty(ids, texts).tolist() == [False, True, True, False]
    draw = np.random.default_rng(0)
    pictures = draw.normal(size=(6, 3, 4, 4)).astype(np.float32)
    pictures[2] = [[[0.5]], [[0.1]], [[-1]]]  # one colour
    assert image.empty(pictures, None).tolist() == [False, False, True, False, False, False]
    colours = np.repeat(draw.normal(size=(6, 3, 1)), 16, axis=2).reshape(6, 3, 4, 4)
    assert not image.empty(colours, None).any()  # where all are of one colour each, it is what they tell
    assert image.empty(np.full_like(colours, 0.3), Pixels(4, 4, (0.0,) * 3, (1.0,) * 3)).all()
    table = np.array([[0, 0], [0, 1], [1, 0]], dtype=np.float32)
    assert not numbers.empty(table, None).any()
    assert numbers.empty(np.eye(5, dtype=np.float32)[:, :4], None).tolist() == [False] * 4 + [True]


def test_inputs_that_are_all_the_same_are_found_in_any_form():
    found = {name: input_facts(data) for name, data in (("digits", digits()), ("zero", zeroed()))}
    assert (found["digits"].train_same, found["digits"].test_same, found["digits"].n_empty_test) == (False, False, 0)
    assert (found["zero"].train_same, found["zero"].test_same, found["zero"].n_empty_test) == (True, True, 40)
    data = digits()
    same = {"a": np.ones((3, 2), dtype=np.float32), "b": np.full((3, 4), 7)}
    some = Dataset("two", "numbers", NAMES, Split(same, np.array([0, 1, 0])), Split(same, np.array([0, 1, 1])))
    facts = input_facts(some)
    assert facts.train_same and facts.test_same and facts.n_empty_test == 0
    words = input_facts(unknown_words())
    assert (words.n_empty_train, words.n_empty_test, words.test_same) == (0, 40, True)
    assert len(data.test) == 40


def test_trust_is_low_at_most_where_the_model_is_blind():
    levels = ("high", "moderate", "low", "not measured")
    assert [capped_trust(level, True) for level in levels] == ["low", "low", "low", "not measured"]
    assert [capped_trust(level, False) for level in levels] == list(levels)
    facts = input_facts(digits())
    assert not blind_tests(facts, 40, False).any() and blind_tests(facts, 40, True).all()
    assert not blind_tests(None, 40, False).any() and blind_tests(input_facts(zeroed()), 40, False).all()


# --- runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES_OF_TRUTH)
def test_every_run_says_whether_its_models_have_learnt_anything(truth_runs: Path, name: str):
    with open_run(truth_runs / name) as run:
        quality, tests = quality_of(run), overview(run)
        assert quality is not None and quality.linear is not None and quality.inputs is not None
        assert quality.value == pytest.approx((tests.predicted == run.test_labels).mean())
        single = run.rows("SELECT avg(test_accuracy) FROM checkpoints")[0][0]
        assert quality.single == pytest.approx(single)
        said = learnt_sentence(quality)
        beaten = not_beaten(name) if name in UNLEARNT else "The models have beaten the majority: accuracy 0."
        assert said.startswith(beaten)
        counts = trust_counts(run, tests)
        assert sum(counts.values()) == run.info.n_test
        if name in BLIND:
            assert counts["high"] == counts["moderate"] == 0
            assert any("the same to the model" in sentence for sentence in further_sentences(quality))
        for test_idx in range(0, run.info.n_test, 7):
            explanation = explain(run, tests, test_idx)
            assert explanation.quality == quality
            assert explanation.trust.level in (("low", "not measured") if name in BLIND else levels_of(explanation))
            if name in BLIND:
                assert "so that nothing in" in explanation.trust.reason
            else:
                assert not explanation.trust.reason or explanation.trust.reason == lds_alone(run).sentence
        assert said in repr(show(run, 0)) and html.escape(said) in show(run, 0)._repr_html_()


def levels_of(explanation):
    low = explanation.trust.ci_low
    return ("not measured",) if low is None else ("high", "moderate", "low")


def test_a_blind_run_has_high_trust_by_lds_alone(truth_runs: Path):
    """Class shares differ between halves, and scores follow them: that is why trust has to be capped."""
    with open_run(truth_runs / "zeroed") as run:
        stored = dict(run.rows("SELECT ci_low >= 0.5, count(*) FROM lds WHERE method = 'trak' GROUP BY ALL"))
        assert run.lds().mean > 0.8 and stored[True] > 20


def test_runs_without_the_entry_tell_it_from_their_predictions(truth_runs: Path, copied):
    run_dir = copied("zeroed")
    with open_run(run_dir) as run:
        kept = quality_of(run)
    with duckdb.connect(str(run_dir / "store.duckdb")) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'model_quality'")
    with open_run(run_dir) as run:
        found, tests = quality_of(run), overview(run)
        assert kept is not None and found is not None
        assert (found.value, found.guess, found.p_value) == (kept.value, kept.guess, kept.p_value)
        assert found.linear is None and found.inputs is None
        assert trust_counts(run, tests)["high"] == trust_counts(run, tests)["moderate"] == 0
        assert "answer the same for every test example" in explain(run, tests, 3).trust.reason


def test_one_test_input_that_the_model_cannot_see_is_low_and_its_neighbours_are_not(truth_runs: Path, copied):
    run_dir = copied("learnt")
    with duckdb.connect(str(run_dir / "store.duckdb")) as connection:
        connection.execute("UPDATE lds SET trust = 'high'")
        connection.execute("UPDATE target_lds SET trust = 'high'")
        connection.execute("UPDATE lds_summary SET lds_fixed = 0.6")  # so that trust does not rest on LDS alone
        kept = json.loads(connection.execute("SELECT value FROM meta WHERE key = 'model_quality'").fetchone()[0])
        kept["inputs"] = {**kept["inputs"], "n_empty_test": 2, "empty_tests": [3, 17]}
        connection.execute("UPDATE meta SET value = ? WHERE key = 'model_quality'", [json.dumps(kept)])
    with open_run(run_dir) as run:
        tests = overview(run)
        of_each = {i: explain(run, tests, i).trust for i in (2, 3, 4, 17)}
        assert {i: trust.level for i, trust in of_each.items()} == {2: "high", 3: "low", 4: "high", 17: "low"}
        assert of_each[3].reason.startswith("This input is empty to the model") and not of_each[2].reason
        assert trust_counts(run, tests) == {"high": 38, "moderate": 0, "low": 2, "not measured": 0}
        assert "2 test inputs are empty to the model" in " ".join(further_sentences(quality_of(run)))


@pytest.fixture
def copied(truth_runs: Path, tmp_path: Path):
    import shutil

    return lambda name: Path(shutil.copytree(truth_runs / name, tmp_path / "runs" / name))


# --- the command line ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES_OF_TRUTH)
def test_info_is_one_screen_and_begins_with_the_truth(truth_runs: Path, name: str, monkeypatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(truth_runs))
    printed = CliRunner().invoke(cli, ["info", name]).output
    lines = printed.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 120
    beaten = not_beaten(name) if name in UNLEARNT else "The models have beaten the majority: accuracy 0."
    truth = printed.index(beaten)
    assert truth < printed.index("Trust in explanations") < printed.index("LDS ") < printed.index("n_train")
    assert "LDS at fixed class counts" in printed
    if name in BLIND:
        trust = next(line for line in lines if line.startswith("Trust in"))
        assert "high" not in trust and "moderate" not in trust


@pytest.mark.parametrize("name", ["learnt", *BLIND])
def test_what_the_controls_say_is_said_in_the_same_words_on_evidence_in_info_and_after_a_build(
    truth_runs: Path, name: str, monkeypatch, capsys
):
    from trak_core.commands.terminal import say_complete

    monkeypatch.setenv("TRAK_RUNS_DIR", str(truth_runs))
    with open_run(truth_runs / name) as run:
        said = verdict(run, overview(run), board(run)).controls
    assert said.startswith(("TRAK beats every negative control; the strongest, ", "Same class does "))
    say_complete(truth_runs / name)
    printed = CliRunner().invoke(cli, ["info", name]).output
    assert said in " ".join(printed.split()) and said in capsys.readouterr().out
    assert json.loads(CliRunner().invoke(cli, ["info", name, "--json"]).output)["controls"] == said


def test_halves_are_counted_alike_wherever_they_are_told(truth_runs: Path, monkeypatch, capsys):
    from trak_core.commands.terminal import say_complete

    monkeypatch.setenv("TRAK_RUNS_DIR", str(truth_runs))
    with open_run(truth_runs / "learnt") as run:
        n_fit, n_measured = (len(subset_masks(run, role)) for role in ("fit", "eval"))
        n_seeds = run.info.provenance["n_seeds"]
        found = board(run)
        assert (found.n_subsets, found.n_models, found.n_fit_models) == (
            n_measured,
            n_measured * n_seeds,
            n_fit * n_seeds,
        )
        assert found.retrained == (
            f"{n_measured * n_seeds} models were retrained on random halves of the training data, {n_seeds} on each of "
            f"{n_measured}; {n_fit * n_seeds} more chose the ridge."
        )
    say_complete(truth_runs / "learnt")
    printed = CliRunner().invoke(cli, ["info", "learnt"]).output
    for said in (printed, capsys.readouterr().out):
        assert f"over {n_measured} random halves with {n_seeds} models each." in " ".join(said.split())
    assert f"{n_fit + n_measured}: {n_measured} measured on, {n_fit} to choose the ridge" in printed


def test_a_long_vocabulary_is_in_json_alone_which_says_that_it_is_long(truth_runs: Path, copied, monkeypatch):
    run_dir = copied("unknown")
    with duckdb.connect(str(run_dir / "store.duckdb")) as connection:
        words = [f"word{i}" for i in range(3000)]
        encoding = {"kind": "vocabulary", "words": words, "idf": [1.0] * 3000}
        connection.execute("UPDATE meta SET value = ? WHERE key = 'encoding'", [json.dumps(encoding)])
        for i in range(60):
            connection.execute("INSERT INTO meta VALUES (?, ?)", [f"note {i}", json.dumps("x" * 500)])
    with open_run(run_dir) as run:
        facts = run_facts(run, None, 1.0)
        lines = facts_text(run, facts).splitlines()
    assert len(lines) <= LINES and max(map(len, lines)) <= WIDTH
    assert lines[-1].endswith("all of it, whole: info unknown --json")
    assert "meta.encoding" in facts["long"] and facts["meta.encoding"]["words"] == words
    assert json.loads(json.dumps(facts))["model_quality"]["beats_guess"] is False


def test_a_build_ends_with_the_truth_first(truth_runs: Path, capsys):
    from trak_core.commands.terminal import say_complete

    say_complete(truth_runs / "zeroed")
    assert "Trust in explanations by TRAK: low 100%." in capsys.readouterr().out
    say_complete(truth_runs / "shuffled")
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("The models have not beaten the majority: accuracy 0.") and last.startswith("Look at it")


def test_every_command_that_stands_on_the_models_says_it(truth_runs: Path, monkeypatch):
    monkeypatch.setenv("TRAK_RUNS_DIR", str(truth_runs))
    run = CliRunner().invoke
    listed = {line.split()[0]: line for line in run(cli, ["runs"]).output.splitlines()}
    assert {name for name, line in listed.items() if "majority not" in line} == set(UNLEARNT)
    assert {name for name, line in listed.items() if "majority not shown to be beaten" in line} == set(RUNS_NOT_SHOWN)
    assert "accuracy 0.875" in listed["learnt"]
    assert run(cli, ["suspects", "shuffled"]).output.startswith("The models have not beaten the majority: accuracy")
    assert "beaten" not in run(cli, ["suspects", "learnt"]).output
    with open_run(truth_runs / "shuffled") as opened:
        assert board_text(opened).startswith("The models have not beaten the majority: accuracy")
