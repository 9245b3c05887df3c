"""Live scores of new inputs: right, safe to share between threads, and honest about how far they can be believed."""

import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import trak_core as tc
from tests.tiny import SETTINGS, TINY
from trak_core.engine import build_run
from trak_core.errors import (
    EmptyDataError,
    InvalidDataError,
    InvalidSettingError,
    LabelError,
    NeedNotMetError,
    NotInRunError,
    RunMismatchError,
    ShapeMismatchError,
)
from trak_core.live import attribution
from trak_core.live.agreement import draw_probes, mean_spearman, slope
from trak_core.live.attribution import encode_inputs, live_scorer
from trak_core.live.new_input import explain_new, why_not_live
from trak_core.live.scorer import LiveScorer, prepare_scorer
from trak_core.media import first_text
from trak_core.methods import RIDGES
from trak_core.modalities.text.new_text import MAX_CHARACTERS, NewTexts
from trak_core.modalities.text.vocabulary import Vocabulary
from trak_core.modalities.text.word_ids import WordIds
from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.run import Run
from trak_core.subjects import RECIPES, find_recipe
from trak_core.views.new_input import answer_sentences, sides


@pytest.fixture(scope="module")
def digits() -> object:
    return find_recipe("digits").load().dataset


@pytest.fixture(scope="module")
def exact(small_runs) -> LiveScorer:
    with tc.open_run(small_runs / "digits") as run:
        return prepare_scorer(run, "exact")


@pytest.fixture(scope="module")
def by_features(small_runs) -> LiveScorer:
    with tc.open_run(small_runs / "digits") as run:
        return prepare_scorer(run, "features")


def asked_labels(run: Run, n: int) -> torch.Tensor:
    return torch.from_numpy(run.test_labels[:n])


def test_scores_of_the_runs_own_test_examples_are_its_stored_ones(small_run, digits):
    live = small_run.attribute(digits.test.inputs, small_run.test_labels)
    stored = small_run.scores("trak")
    assert live.shape == stored.shape and live.dtype == np.float32
    correlations = [spearmanr(one, other)[0] for one, other in zip(live, stored, strict=True)]
    # With every checkpoint in use and the run's own ridge only rounding differs.
    assert np.mean(correlations) > 0.999
    shared = [
        len(set(np.argsort(-one)[:20]) & set(np.argsort(-other)[:20])) for one, other in zip(live, stored, strict=True)
    ]
    assert np.mean(shared) > 19.8
    assert np.abs(live - stored).max() < 1e-2 * np.abs(stored).max()


def test_exact_scores_are_the_dense_formula(small_run, digits, exact):
    """K from whole gradients, in float64, one checkpoint after the other."""
    inputs, asked = torch.from_numpy(digits.test.inputs[:7]), asked_labels(small_run, 7)
    train, labels = torch.from_numpy(digits.train.inputs), torch.from_numpy(digits.train.labels)
    total = np.zeros((7, small_run.info.n_train))
    for checkpoint in exact.checkpoints:
        rows = exact.gradients.flat(checkpoint.weights, train, labels).double().numpy()
        new = exact.gradients.flat(checkpoint.weights, inputs, asked).double().numpy()
        kernel = rows @ rows.T
        ridge = small_run.info.provenance["ridge"] * np.trace(kernel) / len(kernel)
        total += np.linalg.solve(kernel + ridge * np.eye(len(kernel)), rows @ new.T).T
    q = small_run.columns("SELECT avg(q) AS q FROM features WHERE split = 'train' GROUP BY idx ORDER BY idx")["q"]
    expected = total / len(exact.checkpoints) * q * exact.factor
    assert np.abs(exact.attribute(inputs, asked) - expected).max() < 1e-4 * np.abs(expected).max()


