"""What labels are judged by: folds, votes of neighbours, their pool, and what a build stores of them."""

import dataclasses
import math
import tracemalloc

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.func import functional_call

from tests.tiny import N_TEST, N_TRAIN, SETTINGS, TINY
from trak_core.engine import build_run
from trak_core.engine.subject import load_subject
from trak_core.evidence.verification import verify
from trak_core.labels import label_scores
from trak_core.labels.findings import FINDING_KINDS
from trak_core.labels.folds import ALWAYS_IN, FoldModels, assign_folds, draw_folds, train_folds
from trak_core.labels.label_scores import (
    N_FOLDS,
    N_NEIGHBOURS,
    N_REPEATS,
    SHARPNESS,
    neighbour_votes,
    pool_votes,
    score_labels,
)
from trak_core.labels.nearest import nearest, unit_rows
from trak_core.labels.signals import (
    LIKELY_GAP,
    PRIOR_VOTES,
    label_margins,
    likely_wrong,
    log_probabilities,
    log_votes,
    suggested_labels,
)
from trak_core.seeds import derive_seed
from trak_core.store.files import RunFiles
from trak_core.store.run import open_run
from trak_core.subjects import RECIPES
from trak_core.subjects.planting import plant_in
from trak_core.tasks import Classification
from trak_core.training import VmapTrainer, train_ensemble, trainer

SIGNALS = {
    "combined",
    "out_of_fold",
    "second_look",
    "neighbours",
    "training_margin",
    "disagreement",
    "confidence",
    "self_influence",
    "tracin_self_influence",
    "own_class_opponents",
}


def some_labels(seed: int, n: int = 60, n_classes: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, n_classes, n)


# --- folds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_folds_deal_out_every_class_evenly_and_are_of_one_size_give_or_take_one(seed):
    labels = some_labels(seed, n=57 + seed)
    folds = assign_folds(labels, 5, seed)
    assert set(folds.tolist()) == set(range(5))
    for members in [folds, *(folds[labels == label] for label in range(4))]:
        sizes = np.bincount(members, minlength=5)
        assert sizes.max() - sizes.min() <= 1


def test_the_only_example_of_a_class_is_in_no_fold_and_others_are():
    labels = np.array([0] * 7 + [1] + [2] * 2 + [3] + [4] * 9)
    folds = assign_folds(labels, 5, seed=0)
    assert np.flatnonzero(folds == ALWAYS_IN).tolist() == [7, 10]
    assert sorted(np.bincount(np.delete(folds, [7, 10])).tolist()) == [3, 3, 4, 4, 4]


def test_folds_follow_from_the_seed_and_differ_by_repetition():
    labels = some_labels(0)
    drawn = draw_folds(labels, 5, 3, seed=1)
    assert drawn.shape == (3, 60)
    assert np.array_equal(drawn, draw_folds(labels, 5, 3, seed=1))
    assert len({tuple(folds) for folds in [*drawn.tolist(), *draw_folds(labels, 5, 3, seed=2).tolist()]}) == 6


def tiny_material(n: int = N_TRAIN) -> tuple[torch.Tensor, torch.Tensor]:
    train = TINY.load().dataset.train
    return torch.from_numpy(train.inputs[:n]), torch.from_numpy(train.labels[:n])


def tiny_folds(
    inputs: torch.Tensor, labels: torch.Tensor, folds: np.ndarray, trusted: np.ndarray | None = None, seed: int = 3
) -> FoldModels:
    subject = TINY.load()
    trainer = VmapTrainer(subject.make_model, Classification(), inputs, labels, subject.training)
    return train_folds(trainer, labels, folds, seed, trusted)


def masks_of_training(monkeypatch, labels, folds, trusted=None, seed=3):
    """Which examples each model is trained on `[n_models, n]`, and the seeds of the models."""
    caught = []

    def note(make_model, task, inputs, labels, masks, seeds, *further, **allowed):
        caught.append((masks.copy(), seeds))
        return train_ensemble(make_model, task, inputs, labels, masks, seeds, *further, **allowed)

    monkeypatch.setattr(trainer, "train_ensemble", note)
    inputs = torch.from_numpy(np.random.default_rng(0).normal(size=(len(labels), 64)).astype(np.float32))
    tiny_folds(inputs, torch.from_numpy(labels), folds, trusted, seed)
    return caught[0]


