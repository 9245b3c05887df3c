"""That what scores labels was not told them; what becomes of small classes and sets, and of models that diverge."""

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch

from tests.tiny import N_TRAIN, SETTINGS, TINY
from trak_core.engine import build_run
from trak_core.errors import TrainingDivergedError
from trak_core.labels import label_scores
from trak_core.labels.folds import FoldModels, draw_folds, train_folds, training_sets
from trak_core.labels.label_scores import N_FOLDS, N_REPEATS, neighbour_votes, score_labels
from trak_core.labels.signals import LIKELY_GAP, SMALL_CLASS, label_margins, likely_wrong
from trak_core.seeds import derive_seed
from trak_core.store.run import open_run
from trak_core.subjects import RECIPES, Subject
from trak_core.subjects.planting import plant_in
from trak_core.training import Ensemble, TrainingSettings, VmapTrainer, trainer
from trak_core.training.ensemble import make_models
from trak_core.views.provenance import metadata_table

N_MODELS = N_FOLDS * N_REPEATS


def score(subject: Subject, seed: int = 0):
    train = subject.dataset.train
    inputs, labels = torch.from_numpy(train.inputs), torch.from_numpy(train.labels)
    return score_labels(subject.task, subject.trainer("cpu"), inputs, labels, len(subject.dataset.class_names), seed)


def with_train(subject: Subject, labels: np.ndarray, keep: np.ndarray) -> Subject:
    train = dataclasses.replace(
        subject.dataset.train, inputs=subject.dataset.train.inputs[keep], labels=labels[keep], thumbnails=None
    )
    return dataclasses.replace(subject, dataset=dataclasses.replace(subject.dataset, train=train))


def flipped_tiny(seed: int = 0) -> Subject:
    dataset, _ = plant_in(TINY.load().dataset, 0.2, "uniform", seed)
    return dataclasses.replace(TINY.load(), dataset=dataset)


@pytest.fixture
def rounds(monkeypatch):
    """What `train_folds` is given, round by round: folds, seed and trusted examples."""
    caught = []

    def note(trainer, labels, folds, seed, trusted, on_share):
        caught.append((folds.copy(), seed, None if trusted is None else trusted.copy()))
        return train_folds(trainer, labels, folds, seed, trusted, on_share)

    monkeypatch.setattr(label_scores, "train_folds", note)
    return caught


@pytest.fixture
def trained_on(monkeypatch):
    """The masks that models are trained on, round by round: `[n_models, n]` each."""
    caught = []
    real = trainer.train_ensemble

    def note(make_model, task, inputs, labels, masks, *further, **settings):
        caught.append(masks.copy())
        return real(make_model, task, inputs, labels, masks, *further, **settings)

    monkeypatch.setattr(trainer, "train_ensemble", note)
    return caught


# --- nobody is told -------------------------------------------------------------------------------------------


def fold_models(n_folds: int = 3, n_repeats: int = 2) -> tuple[FoldModels, torch.Tensor, torch.Tensor]:
    """Models as they begin, each different, in folds of examples of which two are the only ones of their class."""
    train = TINY.load().dataset.train
    inputs, labels = torch.from_numpy(train.inputs[:40]), torch.from_numpy(train.labels[:40] % 4)
    labels[[5, 17]] = torch.tensor([4, 5])
    models = make_models(TINY.load().make_model, range(n_folds * n_repeats))
    folds = draw_folds(labels.numpy(), n_folds, n_repeats, seed=2)
    assert (folds[:, [5, 17]] == -1).all()
    return FoldModels(Ensemble.from_models(models, "cpu"), folds, n_folds), inputs, labels


def seen_before_the_last_layer(models: FoldModels, number: int, inputs: torch.Tensor) -> torch.Tensor:
    weights = models.ensemble.state_dict(number)
    return torch.nn.functional.gelu(inputs @ weights["0.weight"].T + weights["0.bias"])


@pytest.mark.parametrize("lost", [(), (1,), (3, 4)])
def test_neighbours_vote_by_the_model_that_left_the_example_out_among_what_it_was_trained_on(lost):
    models, inputs, labels = fold_models()
    n_folds, n = models.n_folds, len(labels)
    counted = ~np.isin(models.judges, lost)
    found = label_scores._votes_by_models(models, counted, inputs, labels, 6)
    for idx in range(n):
        by_repeat = []
        for repeat in range(2):
            fold = int(models.folds[repeat, idx])
            number = n_folds * repeat + max(fold, 0)
            if number in lost:
                continue
            voters = [other for other in range(n) if models.folds[repeat, other] != max(fold, 0)]
            assert (idx in voters) == (fold < 0)
            rows = seen_before_the_last_layer(models, number, inputs)
            by_repeat.append(neighbour_votes(rows, labels, 6, torch.tensor([idx]), torch.tensor(voters))[0])
        assert len(by_repeat) >= 1
        assert found[idx].numpy() == pytest.approx(torch.stack(by_repeat).mean(0).numpy(), abs=1e-6)


