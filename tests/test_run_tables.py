"""The tables of a run, made in one place: what is given comes back from the store, and what a task lacks is NULL."""

import json

import numpy as np
import pytest

from trak_core.media import Picture, Text
from trak_core.store import targets
from trak_core.store.files import RunFiles
from trak_core.store.ledger import (
    outcome_columns,
    read_masks,
    read_outcomes,
    read_target_outcomes,
    subset_columns,
    target_outcome_columns,
)
from trak_core.store.media_rows import media_columns
from trak_core.store.run import open_run
from trak_core.store.run_tables import (
    example_columns,
    feature_columns,
    joined,
    method_columns,
    prediction_columns,
    run_meta,
    score_tables,
    target_score_columns,
)
from trak_core.store.schema import Shape
from trak_core.store.targets import (
    class_of_target,
    class_targets,
    listed_targets,
    read_target_scores,
    target_columns,
    target_of_class,
)
from trak_core.store.writer import StoreWriter, build_lock

N_TRAIN, N_TEST, N_SUBSETS, N_SEEDS = 4, 3, 5, 2
RANDOM = np.random.default_rng(0)
SCORES = RANDOM.standard_normal((N_TEST, N_TRAIN)).astype(np.float32)
MASKS = RANDOM.random((N_SUBSETS, N_TRAIN)) < 0.5


@pytest.fixture
def files(tmp_path):
    return RunFiles(tmp_path / "mine")


@pytest.fixture
def write(files):
    """Writes tables into a published run without classes, and opens it."""
    runs = []

    def written(tables, **facts):
        meta = run_meta(
            recipe="python",
            title="Mine",
            modality="text",
            class_names=(),
            task="other",
            method="trak",
            proj_dim=2,
            n_subsets=N_SUBSETS,
            n_seeds=N_SEEDS,
            **facts,
        )
        with build_lock(files), StoreWriter(files, Shape(N_TRAIN, 0, 2), "fingerprint") as writer:
            writer.write("all", tables, meta)
            writer.publish()
            writer.finish()
        runs.append(open_run(files.run_dir))
        return runs[-1]

    yield written
    for run in runs:
        run.close()


def examples(**more):
    train = example_columns("train", None, ["0.1", "0.2", "0.3", "0.4"], texts=["a", "b", "c", "d"])
    return {"examples": joined([train, example_columns("test", None, ["1", "2", "3"], **more)])}


def test_a_task_without_classes_leaves_labels_and_answers_empty(write):
    output = np.array([[1.5, 2.5, 3.5], [1.0, 2.0, 3.0]])
    run = write(
        {
            **examples(),
            "predictions": prediction_columns([0, 1], "test", output),
            "checkpoints": {"checkpoint_id": [0, 1], "sha256": ["x", "y"]},
        }
    )
    assert run.rows("SELECT DISTINCT label, origin, thumbnail FROM examples") == [(None, None, None)]
    assert run.rows("SELECT checkpoint_id, idx, model_output, p_label, predicted, probabilities FROM predictions") == [
        (i, idx, output[i, idx], None, None, None) for i in range(2) for idx in range(N_TEST)
    ]
    assert run.rows("SELECT seed, train_accuracy, log_sha256 FROM checkpoints") == [(None, None, None)] * 2
    assert not run.info.has_classes
    assert run.test_labels.tolist() == [0, 0, 0]


def test_examples_tell_where_they_come_from_and_count_on_from_a_number(write):
    run = write(examples(origins=["x.csv:3", "x.csv:1", "x.csv:9"], thumbnails=[b"1", b"2", b"3"]))
    query = "SELECT idx, label_name, thumbnail, origin FROM examples WHERE split = 'test' ORDER BY idx"
    assert run.rows(query)[1] == (1, "2", b"2", "x.csv:1")
    assert example_columns("test", np.array([1]), ["b"], first=7)["idx"].tolist() == [7]


def test_further_media_come_back_in_their_order_with_their_marks(write):
    marks = ((0, 3, 0.5), (4, 6, -1.0))
    further = [(Picture(b"p", "before"), Text("to be", "caption", marks)), (), (Text("only"),)]
    run = write({**examples(), "media": media_columns("test", further)})
    assert run.rows("SELECT idx, place, kind, name, text, content, marks FROM media ORDER BY idx, place") == [
        (0, 0, "picture", "before", None, b"p", None),
        (0, 1, "text", "caption", "to be", None, json.dumps(marks)),
        (2, 0, "text", "", "only", None, "[]"),
    ]


def test_features_scores_and_methods_are_those_given(write):
    phi = RANDOM.standard_normal((N_TEST, 2)).astype(np.float32)
    run = write(
        {
            **examples(),
            "features": feature_columns(0, "test", np.ones(N_TEST), np.zeros(N_TEST), phi),
            "methods": method_columns("trak", "TRAK", "Gradients.", "f", settings={"ridge": 1.0}),
            **score_tables("trak", SCORES),
            "target_scores": target_score_columns("trak", np.array([1]), np.array([1]), SCORES[:1]),
            "targets": listed_targets([["whole"], ["whole", "token 1"], ["whole"]]),
        }
    )
    np.testing.assert_array_equal(run.scores(), SCORES)
    np.testing.assert_array_equal(run.score_row(1, target=1), SCORES[0])
    np.testing.assert_array_equal(run.score_row(1, target="token 1"), SCORES[0])
    assert (run.targets(0), run.targets(1)) == ({0: "whole"}, {0: "whole", 1: "token 1"})
    assert run.proponents(2, 2)["train_idx"].tolist() == np.argsort(-SCORES[2])[:2].tolist()
    assert [row for (row,) in run.rows("SELECT phi FROM features ORDER BY idx")] == [tuple(row) for row in phi.tolist()]
    assert run.rows("SELECT settings FROM methods") == [('{"ridge": 1.0}',)]