def test_models_are_trained_on_all_but_their_fold_and_what_makes_sets_one_size(monkeypatch):
    labels = some_labels(0, n=58)
    folds = draw_folds(labels, 5, 2, seed=1)
    trusted = np.random.default_rng(2).random(58) < 0.9
    for allowed in (None, trusted):
        masks, _ = masks_of_training(monkeypatch, labels, folds, allowed)
        wanted = np.array([(own != fold) & (allowed is None or allowed) for own in folds for fold in range(5)])
        assert not (masks & ~wanted).any()
        assert masks.sum(axis=1).tolist() == [wanted.sum(axis=1).min()] * 10


def test_the_only_example_of_a_class_is_in_the_training_of_every_model(monkeypatch):
    labels = np.concatenate([some_labels(0, n=31, n_classes=2), [2, 3, 4]])  # folds of 6 and 7: some sets are cut
    for seed in range(6):
        masks, _ = masks_of_training(monkeypatch, labels, draw_folds(labels, 5, 2, seed), seed=seed)
        assert masks[:, 31:].all()


def test_no_model_depends_on_what_is_in_its_fold():
    inputs, labels = tiny_material()
    folds = draw_folds(labels.numpy(), 5, 1, seed=1)
    before = tiny_folds(inputs, labels, folds).ensemble.outputs(Classification(), inputs)
    for fold in range(5):
        left_out = torch.from_numpy(folds[0] == fold)
        other_inputs = torch.where(left_out[:, None], -inputs, inputs)
        other_labels = torch.where(left_out, (labels + 1) % 10, labels)
        after = tiny_folds(other_inputs, other_labels, folds).ensemble.outputs(Classification(), inputs)
        same = [torch.equal(before[i], after[i]) for i in range(5)]
        assert same == [i == fold for i in range(5)]


def test_a_model_trained_alone_on_what_is_left_says_the_same(monkeypatch):
    inputs, labels = tiny_material()
    subject = TINY.load()
    folds = draw_folds(labels.numpy(), 5, 2, seed=1)
    masks, seeds = masks_of_training(monkeypatch, labels.numpy(), folds)
    monkeypatch.undo()
    together = tiny_folds(inputs, labels, folds).ensemble.outputs(Classification(), inputs)
    for i in (0, 4, 7):
        alone = train_ensemble(
            subject.make_model, Classification(), inputs, labels, masks[[i]], [seeds[i]], subject.training
        )
        assert torch.allclose(alone.outputs(Classification(), inputs)[0], together[i], atol=1e-4)


def test_unseen_takes_the_model_that_left_the_example_out():
    generator = np.random.default_rng(0)
    folds = generator.integers(-1, 3, (4, 11))
    logits = generator.normal(size=(12, 11, 5)).astype(np.float32)
    models = FoldModels(ensemble=None, folds=folds, n_folds=3)
    unseen = models.unseen(logits)
    assert unseen.shape == (4, 11, 5)
    for repeat in range(4):
        for idx in range(11):
            model = 3 * repeat + max(0, int(folds[repeat, idx]))
            assert np.array_equal(unseen[repeat, idx], logits[model, idx])


# --- votes ----------------------------------------------------------------------------------------------------


def plain_votes(rows, labels, n_classes, asked, voters):
    """Shares of the classes among the nearest voters, by loops over examples."""
    centre = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    units = []
    for row in rows:
        moved = [value - mean for value, mean in zip(row, centre, strict=True)]
        length = math.sqrt(sum(value * value for value in moved))
        units.append([value / length for value in moved])
    result = []
    for one in asked:
        cosines = [(sum(a * b for a, b in zip(units[one], units[v], strict=True)), v) for v in voters if v != one]
        nearest = sorted(cosines, reverse=True)[: min(N_NEIGHBOURS, len(voters) - 1)]
        shares = [0.0] * n_classes
        for cosine, voter in nearest:
            shares[labels[voter]] += math.exp(SHARPNESS * cosine)
        result.append([share / sum(shares) for share in shares])
    return np.array(result)