def confidently_other(probabilities: np.ndarray, labels: np.ndarray) -> list[bool]:
    """By loops: the most probable of the classes that are as probable as usual is another one than the label."""
    usual = {}
    for label in set(labels.tolist()):
        own = [row[label] for row, given in zip(probabilities.tolist(), labels.tolist(), strict=True) if given == label]
        usual[label] = sum(own) / len(own)
    found = []
    for row, given in zip(probabilities.tolist(), labels.tolist(), strict=True):
        confident = [label for label in usual if row[label] >= usual[label]]
        found.append(bool(confident) and max(confident, key=lambda label, row=row: row[label]) != given)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_confidently_another_class_is_what_a_loop_finds(seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, 200)
    probabilities = generator.dirichlet([0.5] * 5, 200)  # nothing is labelled as the fifth class
    found = label_scores._confidently_other(probabilities, labels)
    assert found.tolist() == confidently_other(probabilities, labels)
    assert 20 < found.sum() < 180


@pytest.mark.parametrize("seed", range(2))
def test_the_second_round_is_trained_on_all_but_what_the_first_takes_for_another_class(rounds, seed):
    subject = flipped_tiny(seed)
    labels = subject.dataset.train.labels
    scores = score(subject, seed)
    (first_folds, first_seed, everybody), (second_folds, second_seed, trusted) = rounds
    assert everybody is None
    assert np.array_equal(first_folds[0], scores.folds)
    assert first_seed != second_seed
    assert not np.array_equal(first_folds, second_folds)
    distrusted = np.array(confidently_other(scores.out_of_fold, labels))
    margins = label_margins(scores.out_of_fold, labels)
    for label in range(10):  # all but the handful of each class that is trusted in any case
        distrusted[sorted(np.flatnonzero(labels == label), key=lambda idx: -margins[idx])[:SMALL_CLASS]] = False
    assert np.flatnonzero(~trusted).tolist() == np.flatnonzero(distrusted).tolist()
    assert distrusted.sum() >= 10
    assert not scores.round_2_on_all


# --- small classes --------------------------------------------------------------------------------------------


def test_a_handful_of_every_class_is_trusted_in_any_case():
    labels = np.repeat([0, 1, 2], [30, 12, 3])
    probabilities = np.random.default_rng(0).dirichlet([0.5] * 3, 45)
    probabilities[labels == 1] = [0.9, 0.1, 0.0]
    probabilities[30:42, 1] += np.arange(12) * 1e-3  # the last five of class 1 are the least distrusted
    probabilities[labels == 2] = [0.8, 0.2, 0.0]
    trusted = label_scores._trusted(probabilities, labels)
    other = label_scores._confidently_other(probabilities, labels)
    assert other[30:].all()
    assert np.flatnonzero(trusted[30:42]).tolist() == [7, 8, 9, 10, 11]
    assert trusted[42:].all()
    assert trusted[:30].tolist() == (~other[:30]).tolist()


@pytest.mark.parametrize("size", [1, 2, SMALL_CLASS, SMALL_CLASS + 1])
def test_labels_of_a_small_class_are_not_called_likely_wrong(size):
    labels = np.repeat([0, 1], [20, size])
    probabilities = np.tile([0.99, 0.01], (20 + size, 1))
    found = likely_wrong(probabilities, labels)
    assert not found[:20].any()
    assert found[20:].tolist() == [size > SMALL_CLASS] * size


@cache
def digits() -> Subject:
    return RECIPES["digits"].load()


@pytest.mark.slow
@pytest.mark.parametrize(("label", "size"), [(8, 2), (1, 2), (8, 3)])
def test_right_labels_of_a_class_of_two_or_three_are_trusted_and_not_called_wrong(label, size, rounds, trained_on):
    labels = digits().dataset.train.labels
    keep = labels != label
    keep[np.flatnonzero(~keep)[:size]] = True
    subject = with_train(digits(), labels, keep)
    scores = score(subject)
    ours = labels[keep] == label
    # Measured: the pool gives another class so much more, because it cannot know this one.
    assert (-label_margins(scores.pooled, labels[keep])[ours] >= LIKELY_GAP).any()
    assert not likely_wrong(scores.pooled, labels[keep])[ours].any()
    assert rounds[1][2][ours].all()
    assert len(trained_on) == 2
    for masks in trained_on:
        assert masks[:, ours].any(axis=1).all()


