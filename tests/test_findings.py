"""What else is odd about training examples, against plain loops and oddities put in on purpose."""

from collections import Counter

import duckdb
import numpy as np
import pytest
from scipy.special import softmax

from trak_core.datasets import load_digits
from trak_core.errors import InvalidSettingError
from trak_core.labels import nearest as nearest_module
from trak_core.labels.duplicates import CLOSE, find_near_duplicates
from trak_core.labels.findings import FINDING_KINDS, Finding, ambiguous, calibrated, find_all, finding_columns
from trak_core.labels.nearest import nearest, unit_rows
from trak_core.labels.rarity import outliers, under_represented
from trak_core.store.run import open_run
from trak_core.views.findings import findings_of, found_counts, found_examples

RANDOM = np.random.default_rng


def cloud(n, d=20, seed=0):
    """Separate examples: points in all directions."""
    return RANDOM(seed).standard_normal((n, d)).astype(np.float32)


def pairs(duplicates):
    return dict(zip(duplicates.train_idx.tolist(), duplicates.other_idx.tolist(), strict=True))


# --- nearest neighbours -----------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, 50])
def test_nearest_is_what_a_plain_loop_finds_whatever_the_blocks(k, monkeypatch):
    monkeypatch.setattr(nearest_module, "PAIRS_AT_ONCE", 100)
    rows, others = unit_rows(cloud(30)), unit_rows(cloud(7, seed=1))
    for among, found in ((rows, nearest(rows, k=k)), (others, nearest(rows, others, k))):
        cosines = rows.astype(float) @ among.astype(float).T
        for i, row in enumerate(cosines):
            order = sorted(
                (j for j in range(len(among)) if among is not rows or i != j), key=lambda j, row=row: -row[j]
            )
            assert found[0][i].tolist() == order[:k]
            np.testing.assert_allclose(found[1][i], row[order[:k]], atol=1e-6)


def test_a_row_without_a_direction_stays_0_and_one_alone_has_no_neighbours():
    assert unit_rows(np.zeros((1, 3))).tolist() == [[0, 0, 0]]
    assert nearest(unit_rows(cloud(1)))[0].shape == (1, 0)


# --- near-duplicates and leaks ----------------------------------------------------------------------------


def test_copies_are_found_on_both_sides_and_name_the_first_of_them():
    train, test = cloud(60), cloud(20, seed=1)
    train[40] = train[50] = train[7]
    test[[3, 9]] = train[12]
    within, leaked = find_near_duplicates(train, test)
    assert pairs(within) == {7: 40, 40: 7, 50: 7}
    assert pairs(leaked) == {12: 3}
    assert within.similarity.tolist() == [1, 1, 1]