def vote_material(n=50):
    generator = np.random.default_rng(0)
    return generator.normal(size=(n, 6)).astype(np.float32), generator.integers(0, 4, n)


@pytest.mark.parametrize(
    ("asked", "voters"),
    [
        (None, None),
        (list(range(0, 50, 3)), None),
        ([1, 5, 9], list(range(10, 50))),
        ([1, 5, 9], list(range(9))),
        (None, [3, 4]),
    ],
)
def test_votes_are_those_of_a_loop_over_the_nearest_others(asked, voters):
    rows, labels = vote_material()
    tensors = [None if part is None else torch.tensor(part) for part in (asked, voters)]
    votes = neighbour_votes(torch.from_numpy(rows), torch.from_numpy(labels), 4, *tensors)
    everybody = list(range(50))
    expected = plain_votes(rows.tolist(), labels.tolist(), 4, asked or everybody, voters or everybody)
    assert votes.numpy() == pytest.approx(expected, abs=1e-5)
    assert votes.dtype == torch.float64
    assert votes.sum(dim=1).numpy() == pytest.approx(1)


def test_an_example_has_no_vote_on_itself():
    rows, labels = (torch.from_numpy(part) for part in vote_material())
    votes = neighbour_votes(rows, labels, 4)
    for idx in range(0, 50, 7):
        changed = labels.clone()
        changed[idx] = (changed[idx] + 1) % 4
        assert torch.equal(neighbour_votes(rows, changed, 4)[idx], votes[idx])


def test_blocks_of_any_size_vote_alike(monkeypatch):
    rows, labels = (torch.from_numpy(part) for part in vote_material())
    votes = neighbour_votes(rows, labels, 4)
    for cells in (1, 50, 7 * 50, 50 * 50):
        monkeypatch.setattr(label_scores, "_CELLS", cells)
        assert neighbour_votes(rows, labels, 4).numpy() == pytest.approx(votes.numpy(), abs=1e-6)


def test_votes_compare_images_by_all_their_pixels():
    images = torch.randn(30, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(30) % 3
    assert torch.equal(neighbour_votes(images, labels, 3), neighbour_votes(images.reshape(30, 20), labels, 3))


# --- nearest neighbours, of findings --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "n_others", "k"),
    [
        (9_000, None, 1),
        (9_000, None, 10),
        (300, 40_000, 10),
        (30, 400_000, 1),
        (400_000, 12, 12),
        (3_000, 2_000, 1_999),
    ],
)
def test_nearest_neighbours_take_no_more_memory_than_is_promised(n, n_others, k):
    generator = np.random.default_rng(0)
    rows = unit_rows(generator.standard_normal((n, 4)).astype(np.float32))
    others = None if n_others is None else unit_rows(generator.standard_normal((n_others, 4)).astype(np.float32))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        found = nearest(rows, others, k)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - before - sum(part.nbytes for part in found) < 64e6


# --- the pool -------------------------------------------------------------------------------------------------


def voter(labels: np.ndarray, skill: float, seed: int, n_classes: int = 4) -> np.ndarray:
    """Log-probabilities of a voter that is right more often the higher its skill; 0 is noise."""
    logits = np.random.default_rng(seed).normal(size=(len(labels), n_classes))
    logits[np.arange(len(labels)), labels] += skill
    return log_probabilities(logits)


def negative_log_likelihood(votes, labels, weights) -> float:
    """Minus the mean log-likelihood of the labels in the weighted pool, example by example."""
    total = 0.0
    for idx, label in enumerate(labels):
        pooled = [sum(w * o[idx][c] for w, o in zip(weights, votes, strict=True)) for c in range(len(votes[0][0]))]
        total -= pooled[label] - math.log(sum(math.exp(value) for value in pooled))
    return total / len(labels)