# --- the ledger ---------------------------------------------------------------------------------------------


def test_the_ledger_comes_back_by_role(write):
    roles = ["fit", "eval", "eval", "diverged", "eval"]
    outputs = RANDOM.standard_normal((N_SUBSETS, N_SEEDS, N_TEST)).astype(np.float32)
    run = write(
        {**examples(), "subsets": subset_columns(MASKS, roles), "outcomes": outcome_columns(range(N_SUBSETS), outputs)}
    )
    np.testing.assert_array_equal(read_masks(run, "eval", N_TRAIN), MASKS[[1, 2, 4]])
    np.testing.assert_array_equal(read_outcomes(run, "eval", N_SEEDS, N_TEST), outputs[[1, 2, 4]])
    assert read_masks(run, "other", N_TRAIN).shape == (0, N_TRAIN)


def test_outcomes_of_targets_are_means_over_seeds(write):
    outputs = RANDOM.standard_normal((N_SUBSETS, N_SEEDS, N_TEST, 2)).astype(np.float32)
    test_idx, target = np.array([2, 0, 2]), np.array([1, 2, 2])
    run = write(
        {
            **examples(),
            "subsets": subset_columns(MASKS, ["eval"] * N_SUBSETS),
            "target_outcomes": target_outcome_columns(range(N_SUBSETS), outputs),
        }
    )
    found = read_target_outcomes(run, "eval", test_idx, target)
    expected = [
        [outputs[s, :, t, k - 1].mean() for t, k in zip(test_idx, target, strict=True)] for s in range(N_SUBSETS)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_test_examples_may_have_any_number_of_targets(write):
    """As continuations have tokens: the lists of the table differ in length, and one may be empty."""
    n_targets = [3, 0, 1]
    outputs = [[RANDOM.standard_normal(n).tolist() for n in n_targets] for _ in range(N_SUBSETS)]
    run = write(
        {
            **examples(),
            "subsets": subset_columns(MASKS, ["eval"] * N_SUBSETS),
            "target_outcomes": {
                "subset_id": np.repeat(np.arange(N_SUBSETS), N_TEST),
                "test_idx": np.tile(np.arange(N_TEST), N_SUBSETS),
                "model_outputs": [values for of_subset in outputs for values in of_subset],
            },
        }
    )
    test_idx, target = np.array([0, 2, 0]), np.array([3, 1, 1])
    found = read_target_outcomes(run, "eval", test_idx, target)
    np.testing.assert_allclose(found, [[s[0][2], s[2][0], s[0][0]] for s in outputs], rtol=1e-6)


@pytest.mark.parametrize("at_once", [1, 3 * N_TRAIN, 2**25])
def test_scores_of_targets_are_read_by_test_example_however_few_fit_into_memory(write, monkeypatch, at_once):
    monkeypatch.setattr(targets, "NUMBERS_AT_ONCE", at_once)
    pairs = [(0, 1), (0, 2), (0, 3), (2, 1)]
    test_idx, target = (np.array(column) for column in zip(*pairs, strict=True))
    scores = RANDOM.standard_normal((2, 4, N_TRAIN)).astype(np.float32)
    parts = [target_score_columns(name, test_idx, target, scores[i]) for i, name in enumerate(("a", "b"))]
    run = write({**examples(), "target_scores": joined(parts)})
    blocks = list(read_target_scores(run, N_TRAIN))
    assert [(block.method, t, k) for block in blocks for t, k in zip(block.test_idx, block.target, strict=True)] == [
        (name, *pair) for name in ("a", "b") for pair in pairs
    ]
    np.testing.assert_array_equal(np.concatenate([block.scores for block in blocks]), scores.reshape(8, N_TRAIN))


# --- targets of classes -------------------------------------------------------------------------------------


def test_every_class_has_one_target_and_the_label_is_the_default():
    for label in range(4):
        targets = [target_of_class(label, c) for c in range(4)]
        assert sorted(targets) == sorted({0, 1, 2, 3, 4} - {label + 1})
        assert [class_of_target(label, target) for target in targets] == [0, 1, 2, 3]
        assert targets[label] == 0


def test_the_table_of_targets_names_the_label_and_every_other_class():
    columns = target_columns(np.array([1, 0]), ["ant", "bee", "cat"], first=5)
    rows = sorted(zip(columns["test_idx"].tolist(), columns["target"].tolist(), columns["name"], strict=True))
    assert rows == [(5, 0, "bee"), (5, 1, "ant"), (5, 3, "cat"), (6, 0, "ant"), (6, 2, "bee"), (6, 3, "cat")]
    test_idx, target = class_targets(np.array([1, 0]), 3, first=5)
    assert list(zip(test_idx.tolist(), target.tolist(), strict=True)) == [(5, 1), (5, 3), (6, 2), (6, 3)]