def test_near_duplicates_are_closer_than_a_quarter_of_the_usual_distance():
    train = cloud(80).reshape(80, 4, 5)
    for idx, noise in ((70, 0.02), (71, 0.1), (72, 0.4), (73, 1.0)):
        train[idx] = train[idx - 70] + noise * cloud(1, seed=idx).reshape(4, 5)
    within, _ = find_near_duplicates(train, cloud(5, seed=1).reshape(5, 4, 5))
    flat = train.reshape(80, -1).astype(float)
    directions = flat - flat.mean(0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    distances = np.linalg.norm(directions[:, None] - directions[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    usual = np.median(distances.min(1))
    expected = {i: int(row.argmin()) for i, row in enumerate(distances) if row.min() < CLOSE * usual}
    assert pairs(within) == expected
    assert {0, 70, 1, 71} <= set(expected) and not {2, 72, 3, 73} & set(expected)
    np.testing.assert_allclose(within.similarity, 1 - distances.min(1)[within.train_idx] / usual, atol=1e-5)
    assert within.similarity.min() > 1 - CLOSE


def test_a_paler_picture_is_the_same_picture():
    train = cloud(100, 64)
    train[99] = 0.5 * train[0]
    assert pairs(find_near_duplicates(train, cloud(3, 64, seed=1))[0]) == {0: 99, 99: 0}


def test_separate_examples_are_no_duplicates_in_few_dimensions_or_many():
    for d in (8, 64, 500):
        within, leaked = find_near_duplicates(cloud(400, d), cloud(100, d, seed=1))
        assert len(within.train_idx) + len(leaked.train_idx) == 0


def test_digits_hold_no_image_twice():
    digits = load_digits()
    within, leaked = find_near_duplicates(digits.train.inputs, digits.test.inputs)
    assert len(within.train_idx) + len(leaked.train_idx) == 0


def test_where_everything_is_there_twice_copies_are_found_still():
    train = np.repeat(cloud(10), 2, axis=0)
    within, leaked = find_near_duplicates(train, train[:1])
    assert pairs(within) == {i: i ^ 1 for i in range(20)}
    assert pairs(leaked) == {0: 0, 1: 0}


# --- outliers ---------------------------------------------------------------------------------------------


def test_examples_in_a_direction_of_their_own_are_outliers():
    random = RANDOM(0)
    embeddings = 5 + random.standard_normal((300, 16)).astype(np.float32)
    embeddings[[17, 90]] = 8 * np.eye(16, dtype=np.float32)[:2]
    found, beyond = outliers(embeddings)
    assert {17, 90} <= set(found.tolist())
    assert set(found[np.argsort(-beyond)[:2]].tolist()) == {17, 90}
    assert beyond.min() > 1
    rows = embeddings.astype(float) / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    distances = 1 - np.sort(cosines, axis=1)[:, -10:].mean(1)
    lower, upper = np.quantile(np.log(distances), [0.25, 0.75])
    np.testing.assert_allclose(beyond, distances[found] / np.exp(upper + 1.5 * (upper - lower)), rtol=1e-3)


def test_at_most_two_in_a_hundred_are_outliers_and_copies_do_not_hide_them():
    random = RANDOM(0)
    embeddings = random.standard_normal((400, 8)) * np.exp(3 * random.standard_normal((400, 1)) > 3)
    assert len(outliers(embeddings.astype(np.float32))[0]) <= 8
    tight = 5 + random.standard_normal((200, 8))
    tight[100:] = tight[0]
    tight[50] = 9 * np.eye(8)[0]
    assert 50 in outliers(tight.astype(np.float32))[0]


def test_few_examples_have_no_outliers():
    assert len(outliers(cloud(19))[0]) == len(outliers(cloud(1))[0]) == 0


# --- ambiguous --------------------------------------------------------------------------------------------


def undecided(n=500, seed=0):
    """Probabilities of models that are about as often right as they are sure, and labels drawn from them."""
    random = RANDOM(seed)
    probabilities = softmax(3 * random.standard_normal((n, 4)), axis=1)
    labels = np.array([random.choice(4, p=row) for row in probabilities])
    return probabilities, labels


def test_ambiguous_is_where_two_classes_are_in_the_running_and_the_label_is_one_of_them():
    probabilities, labels = undecided()
    found, scores = ambiguous(probabilities, labels)
    expected = {}
    for idx, (row, label) in enumerate(zip(calibrated(probabilities, labels), labels, strict=True)):
        running = [c for c, p in enumerate(row) if p >= row.max() / 2]
        if len(running) > 1 and label in running:
            expected[idx] = sorted(row)[-2] / max(row)
    assert found.tolist() == list(expected)
    assert scores.tolist() == pytest.approx(list(expected.values()))
    assert 50 < len(found) < 250


def test_probabilities_that_are_true_stay_about_as_they_are():
    probabilities, labels = undecided(5000)
    np.testing.assert_allclose(calibrated(probabilities, labels), probabilities, atol=0.05)


def test_how_sure_models_are_as_a_whole_changes_nothing():
    probabilities, labels = undecided()
    timid = probabilities**0.2
    timid /= timid.sum(1, keepdims=True)
    expected, found = ambiguous(probabilities, labels), ambiguous(timid, labels)
    assert found[0].tolist() == expected[0].tolist()
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-3)


def test_certain_models_find_nothing_ambiguous_and_one_class_is_never():
    labels = np.arange(30) % 3
    assert len(ambiguous(np.eye(3)[labels], labels)[0]) == 0
    assert len(ambiguous(np.ones((5, 1)), np.zeros(5, dtype=int))[0]) == 0


# --- under-represented ------------------------------------------------------------------------------------


def test_a_class_with_one_example_and_one_with_a_tenth_of_its_share_are_rare():
    labels = np.array([0] * 200 + [1] * 190 + [2] * 9 + [3])
    found, rarity = under_represented(5 + cloud(400), labels)
    assert found.tolist() == list(range(390, 400))
    assert rarity.tolist() == pytest.approx([1 - 9 / 100] * 9 + [1 - 1 / 100])


@pytest.mark.parametrize("labels", [np.zeros(300, dtype=int), np.arange(300) % 5, np.arange(300)])
def test_classes_of_one_size_are_not_rare(labels):
    assert len(under_represented(5 + cloud(300), labels)[0]) == 0


def test_a_small_group_apart_from_its_class_is_found_and_a_clump_of_copies_is_not():
    embeddings = (np.eye(20)[0] * 8 + cloud(200)).astype(np.float32)
    embeddings[150:162] = np.eye(20)[1] * 8 + 0.5 * cloud(12, seed=1)
    labels = np.zeros(200, dtype=int)
    found, rarity = under_represented(embeddings, labels)
    assert found.tolist() == list(range(150, 162))
    assert rarity.tolist() == pytest.approx([1 - 12 / 200] * 12)
    assert len(under_represented(embeddings, labels, np.arange(151, 162))[0]) == 0


# --- all of them ------------------------------------------------------------------------------------------


def everything(n=300):
    """Data with one finding of each kind, and which example has it."""
    random = RANDOM(3)
    labels = np.arange(n) % 3
    labels[10] = 3
    inputs, test = cloud(n, 40), cloud(50, 40, seed=9)
    inputs[20], test[5] = inputs[21], inputs[30]
    embeddings = (np.eye(16)[labels] * 9 + random.standard_normal((n, 16))).astype(np.float32)
    embeddings[40] = -20 * np.eye(16)[0]
    probabilities = np.full((n, 4), 0.02)
    probabilities[np.arange(n), labels] = 0.94
    probabilities[50] = [0.01, 0.5, 0.48, 0.01]
    return {
        "inputs_train": inputs,
        "inputs_test": test,
        "labels_train": labels,
        "embeddings_train": embeddings,
        "probabilities": probabilities,
    }


def test_one_of_each_kind_is_found_and_named():
    found = find_all(**everything())
    assert [f for f in found if f.kind in ("near_duplicate", "leak")] == [
        Finding("near_duplicate", 20, 1.0, "train", 21),
        Finding("near_duplicate", 21, 1.0, "train", 20),
        Finding("leak", 30, 1.0, "test", 5),
    ]
    assert next(f.train_idx for f in found if f.kind == "outlier") == 40
    assert [f.train_idx for f in found if f.kind == "ambiguous"] == [50]
    assert [f.train_idx for f in found if f.kind == "under_represented"] == [10]
    assert found == find_all(**everything())
    assert max(Counter((f.kind, f.train_idx) for f in found).values()) == 1


def test_columns_are_ranked_within_each_kind_the_oddest_first():
    found = find_all(**everything())
    columns = finding_columns(found)
    assert {len(column) for column in columns.values()} == {len(found)}
    for kind in FINDING_KINDS:
        rows = [(r, s) for k, r, s in zip(columns["kind"], columns["rank"], columns["score"], strict=True) if k == kind]
        assert [rank for rank, _ in rows] == list(range(1, len(rows) + 1))
        assert [score for _, score in rows] == sorted((score for _, score in rows), reverse=True)
    assert finding_columns([]) == {name: [] for name in columns}


def test_one_train_example_and_labels_of_one_class_are_no_errors():
    one = {name: array[:1] for name, array in everything().items()}
    assert find_all(**one) == []
    data = everything()
    data["labels_train"] = np.zeros(300, dtype=int)
    data["probabilities"] = None
    assert {f.kind for f in find_all(**data)} <= {"near_duplicate", "leak", "outlier"}


def test_arguments_that_differ_in_length_are_refused():
    data = everything()
    data["embeddings_train"] = data["embeddings_train"][:299]
    with pytest.raises(InvalidSettingError, match="embeddings_train has 299 rows for 300 labels"):
        find_all(**data)


# --- what pages read of them ------------------------------------------------------------------------------


@pytest.fixture
def found_run(runs):
    """The small run with findings of its own, and of a kind that this program does not know."""
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:
        connection.execute("DELETE FROM findings")
        connection.execute(
            "INSERT INTO findings VALUES ('outlier', 4, 1.5, 1, NULL, NULL), ('leak', 4, 1.0, 1, 'test', 7), "
            "('near_duplicate', 4, 0.9, 1, 'train', 12), ('near_duplicate', 12, 0.9, 2, 'train', 4), "
            "('odd_size', 9, 1, 1, NULL, NULL)"
        )
    with open_run(runs / "digits") as run:
        yield run


def test_kinds_come_in_their_order_with_the_number_of_examples(found_run):
    assert found_counts(found_run) == {
        "near_duplicate": ("near-duplicates", 2),
        "leak": ("leaks", 1),
        "outlier": ("outliers", 1),
        "odd_size": ("odd size", 1),
    }
    assert found_examples(found_run, "near_duplicate") == {4, 12}


def test_findings_say_in_words_what_was_found_with_the_other_example(found_run):
    def name(split, idx):
        return found_run.info.class_names[found_run.label(split, idx)]

    assert [finding.words for finding in findings_of(found_run, 4)] == [
        f"near-duplicate of train example 12, labelled “{name('train', 12)}”",
        f"leak of test example 7, labelled “{name('test', 7)}”",
        "outlier",
    ]
    near, leak, outlier = findings_of(found_run, 4)
    assert (near.other.split, near.other.idx, leak.other.split, leak.other.idx) == ("train", 12, "test", 7)
    assert outlier.other is None
    assert near.differs == (name("train", 4) != name("train", 12))
    assert [finding.words for finding in findings_of(found_run, 9)] == ["odd size"]
    assert findings_of(found_run, 5) == []