def test_pooled_votes_are_the_weighted_sum_of_logarithms_and_sums_to_one():
    labels = some_labels(0, n=40)
    votes = [voter(labels, 1.0, 1), voter(labels, 2.0, 2)]
    pooled, weights = pool_votes(votes, labels)
    assert np.exp(pooled).sum(axis=1) == pytest.approx(1)
    for idx in range(40):
        sums = [sum(w * o[idx, c] for w, o in zip(weights, votes, strict=True)) for c in range(4)]
        expected = [math.exp(value) / sum(math.exp(other) for other in sums) for value in sums]
        assert np.exp(pooled[idx]) == pytest.approx(expected)


def test_no_weights_make_the_labels_clearly_more_likely_than_those_of_the_pool():
    labels = some_labels(0, n=150)
    votes = [voter(labels, 1.0, 1), voter(labels, 2.0, 2)]
    _, weights = pool_votes(votes, labels)
    best = negative_log_likelihood(votes, labels, weights)
    grid = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.7, 2.5]
    # The pull of the weights towards 1 costs the likelihood less than that.
    assert best <= min(negative_log_likelihood(votes, labels, (a, b)) for a in grid for b in grid) + 1e-4
    assert best < negative_log_likelihood(votes, labels, (1, 0))
    assert best < negative_log_likelihood(votes, labels, (0, 1))


def test_a_voter_that_knows_nothing_hardly_counts():
    labels = some_labels(0, n=400)
    skilled = voter(labels, 2.0, 1)
    alone, _ = pool_votes([skilled], labels)
    pooled, weights = pool_votes([skilled, voter(labels, 0.0, 2)], labels)
    assert weights[0] > 0.7
    assert 0 < weights[1] < 0.1
    undecided, _ = pool_votes([skilled, np.full((400, 4), math.log(0.25))], labels)
    assert np.exp(undecided) == pytest.approx(np.exp(alone), abs=1e-3)
    assert np.abs(np.exp(pooled) - np.exp(alone)).mean() < 0.02


def test_two_equal_voters_share_the_weight_of_one():
    labels = some_labels(0, n=400)
    skilled = voter(labels, 2.0, 1)
    alone, (weight,) = pool_votes([skilled], labels)
    pooled, weights = pool_votes([skilled, skilled], labels)
    assert weights[0] == pytest.approx(weights[1])
    assert weights.sum() == pytest.approx(weight, rel=0.01)
    assert np.exp(pooled) == pytest.approx(np.exp(alone), abs=1e-2)


def test_labels_told_without_doubt_give_finite_weights():
    labels = some_labels(0, n=60)
    sure = log_probabilities(20.0 * np.eye(4)[labels])
    pooled, weights = pool_votes([sure, sure], labels)
    assert np.isfinite(pooled).all()
    assert np.isfinite(weights).all()
    assert (pooled.argmax(axis=1) == labels).all()


# --- arithmetic -----------------------------------------------------------------------------------------------


def test_log_probabilities_are_the_softmax_even_of_large_logits():
    logits = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    for index in np.ndindex(3, 5):
        powers = [math.exp(value) for value in logits[index].tolist()]
        expected = [math.log(power / sum(powers)) for power in powers]
        assert log_probabilities(logits)[index] == pytest.approx(expected)
    assert log_probabilities(logits + 1e4) == pytest.approx(log_probabilities(logits), abs=1e-2)  # float32 sums
    assert log_probabilities(np.array([[-1e5, 0.0, 1e5]])).tolist() == [[-2e5, -1e5, 0.0]]


def test_log_votes_share_half_a_vote_among_the_classes():
    votes = np.array([[1.0, 0.0, 0.0], [0.25, 0.5, 0.25]])
    found = np.exp(log_votes(votes, 20))
    for row, shares in enumerate(votes.tolist()):
        for column, share in enumerate(shares):
            assert found[row, column] == pytest.approx((20 * share + PRIOR_VOTES / 3) / 20.5)
    assert found.sum(axis=1) == pytest.approx(1)