def test_sets_brought_to_one_size_keep_one_of_each_class(trained_on):
    subject, labels = TINY.load(), np.concatenate([np.zeros(25, dtype=np.int64), np.repeat(np.arange(1, 7), 2)])
    inputs = torch.from_numpy(subject.dataset.train.inputs[: len(labels)])
    for seed in range(8):
        folds = draw_folds(labels, N_FOLDS, 2, seed)
        trusted = np.random.default_rng(seed).random(len(labels)) < 0.9  # sets of quite different sizes
        trusted[25:] = True
        quick = dataclasses.replace(subject.training, epochs=1, batch_size=10)
        given = torch.from_numpy(labels)
        train_folds(VmapTrainer(subject.make_model, subject.task, inputs, given, quick), given, folds, seed, trusted)
        masks = trained_on.pop()
        assert len(set(masks.sum(axis=1).tolist())) == 1
        assert all(set(labels[mask].tolist()) == set(range(7)) for mask in masks)


# --- small sets -----------------------------------------------------------------------------------------------


def test_training_sets_are_what_is_trusted_outside_the_fold():
    labels = np.random.default_rng(0).integers(0, 3, 31)
    labels[4] = 7  # the only one of its class: in every set
    folds = draw_folds(labels, 5, 2, seed=0)
    trusted = np.random.default_rng(1).random(31) < 0.7
    for allowed in (None, trusted):
        masks = training_sets(folds, allowed)
        assert masks.shape == (10, 31)
        for number, idx in np.ndindex(10, 31):
            inside = folds[number // 5, idx] != number % 5
            assert masks[number, idx] == (inside and (allowed is None or bool(allowed[idx])))


def crowded_in_one_fold(labels: np.ndarray, folds: np.ndarray, n_trusted: int) -> np.ndarray:
    """So many trusted examples, as many of them as possible in the first fold."""
    trusted = np.zeros(len(labels), dtype=bool)
    inside = folds[0] == 0
    trusted[inside] = True
    trusted[np.flatnonzero(~inside)[: n_trusted - inside.sum()]] = True
    return trusted


@pytest.mark.parametrize("n_trusted", [43, 44])
def test_where_a_set_would_be_less_than_a_batch_round_2_is_trained_on_everything_and_says_so(
    n_trusted, rounds, monkeypatch
):
    subject = TINY.load()
    labels = subject.dataset.train.labels
    folds = draw_folds(labels, N_FOLDS, N_REPEATS, derive_seed(0, "second look"))
    trusted = crowded_in_one_fold(labels, folds, n_trusted)
    smallest = n_trusted - int((folds[0] == 0).sum())
    assert smallest == n_trusted - 24
    monkeypatch.setattr(label_scores, "_trusted", lambda probabilities, labels: trusted)
    scores = score(subject)
    given = rounds[1][2]
    if smallest < subject.training.batch_size:
        assert scores.round_2_on_all
        assert given is None
    else:
        assert not scores.round_2_on_all
        assert np.array_equal(given, trusted)
    assert np.isfinite(scores.signals["second_look"]).all()


def test_whatever_is_trusted_of_small_data_round_2_can_be_trained(monkeypatch):
    """Every draw of folds and trusted examples: the set is large enough, or nothing is left out."""
    trained = []

    class EnoughError(Exception):
        pass

    def note(trainer, labels, folds, seed, trusted, on_share):
        if len(trained) % 2 == 0:
            trained.append(0)
            return real(trainer, labels, folds, seed, trusted, on_share)
        trained.append(int(training_sets(folds, trusted).sum(axis=1).min()))
        raise EnoughError

    real = train_folds
    monkeypatch.setattr(label_scores, "train_folds", note)
    quick = TrainingSettings(epochs=1, batch_size=60, learning_rate=0.1, momentum=0.9, weight_decay=0.0)
    subject = dataclasses.replace(TINY.load(), training=quick)
    generator = np.random.default_rng(0)
    for seed in range(40):
        kept = np.zeros(N_TRAIN, dtype=bool)
        kept[generator.choice(N_TRAIN, int(generator.integers(78, 86)), replace=False)] = True
        monkeypatch.setattr(label_scores, "_trusted", lambda probabilities, labels, kept=kept: kept)
        with pytest.raises(EnoughError):
            score(subject, seed)
    sizes = np.array(trained[1::2])
    assert sizes.min() >= 60
    assert (sizes == 96).any() and (sizes < 96).any()  # both branches


# --- models that diverge --------------------------------------------------------------------------------------


def diverging(subject: Subject, *numbers: int) -> Subject:
    """The subject with models that diverge: those made in these places, counted from 0 over both rounds."""
    made = []

    def make_model():
        model = subject.make_model()
        if len(made) in numbers:
            with torch.no_grad():
                next(model.parameters()).mul_(1e38)
        made.append(model)
        return model

    return dataclasses.replace(subject, make_model=make_model)


def test_a_model_that_diverged_counts_nowhere_and_the_others_do(monkeypatch):
    subject = flipped_tiny()
    labels = subject.dataset.train.labels
    kept = []
    real = label_scores._ask

    def note(models, task, inputs, labels):
        kept.append(real(models, task, inputs, labels))
        return kept[-1]

    monkeypatch.setattr(label_scores, "_ask", note)
    usual = score(subject)
    scores = score(diverging(subject, 2, 2 * N_FOLDS, N_MODELS + 7))
    assert usual.n_diverged == {}
    assert scores.n_diverged == {"first look": 2, "second look": 1}
    inputs = torch.from_numpy(subject.dataset.train.inputs)
    before, _, first, second = kept
    # The models that did not diverge are the same as ever, and so is what they say.
    assert np.array_equal(before.logits[3], first.logits[3])
    disagreement, out_of_fold = np.zeros((2, N_TRAIN)), np.zeros((N_TRAIN, 10))
    for idx in range(N_TRAIN):
        said = []
        for models, lost in ((first.models, (2, 2 * N_FOLDS)), (second.models, (7,))):
            numbers = [N_FOLDS * repeat + int(models.folds[repeat, idx]) for repeat in range(N_REPEATS)]
            said.append(
                [
                    models.ensemble.outputs(subject.task, inputs[[idx]])[number, 0]
                    for number in numbers
                    if number not in lost
                ]
            )
        assert 2 <= len(said[0]) <= 4
        out_of_fold[idx] = torch.stack(said[0]).double().softmax(1).mean(0).numpy()
        wrong = [float(logits.argmax() != int(labels[idx])) for logits in [*said[0], *said[1]]]
        disagreement[:, idx] = np.mean(wrong), len(wrong)
    assert scores.out_of_fold == pytest.approx(out_of_fold, abs=1e-5)
    assert scores.signals["disagreement"] == pytest.approx(disagreement[0])
    assert disagreement[1].min() < 8 == disagreement[1].max()
    for probabilities in (scores.out_of_fold, scores.pooled):
        assert probabilities.sum(axis=1) == pytest.approx(1)
    assert all(np.isfinite(signal).all() for signal in scores.signals.values())


def test_where_no_model_is_left_for_an_example_the_step_and_the_way_out_are_named():
    subject = TINY.load()
    folds = draw_folds(subject.dataset.train.labels, N_FOLDS, N_REPEATS, derive_seed(0, "first look"))
    lost = [N_FOLDS * repeat + int(folds[repeat, 9]) for repeat in range(N_REPEATS)]
    assert score(diverging(subject, *lost[1:])).n_diverged == {"first look": 3}
    with pytest.raises(
        TrainingDivergedError, match=r"'labels'.* 4 of 20 models.*Lower the learning rate of the recipe"
    ):
        score(diverging(subject, *lost))


def test_models_that_are_finite_but_say_nothing_finite_are_lost_too():
    models, inputs, labels = fold_models()
    models.ensemble.parameters["2.weight"][4] = 3e38
    models.ensemble.parameters["2.bias"][4] = 3e38
    of_round = label_scores._ask(models, TINY.load().task, inputs, labels)
    assert of_round.n_diverged == 1
    assert np.array_equal(of_round.counted, models.judges != 4)
    assert np.isfinite(of_round.logits).all()


@pytest.mark.slow
def test_a_build_goes_on_without_a_model_that_diverged_and_says_what_went_otherwise(tmp_path, monkeypatch):
    def load():
        return dataclasses.replace(TINY.load(), dataset=dataclasses.replace(TINY.load().dataset, name="one lost"))

    monkeypatch.setitem(RECIPES, "lost", dataclasses.replace(TINY, name="lost", load=load))
    real = score_labels

    def one_lost(task, trainer, *further):
        monkeypatch.setattr(label_scores, "_trusted", lambda probabilities, labels: np.zeros(len(labels), dtype=bool))
        return real(task, diverging(load(), 3).trainer("cpu"), *further)

    monkeypatch.setattr("trak_core.engine.label_step.score_labels", one_lost)
    build_run(dataclasses.replace(SETTINGS, recipe="lost"), "lost", tmp_path)
    with open_run(tmp_path / "lost") as run:
        assert run.info.provenance["complete"]
        assert run.info.provenance["diverged_label_models"] == {"first look": 1}
        assert run.info.provenance["second_look_at_labels"].startswith("left nothing out")
        assert run.rows("SELECT count(*) FROM suspects WHERE NOT isfinite(score)") == [(0,)]
        facts = metadata_table(run)
        assert facts["value"][facts["what"] == "diverged label models"].tolist() == ["first look 1"]
        assert facts["value"][facts["what"] == "second look at labels"].str.contains("less than a batch").all()