def test_scores_from_features_are_the_dense_formula_over_the_stored_table(small_run, digits, by_features):
    """phi (Phi^T Phi + l I)^-1 Phi^T in float64, phi and Phi as the store has them."""
    n_checkpoints, total = small_run.info.n_checkpoints, 0.0
    for checkpoint_id in range(n_checkpoints):
        phi = {
            split: from_arrow_arrays(
                small_run.arrow(
                    "SELECT phi FROM features WHERE split = ? AND checkpoint_id = ? ORDER BY idx",
                    [split, checkpoint_id],
                ),
                "phi",
            ).astype(np.float64)
            for split in ("train", "test")
        }
        gram = phi["train"].T @ phi["train"]
        gram += by_features.ridge * np.trace(gram) / small_run.info.n_train * np.eye(len(gram))
        total += phi["test"][:20] @ np.linalg.solve(gram, phi["train"].T)
    q = small_run.columns("SELECT avg(q) AS q FROM features WHERE split = 'train' GROUP BY idx ORDER BY idx")["q"]
    expected = total / n_checkpoints * q * by_features.factor
    live = by_features.attribute(torch.from_numpy(digits.test.inputs[:20]), asked_labels(small_run, 20))
    assert by_features.way == "features" and len(by_features.checkpoints) == n_checkpoints
    assert np.abs(live - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("way", ["exact", "by_features"])
def test_a_batch_equals_one_by_one(request, digits, way):
    scorer = request.getfixturevalue(way)
    inputs, asked = torch.from_numpy(digits.test.inputs[:300]), torch.arange(300) % 10
    together = scorer.attribute(inputs, asked)
    alone = np.concatenate([scorer.attribute(inputs[i : i + 1], asked[i : i + 1]) for i in (0, 255, 256, 299)])
    assert np.abs(together[[0, 255, 256, 299]] - alone).max() < 1e-5 * np.abs(together).max()


def test_agreement_is_measured_on_test_examples_that_nothing_was_chosen_on(small_run, digits, exact, by_features):
    chosen, measured = draw_probes(small_run, other_class=False)
    tuning = set(small_run.info.provenance["tuning_tests"])
    assert set(chosen.test_idx) <= tuning and not tuning & set(measured.test_idx)
    assert len(measured.test_idx) == 40 and (measured.stored == small_run.scores("trak")[measured.test_idx]).all()
    inputs = torch.from_numpy(digits.test.inputs[measured.test_idx])
    for scorer in (exact, by_features):
        live = scorer.attribute(inputs, torch.from_numpy(measured.targets))
        expected = np.mean([spearmanr(one, other)[0] for one, other in zip(live, measured.stored, strict=True)])
        assert scorer.agreement.spearman == pytest.approx(expected, abs=1e-6)
    assert by_features.agreement.spearman < exact.agreement.spearman


def test_other_classes_are_scored_in_their_own_unit(small_run, digits, exact):
    _, measured = draw_probes(small_run, other_class=True)
    assert (measured.targets != small_run.test_labels[measured.test_idx]).all()
    assert exact.agreement_of_others.spearman > 0.999
    test_idx = int(
        next(i for i in measured.test_idx if exact.answer(given(digits, i)).predicted == small_run.test_labels[i])
    )
    answer = exact.answer(given(digits, test_idx))
    for c in range(10):
        stored = small_run.score_row(test_idx, "trak", small_run.target_of_class(test_idx, c))
        assert np.abs(answer.scores[c] - stored).max() < 0.02 * np.abs(stored).max()


def given(digits, test_idx) -> torch.Tensor:
    return torch.from_numpy(digits.test.inputs[test_idx : test_idx + 1])


def test_without_labels_the_answer_of_the_model_is_explained(small_run, digits):
    predicted = live_scorer(small_run).says(torch.from_numpy(digits.test.inputs[:30])).value.numpy()
    inputs = digits.test.inputs[:30]
    assert (small_run.attribute(inputs) == small_run.attribute(inputs, predicted)).all()
    stored = small_run.arrow("SELECT probabilities FROM predictions WHERE split = 'test' ORDER BY checkpoint_id, idx")
    mean = from_arrow_arrays(stored, "probabilities").reshape(-1, 360, 10).mean(0)
    assert (predicted == mean[:30].argmax(1)).all()


def test_tensors_arrays_and_lists_are_taken(small_run, digits):
    array = digits.test.inputs[:2]
    expected = small_run.attribute(array, [1, 2])
    for inputs in (torch.from_numpy(array), array.astype(np.float64), array.tolist()):
        assert (small_run.attribute(inputs, np.array([1, 2])) == expected).all()


@pytest.mark.parametrize(
    ("inputs", "labels", "error", "says"),
    [
        (np.zeros((2, 63)), None, ShapeMismatchError, r"\[2, 63\], and this run takes \[m, 64\]"),
        (np.zeros(64), None, ShapeMismatchError, r"\[64\]"),
        (np.zeros((0, 64)), None, EmptyDataError, "no inputs"),
        (np.full((1, 64), np.nan), None, InvalidDataError, "input 0 has a NaN"),
        ([["x"] * 64], None, InvalidDataError, "no array of numbers"),
        (["a text"], None, InvalidDataError, "not texts"),
        (np.zeros((2, 64)), [1], LabelError, "for 2 inputs"),
        (np.zeros((2, 64)), [0, 10], LabelError, "0 to 9"),
        (np.zeros((2, 64)), [0, -1], LabelError, "0 to 9"),
        (np.zeros((2, 64)), [0.0, 1.0], LabelError, "whole number"),
    ],
)
def test_inputs_that_cannot_be_scored_get_a_sentence(small_run, inputs, labels, error, says):
    with pytest.raises(error, match=says):
        small_run.attribute(inputs, labels)


def test_only_trak_scores_new_inputs(small_run):
    with pytest.raises(NeedNotMetError, match="only 'trak' can"):
        small_run.attribute(np.zeros((1, 64)), method="embedding")
    with pytest.raises(NotInRunError, match="no scores of method 'nonsense'"):
        small_run.attribute(np.zeros((1, 64)), method="nonsense")
    with pytest.raises(InvalidSettingError, match="way='other'"):
        prepare_scorer(small_run, "other")


def test_a_run_without_its_weights_says_what_to_put_back(runs):
    weights = runs / "digits" / "checkpoints" / "model_1.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with tc.open_run(runs / "digits") as run, pytest.raises(RunMismatchError, match=r"model_1.*put that back"):
        run.attribute(np.zeros((1, 64)))
    shutil.rmtree(weights.parent)
    with tc.open_run(runs / "digits") as run, pytest.raises(NeedNotMetError, match="put the files back"):
        run.attribute(np.zeros((1, 64)))


def test_a_run_without_a_recipe_or_with_other_data_says_so(small_run, monkeypatch):
    monkeypatch.setattr(small_run, "info", replace(small_run.info, recipe="python"))
    with pytest.raises(NeedNotMetError, match=r"was saved from Python.*attributor\.score"):
        prepare_scorer(small_run)
    assert "Attributor" in (why_not_live(small_run) or "")
    other_data = {**small_run.info.provenance, "data_fingerprint": "other"}
    monkeypatch.setattr(small_run, "info", replace(small_run.info, recipe="digits", provenance=other_data))
    with pytest.raises(RunMismatchError, match="reads other data now"):
        prepare_scorer(small_run)


def test_memory_decides_the_way_and_the_number_of_checkpoints(small_run, exact):
    of_one = exact.n_bytes // len(exact.checkpoints)
    assert of_one >= 4 * 1437**2
    two = prepare_scorer(small_run, memory_bytes=2 * of_one + 1)
    assert (two.way, len(two.checkpoints)) == ("exact", 2)
    less = prepare_scorer(small_run, memory_bytes=of_one - 1)
    assert less.way == "features" and less.n_bytes < of_one


def test_a_scorer_is_prepared_once_for_all_threads_and_anew_for_a_new_generation(runs, digits, monkeypatch):
    prepared = []
    monkeypatch.setattr(attribution, "prepare_scorer", lambda run: prepared.append(1) or prepare_scorer(run))
    results: list[np.ndarray] = [None] * 6

    def score(place: int) -> None:
        results[place] = run.attribute(digits.test.inputs[place : place + 20], labels=np.arange(20) % 10)

    with tc.open_run(runs / "digits") as run:
        threads = [threading.Thread(target=score, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(prepared) == 1
        for place, result in enumerate(results):
            alone = run.attribute(digits.test.inputs[place : place + 20], labels=np.arange(20) % 10)
            assert (result == alone).all()
    store = runs / "digits" / "store.duckdb"
    copy = store.with_name("copy")
    shutil.copy(store, copy)
    copy.replace(store)
    with tc.open_run(runs / "digits") as run:
        run.attribute(digits.test.inputs[:1])
    assert len(prepared) == 2
    assert sum(key[0] == str((runs / "digits").resolve()) for key in attribution._scorers) == 1


@pytest.mark.slow
def test_no_more_than_two_scorers_are_kept(tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "tiny", TINY)
    inputs = TINY.load().dataset.test.inputs
    build_run(SETTINGS, "a", tmp_path)
    for name in ("a", "b", "c"):
        if name != "a":
            shutil.copytree(tmp_path / "a", tmp_path / name)
        with tc.open_run(tmp_path / name) as run:
            assert run.attribute(inputs).shape == (40, 120)
    assert len(attribution._scorers) == attribution.N_KEPT


def test_the_ridge_of_features_is_the_one_that_agrees_best(small_run, by_features):
    chosen, _ = draw_probes(small_run, other_class=False)
    q = small_run.columns("SELECT avg(q) AS q FROM features WHERE split = 'train' GROUP BY idx ORDER BY idx")["q"]
    totals = dict.fromkeys(RIDGES, 0.0)
    for checkpoint_id in range(small_run.info.n_checkpoints):
        query = "SELECT phi FROM features WHERE split = ? AND checkpoint_id = ? ORDER BY idx"
        train, test = (
            from_arrow_arrays(small_run.arrow(query, [split, checkpoint_id]), "phi").astype(np.float64)
            for split in ("train", "test")
        )
        gram = train.T @ train
        for ridge in RIDGES:
            ridged = gram + ridge * np.trace(gram) / len(train) * np.eye(len(gram))
            totals[ridge] = totals[ridge] + test[chosen.test_idx] @ np.linalg.solve(ridged, train.T) * q
    agreement = {ridge: mean_spearman(scores, chosen.stored) for ridge, scores in totals.items()}
    assert by_features.ridge == max(RIDGES, key=lambda ridge: agreement[ridge])


def test_spearman_and_slope_are_those_of_the_textbook():
    random = np.random.default_rng(0)
    live, stored = random.normal(size=(5, 30)).astype(np.float32), random.normal(size=(5, 30)).astype(np.float32)
    live[0, :10] = 0  # ties
    expected = np.mean([spearmanr(one, other)[0] for one, other in zip(live, stored, strict=True)])
    assert mean_spearman(live, stored) == pytest.approx(expected)
    assert slope(live, 3 * live) == pytest.approx(3)
    assert slope(live, -live) == 1  # never turns scores round
    assert slope(np.zeros_like(live), stored) == 1


# --- is it unlike the data? -----------------------------------------------------------------------------------


def as_input(digits, ink: np.ndarray) -> torch.Tensor:
    low, high = digits.train.inputs.min(), digits.train.inputs.max()
    return torch.from_numpy((low + ink.reshape(len(ink), 64) * (high - low)).astype(np.float32))


def test_noise_and_inverted_digits_are_unlike_and_digits_are_not(digits, exact):
    random = np.random.default_rng(0)
    similarity = exact.similarity
    usual = np.percentile(similarity.distances, 99)
    noise = as_input(digits, random.integers(0, 17, (100, 8, 8)) / 16)
    assert (similarity.measure(noise) > usual).mean() == 1
    low, high = digits.train.inputs.min(), digits.train.inputs.max()
    inverted = torch.from_numpy(low + high - digits.test.inputs)
    assert (similarity.measure(inverted) > usual).mean() == 1
    assert exact.answer(noise[:1]).unlike.is_far
    assert not exact.answer(given(digits, 17)).unlike.is_far


def test_false_alarms_on_examples_that_the_limit_was_not_taken_from_are_few(exact):
    distances = np.random.default_rng(0).permutation(exact.similarity.distances)
    alarms = [
        (there > np.percentile(here, 99)).mean()
        for here, there in ((distances[::2], distances[1::2]), (distances[1::2], distances[::2]))
    ]
    assert np.mean(alarms) < 0.04


def test_known_words_are_a_share_of_all_words():
    encoding = WordIds(("the", "cat"), 5)
    shares = encoding.known_share(["The cat, the CAT; a x1 dog!", "12 ... !"])
    assert shares.tolist() == pytest.approx([4 / 5, 0])


# --- what people type -----------------------------------------------------------------------------------------

WORDS = Vocabulary(("the", "of", "matrix", "shalom", "שלום"), np.ones(5, dtype=np.float32))


@pytest.mark.parametrize("text", ["", "   \n\t", "\u200b "])
def test_an_empty_text_or_one_without_words_is_refused(text):
    with pytest.raises(InvalidDataError, match=r"no text yet|none of them is in this text"):
        NewTexts(WORDS).read({"text": text})


def test_a_text_without_a_known_word_is_refused():
    with pytest.raises(InvalidDataError, match=r"knows 5 words, and none of them is in this text \(2 words\)"):
        NewTexts(WORDS).read({"text": "hello world"})


def test_a_very_long_text_is_cut_and_says_so():
    typed = NewTexts(WORDS).read({"text": "the matrix " * 100_000})
    assert len(typed.contents[0]) == MAX_CHARACTERS
    assert typed.steps[0] == "Cut to its first 20,000 of 1,100,000 characters."


def test_markup_and_right_to_left_text_are_text():
    typed = NewTexts(WORDS).read({"text": "<b>the</b> **matrix** [x](javascript:1) שלום עולם \ud800"})
    assert typed.steps[-1].startswith("The model knows 3 of its ") and typed.steps[-1].endswith(": the, matrix, שלום.")


@pytest.mark.slow
def test_a_text_is_explained_with_the_stored_vocabulary(tmp_path):
    from trak_core.engine import BuildSettings

    recipe = find_recipe("docstrings")
    settings = BuildSettings.of(recipe, 0, "cpu", n_checkpoints=1, proj_dim=16, n_subsets=20, n_seeds=2)
    build_run(settings, "texts", tmp_path)
    with tc.open_run(tmp_path / "texts") as run:
        scorer = live_scorer(run)
        text = run.rows("SELECT text FROM examples WHERE split = 'test' AND idx = 3")[0][0]
        label = run.label("test", 3)
        assert (encode_inputs(scorer, [text]).numpy() == recipe.load().dataset.test.inputs[3:4]).all()
        stored = run.score_row(3, "trak", run.target_of_class(3, label))
        assert spearmanr(run.attribute([text], [label])[0], stored)[0] > 0.999
        own = explain_new(run, {"text": text})
        assert first_text(own.media) == text
        assert not own.answer.unlike.is_far and not own.answer.unlike.has_unknown_words
        said = "Le chat est assis sur la table; il is not on the chair, et la nuit est longue."
        foreign = explain_new(run, {"text": said})
        assert foreign.answer.unlike.has_unknown_words
        assert "unlike what the model was trained on" in answer_sentences(run, foreign, 0).warning
        with pytest.raises(NeedNotMetError, match="takes text, and text is missing"):
            explain_new(run, {"image": b""})


# --- what pages show ------------------------------------------------------------------------------------------


def test_an_uploaded_test_image_is_explained_by_its_stored_proponents(small_run):
    thumbnail, label = small_run.rows("SELECT thumbnail, label FROM examples WHERE split = 'test' AND idx = 17")[0]
    own = explain_new(small_run, {"image": thumbnail})
    assert own.answer.predicted == label
    for side, table in (("proponent", small_run.proponents(17, k=5)), ("opponent", small_run.opponents(17, k=5))):
        shown = sides(small_run, own.answer, label, side, k=5)
        assert [item.example.idx for item in shown] == table["train_idx"].tolist()
        assert [item.score for item in shown] == pytest.approx(table["score"].tolist(), rel=0.02)
    said = answer_sentences(small_run, own, label)
    assert said.answer.startswith(f"The model calls this “{label}”") and not said.warning
    assert "follow the stored ones at 0.99" in said.trust or "at 1.000" in said.trust
    other = answer_sentences(small_run, own, (label + 1) % 10)
    assert f"spoke for “{(label + 1) % 10}”" in other.answer
    with pytest.raises(NeedNotMetError, match="takes image, and image is missing"):
        explain_new(small_run, {"text": "a text"})