def test_label_margins_are_those_of_a_loop():
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(3, 7, 4)), generator.integers(0, 4, 7)
    kept = logits.copy()
    margins = label_margins(logits, labels)
    for model, idx in np.ndindex(3, 7):
        others = [logits[model, idx, label] for label in range(4) if label != labels[idx]]
        assert margins[model, idx] == logits[model, idx, labels[idx]] - max(others)
    assert np.array_equal(label_margins(logits[1], labels), margins[1])
    assert np.array_equal(logits, kept)


def test_a_label_is_likely_wrong_where_another_is_more_probable_by_the_gap():
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet([0.1, 0.1, 0.1], 300)
    labels = generator.integers(0, 3, 300)
    expected = []
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        own = row.pop(label)
        expected.append(max(row) - own >= LIKELY_GAP)
    assert likely_wrong(probabilities, labels).tolist() == expected
    assert 0 < sum(expected) < 300
    limits = np.array([[0.07, 0.93], [0.08, 0.92]] * 3)
    assert likely_wrong(limits, np.zeros(6, dtype=np.int64)).tolist() == [True, False] * 3


# --- all votes together --------------------------------------------------------------------------------------------


def judge(labels: np.ndarray, seed: int = 0, keep: np.ndarray | None = None):
    inputs = TINY.load().dataset.train.inputs
    taken, given = torch.from_numpy(inputs if keep is None else inputs[keep]), torch.from_numpy(labels)
    subject = TINY.load()
    trainer = VmapTrainer(subject.make_model, subject.task, taken, given, subject.training)
    return score_labels(subject.task, trainer, taken, given, 10, seed)


def test_the_same_labels_and_seed_give_the_same_scores():
    labels = TINY.load().dataset.train.labels
    first, second, other = judge(labels), judge(labels), judge(labels, seed=1)
    assert np.array_equal(first.folds, second.folds)
    assert np.array_equal(first.out_of_fold, second.out_of_fold)
    assert np.array_equal(first.pooled, second.pooled)
    assert first.weights == second.weights
    assert all(np.array_equal(first.signals[name], second.signals[name]) for name in first.signals)
    assert not np.array_equal(first.folds, other.folds)


def test_votes_are_probabilities_and_signals_margins_of_them():
    labels = TINY.load().dataset.train.labels
    found = judge(labels)
    assert set(found.signals) == {"combined", "out_of_fold", "second_look", "neighbours", "disagreement"}
    assert set(found.folds.tolist()) == set(range(N_FOLDS))
    for probabilities in (found.out_of_fold, found.pooled):
        assert probabilities.shape == (N_TRAIN, 10)
        assert probabilities.sum(axis=1) == pytest.approx(1)
    assert found.signals["combined"] == pytest.approx(-label_margins(np.log(found.pooled), labels))
    shares = found.signals["disagreement"] * 2 * N_REPEATS
    assert shares == pytest.approx(shares.round())
    assert 0 <= shares.min() < shares.max() <= 2 * N_REPEATS


@pytest.mark.parametrize("seed", range(3))
def test_most_labels_that_were_made_wrong_come_first(seed):
    dataset, planted = plant_in(TINY.load().dataset, 0.1, "uniform", seed)
    found = judge(dataset.train.labels, seed)
    wrong = np.isin(np.arange(N_TRAIN), planted.train_idx)
    combined = found.signals["combined"]
    pairs = (combined[wrong][:, None] > combined[~wrong][None, :]).mean()
    # Measured: .979 to .994 of the pairs; 10 or 11 of the 12 among the first 12; nothing right is called likely wrong.
    assert pairs > 0.95
    assert wrong[np.argsort(-combined)[: wrong.sum()]].sum() >= 9
    assert wrong[likely_wrong(found.pooled, dataset.train.labels)].all()


@pytest.mark.slow
def test_the_only_example_of_a_class_counts_and_not_called_likely_wrong():
    labels = TINY.load().dataset.train.labels
    for label in range(10):
        keep = labels != label
        keep[np.flatnonzero(~keep)[0]] = True
        place = int(np.flatnonzero(labels[keep] == label)[0])
        found = judge(labels[keep], keep=keep)
        assert found.folds[place] == ALWAYS_IN
        assert not likely_wrong(found.pooled, labels[keep])[place]
        assert all(np.isfinite(scores).all() for scores in found.signals.values())


# --- in a build -----------------------------------------------------------------------------------------------

FLIPPED = dataclasses.replace(SETTINGS, flip_labels=0.1)


@pytest.fixture(scope="module")
def flipped_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("labels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "tiny", TINY)
        build_run(FLIPPED, "flipped", directory)
        yield directory / "flipped"


@pytest.fixture
def flipped(flipped_dir):
    with open_run(flipped_dir) as run:
        yield run


def test_every_check_of_a_run_with_planted_errors_passes(flipped):
    assert [check for check in verify(flipped) if not check.ok] == []


def test_every_signal_ranks_every_train_example_once(flipped):
    rows = flipped.columns("SELECT * FROM suspects ORDER BY signal, rank")
    assert set(rows["signal"].tolist()) == SIGNALS
    assert len(rows["rank"]) == len(SIGNALS) * N_TRAIN
    for signal in SIGNALS:
        part = {name: column[rows["signal"] == signal] for name, column in rows.items()}
        assert part["rank"].tolist() == list(range(1, N_TRAIN + 1))
        assert sorted(part["train_idx"].tolist()) == list(range(N_TRAIN))
        assert np.isfinite(part["score"]).all()
        assert (np.diff(part["score"]) <= 0).all()
    # What is said of an example is the same whatever the signal it is ranked by.
    facts = flipped.rows("SELECT DISTINCT train_idx, suggested_label, suggested_confidence, is_likely FROM suspects")
    assert len(facts) == N_TRAIN
    assert all(suggested != flipped.train_labels[idx] for idx, suggested, _, _ in facts)


def test_label_scores_of_a_build_are_those_of_its_labels_and_seed(flipped):
    subject, _ = load_subject(FLIPPED)
    train = subject.dataset.train
    found = score_labels(
        subject.task,
        subject.trainer("cpu"),
        torch.from_numpy(train.inputs),
        torch.from_numpy(train.labels),
        10,
        derive_seed(FLIPPED.seed, "labels"),
    )
    stored = flipped.columns("SELECT train_idx, fold FROM out_of_fold ORDER BY train_idx")
    rows = flipped.rows("SELECT probabilities FROM out_of_fold ORDER BY train_idx")
    probabilities = np.array([probabilities for (probabilities,) in rows])
    assert stored["train_idx"].tolist() == list(range(N_TRAIN))
    assert stored["fold"].tolist() == found.folds.tolist()
    assert set(stored["fold"].tolist()) == set(range(N_FOLDS))
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert probabilities == pytest.approx(found.out_of_fold, abs=1e-6)  # stored as float32
    for signal, scores in found.signals.items():
        query = "SELECT score FROM suspects WHERE signal = ? ORDER BY train_idx"
        assert flipped.columns(query, [signal])["score"] == pytest.approx(scores)
    rows = flipped.columns("SELECT * FROM suspects WHERE signal = 'combined' ORDER BY train_idx")
    suggested = suggested_labels(found.pooled, train.labels)
    assert rows["suggested_label"].tolist() == suggested.tolist()
    assert rows["suggested_confidence"] == pytest.approx(found.pooled[np.arange(N_TRAIN), suggested])
    assert rows["is_likely"].tolist() == likely_wrong(found.pooled, train.labels).tolist()


def logged_margins(run_dir, subject):
    """Margins in logits, one model, one moment and one example at a time, averaged over models and moments."""
    margins = []
    for checkpoint_id in range(FLIPPED.n_checkpoints):
        tensors = load_file(RunFiles(run_dir).training_log(checkpoint_id))
        for step in sorted({int(key.split("/")[0]) for key in tensors})[1:]:
            prefix = f"{step}/parameters/"
            weights = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
            of_each = []
            for example, label in zip(subject.dataset.train.inputs, subject.dataset.train.labels, strict=True):
                logits = functional_call(subject.make_model(), weights, torch.from_numpy(example)[None])[0].tolist()
                own = logits.pop(int(label))
                of_each.append(own - max(logits))
            margins.append(of_each)
    return np.mean(margins, axis=0), len(margins)


def test_training_margin_is_the_mean_margin_over_the_logs(flipped_dir, flipped):
    subject, _ = load_subject(FLIPPED)
    expected, n_moments = logged_margins(flipped_dir, subject)
    assert n_moments == 12  # two checkpoints, six moments each after the start
    query = "SELECT score FROM suspects WHERE signal = 'training_margin' ORDER BY train_idx"
    assert flipped.columns(query)["score"] == pytest.approx(-expected, abs=1e-4)


def test_tracin_self_influence_is_the_mean_squared_gradient_of_the_loss(flipped_dir, flipped):
    subject, _ = load_subject(FLIPPED)
    train, model = subject.dataset.train, subject.make_model()
    expected = np.zeros(N_TRAIN)
    for checkpoint_id in range(2):
        model.load_state_dict(load_file(RunFiles(flipped_dir).checkpoint(checkpoint_id)))
        for idx in range(N_TRAIN):
            model.zero_grad()
            logits = model(torch.from_numpy(train.inputs[idx])[None])
            torch.nn.functional.cross_entropy(logits, torch.from_numpy(train.labels[idx : idx + 1])).backward()
            expected[idx] += sum(float(weight.grad.square().sum()) for weight in model.parameters()) / 2
    query = "SELECT score FROM suspects WHERE signal = 'tracin_self_influence' ORDER BY train_idx"
    assert flipped.columns(query)["score"] == pytest.approx(expected, rel=1e-3)


def test_findings_of_a_build_name_examples_that_are_there_and_are_ranked_by_kind(flipped):
    rows = flipped.rows("SELECT kind, train_idx, score, rank, other_split, other_idx FROM findings ORDER BY kind, rank")
    assert rows
    for kind in {row[0] for row in rows}:
        assert kind in FINDING_KINDS
        own = [row for row in rows if row[0] == kind]
        assert [row[3] for row in own] == list(range(1, len(own) + 1))
        assert len({row[1] for row in own}) == len(own)
        assert [row[2] for row in own] == sorted((row[2] for row in own), reverse=True)
    limits = {"train": N_TRAIN, "test": N_TEST}
    assert all(0 <= idx < N_TRAIN for _, idx, *_ in rows)
    assert all(0 <= other < limits[split] for *_, split, other in rows if split is not None)
    assert all((split is None) == (other is None) for *_, split, other in rows)


@pytest.mark.slow
def test_a_train_set_of_one_class_has_findings_and_no_suspects(tmp_path, monkeypatch):
    def load():
        subject = TINY.load()
        inputs = subject.dataset.train.inputs.copy()
        inputs[70] = inputs[7]
        train = dataclasses.replace(subject.dataset.train, inputs=inputs, labels=np.zeros(N_TRAIN, dtype=np.int64))
        return dataclasses.replace(subject, dataset=dataclasses.replace(subject.dataset, name="one", train=train))

    recipe = dataclasses.replace(TINY, name="one", load=load)
    monkeypatch.setitem(RECIPES, "one", recipe)
    build_run(dataclasses.replace(SETTINGS, recipe="one"), "one", tmp_path)
    with open_run(tmp_path / "one") as run:
        assert run.rows("SELECT count(*) FROM suspects") == [(0,)]
        assert run.rows("SELECT count(*) FROM out_of_fold") == [(0,)]
        duplicates = "SELECT train_idx, other_split, other_idx, score FROM findings WHERE kind = 'near_duplicate'"
        assert (7, "train", 70, 1.0) in run.rows(duplicates)
        assert (70, "train", 7, 1.0) in run.rows(duplicates)
        # Without models that left examples out, nobody wavers; what else is odd does not depend on labels.
        assert run.rows("SELECT count(*) FROM findings WHERE kind = 'ambiguous'") == [(0,)]
        assert "weights_of_label_witnesses" not in run.info.provenance
        assert run.info.provenance["complete"]
