"""The map and groups: against loops over everything, and drawn the same every time."""

import subprocess
import sys

import duckdb
import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from tests.subjects import TEST, TRAIN, make_attributor
from trak_core.engine import map_run, map_step
from trak_core.engine.map_step import lay_out, seconds_of_map
from trak_core.errors import InvalidSettingError, NotInRunError
from trak_core.evidence.verification import verify
from trak_core.store.files import RunFiles
from trak_core.store.progress import read_status
from trak_core.store.run import open_run
from trak_core.views.browse import overview
from trak_core.views.groups import cell_pairs, class_influence, class_matrix, group_influence, strongest_cell
from trak_core.views.map import (
    NO_STEP,
    answer_scores,
    colour_options,
    colouring,
    map_points,
    map_table,
    points_inside,
    train_answers,
)


def unit_rows(n: int, width: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def layout_of(run) -> np.ndarray:
    rows = run.rows("SELECT x, y FROM layout ORDER BY split, idx")
    return np.array(rows)


def without_map(store) -> None:
    with duckdb.connect(str(store)) as connection:
        connection.execute("DELETE FROM layout; DELETE FROM meta WHERE key = 'map'")


# --- the layout -----------------------------------------------------------------------------------------------


def test_every_example_has_a_place(small_run):
    points = map_points(small_run)
    assert points.xy.shape == (1437 + 360, 2)
    assert np.isfinite(points.xy).all()
    assert points.kind == "UMAP"
    rows = small_run.rows("SELECT x, y FROM layout WHERE split = 'test' AND idx = 17")
    assert rows == [tuple(points.xy[1437 + 17])]
    assert points.labels[1437 + 17] == small_run.label("test", 17)


def test_neighbours_on_the_map_share_their_label_far_above_chance(small_run):
    """Chance is .1; the small run has features of 16 dimensions."""
    points = map_points(small_run)
    near = NearestNeighbors(n_neighbors=11).fit(points.xy).kneighbors(return_distance=False)
    agreement = (points.labels[near] == points.labels[:, None]).mean()
    assert agreement > 0.8


def test_the_same_rows_and_seed_give_the_same_points():
    rows = unit_rows(120, 16)
    first, again = lay_out(rows, 5), lay_out(rows, 5)
    assert np.array_equal(first[0], again[0])
    assert not np.array_equal(first[0], lay_out(rows, 6)[0])


def test_opposite_gradients_lie_together():
    """Two bundles along two lines, half of each pointing backwards: neighbours are of the same line."""
    random = np.random.default_rng(0)
    lines = np.repeat([0, 1], 60)
    rows = np.eye(8, dtype=np.float32)[lines] + random.normal(0, 0.1, (120, 8)).astype(np.float32)
    rows *= np.tile([1, -1], 60).astype(np.float32)[:, None]
    points, _ = lay_out(rows / np.linalg.norm(rows, axis=1, keepdims=True), 0)
    near = NearestNeighbors(n_neighbors=6).fit(points).kneighbors(return_distance=False)
    assert (lines[near] == lines[:, None]).all()


@pytest.mark.parametrize("n", [1, 2, 3, 9, 10, 11, 25])
def test_few_examples_have_a_map_too(n):
    points, kind = lay_out(unit_rows(n, 6), 0)
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()
    assert kind == ("PCA" if n < 10 else "UMAP")


def test_doubles_and_gradients_of_zero_have_a_place():
    rows = np.concatenate([unit_rows(30, 8), np.zeros((4, 8), np.float32), np.repeat(unit_rows(1, 8), 12, axis=0)])
    assert np.isfinite(lay_out(rows, 0)[0]).all()
    assert np.isfinite(lay_out(np.zeros((20, 8), np.float32), 0)[0]).all()


def test_nearest_neighbours_are_those_of_all_pairs(monkeypatch):
    monkeypatch.setattr(map_step, "NUMBERS_AT_ONCE", 70)  # one row at a time
    rows = unit_rows(50, 4)
    found, distances = map_step._neighbours(rows, 7)
    for i in range(50):
        similarity = [2.0 if i == j else abs(float(rows[i] @ rows[j])) for j in range(50)]
        expected = sorted(range(50), key=lambda j: -similarity[j])[:7]
        assert found[i].tolist() == expected
        assert distances[i] == pytest.approx([max(0, 1 - similarity[j]) for j in expected], abs=1e-5)


def test_folding_keeps_inner_products_on_average():
    rows = unit_rows(40, 20_000)
    rows[1] = rows[0]
    folded = map_step._folding(20_000, 3)(rows)
    assert folded.shape == (40, map_step.MAX_WIDTH)
    assert folded[0] @ folded[1] == pytest.approx(1, abs=1e-5)
    assert np.abs(folded[1:] @ folded[1:].T - np.eye(39)).max() < 0.2  # 1 / sqrt(1024) is .03


def test_what_umap_compiles_is_kept_so_that_later_maps_need_not_compile_it():
    """Where numba may write; else it is compiled in each process as ever, and more time is kept for it."""
    code = (
        "import numpy as np; from trak_core.engine.map_step import lay_out; "
        "rows = np.eye(40, 64, dtype=np.float32); print(lay_out(rows, 0)[0].tolist()); "
        "from umap import layouts; print(layouts._nb_optimize_layout_euclidean_single_epoch.stats.cache_hits.total())"
    )
    first, second = (subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in "12")
    assert first.stdout.splitlines()[0] == second.stdout.splitlines()[0], second.stderr
    assert second.stdout.splitlines()[1] == "1"
    assert seconds_of_map(1000) - seconds_of_map(0) == pytest.approx(4)


def test_drawing_leaves_torch_its_threads():
    before = torch.get_num_threads()
    lay_out(unit_rows(30, 8), 0)
    assert torch.get_num_threads() == before


# --- adding the map later -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_without_a_map_gets_the_one_that_its_build_would_have_drawn(runs, small_run):
    run_dir = runs / "digits"
    without_map(run_dir / "store.duckdb")
    with open_run(run_dir) as run:
        assert map_points(run) is None
        before = run.info.provenance
    map_run(run_dir)
    with open_run(run_dir) as run:
        assert np.array_equal(layout_of(run), layout_of(small_run))
        assert np.array_equal(run.scores(), small_run.scores())
        added = {key for key in run.info.provenance if run.info.provenance[key] != before.get(key)}
        assert added == {"map", "evidence_fingerprint"}
        assert [check for check in verify(run) if not check.ok] == []
    assert sorted(path.name for path in run_dir.iterdir()) == ["checkpoints", "store.duckdb"]


@pytest.mark.slow
def test_what_was_measured_stays_measured(measured_runs, tmp_path):
    run_dir = tmp_path / "digits"
    run_dir.mkdir()
    (run_dir / "store.duckdb").write_bytes((measured_runs / "digits" / "store.duckdb").read_bytes())
    with open_run(run_dir) as run:
        measured = run.info.provenance["measured"]
        assert map_points(run) is not None
    without_map(run_dir / "store.duckdb")
    map_run(run_dir)
    with open_run(run_dir) as run:
        assert run.info.provenance["measured"] == measured
        assert map_points(run) is not None


def test_a_map_that_is_there_is_not_drawn_again(runs):
    before = (runs / "digits" / "store.duckdb").stat().st_mtime_ns
    map_run(runs / "digits", pytest.fail)
    assert (runs / "digits" / "store.duckdb").stat().st_mtime_ns == before


@pytest.mark.slow
def test_drawing_that_was_stopped_goes_on(runs):
    def stop(status):
        raise KeyboardInterrupt

    run_dir = runs / "digits"
    without_map(run_dir / "store.duckdb")
    with pytest.raises(KeyboardInterrupt):
        map_run(run_dir, stop)
    status = read_status(run_dir)
    assert (status.state, status.command) == ("stopped", ["map", "digits"])
    map_run(run_dir)
    assert read_status(run_dir) is None
    assert not RunFiles(run_dir).build.exists()


def test_an_unfinished_build_is_left_to_itself(runs):
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'complete'")
    with pytest.raises(NotInRunError, match="is not finished; its build draws the map"):
        map_run(runs / "digits")


def test_a_run_saved_from_python_gets_its_map_and_its_classes(tmp_path):
    make_attributor(2).fit(TRAIN).save(tmp_path / "mine", TRAIN, TEST)
    with open_run(tmp_path / "mine") as run:
        assert map_points(run) is None
        assert_means_of_scores(run)
    map_run(tmp_path / "mine")
    with open_run(tmp_path / "mine") as run:
        assert np.isfinite(map_points(run).xy).all()
        assert [check for check in verify(run) if not check.ok] == []


# --- groups ---------------------------------------------------------------------------------------------------


def assert_means_of_scores(run) -> None:
    """Every row of `class_influence` against a loop; float32 there, float64 here."""
    for method in run.info.methods:
        influence, scores = class_influence(run, method), run.scores(method).astype(np.float64)
        assert influence.classes.tolist() == sorted(set(run.test_labels.tolist()))
        for row, label, n_tests in zip(influence.values, influence.classes, influence.n_tests, strict=True):
            members = [i for i in range(run.info.n_test) if run.test_labels[i] == label]
            assert n_tests == len(members)
            expected = sum(scores[i] for i in members) / len(members)
            np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-7 * np.abs(scores).max())


def test_class_influence_holds_mean_scores_for_every_method(small_run):
    assert_means_of_scores(small_run)


def test_measured_methods_have_class_influence_too(measured_run):
    assert_means_of_scores(measured_run)


def test_the_class_matrix_is_that_of_a_loop_over_all_scores(small_run):
    influence, scores = class_influence(small_run), small_run.scores().astype(np.float64)
    together, one_by_one = class_matrix(small_run, influence), class_matrix(small_run, influence, "example")
    for a in (0, 3, 9):
        for b in (0, 5, 9):
            block = scores[small_run.test_labels == b][:, small_run.train_labels == a]
            total = sum(float(row.sum()) for row in block) / len(block)
            assert together.values[a, b] == pytest.approx(total, rel=1e-4, abs=1e-6)
            assert one_by_one.values[a, b] == pytest.approx(total / block.shape[1], rel=1e-4, abs=1e-9)
    a, b = strongest_cell(together)
    assert a != b
    assert abs(together.values[a, b]) == max(abs(together.values[i, j]) for i in range(10) for j in range(10) if i != j)
    fewer = together.strongest(4)
    assert fewer.values.shape == (4, 4)
    assert fewer.values[0, 1] == together.values[fewer.rows[0], fewer.columns[1]]


def test_what_a_group_does_is_the_sum_over_its_members(small_run):
    picked, influence = [3, 17, 204, 1436], class_influence(small_run)
    scores = small_run.scores().astype(np.float64)
    for value, label in zip(group_influence(influence, picked), influence.classes, strict=True):
        rows = scores[small_run.test_labels == label]
        expected = np.mean([sum(row[i] for i in picked) for row in rows])
        assert value == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert group_influence(influence, []).tolist() == [0] * 10


@pytest.mark.parametrize("side", ["proponent", "opponent"])
def test_pairs_of_a_cell_are_the_strongest_of_the_top_lists(small_run, side):
    sign = 1 if side == "proponent" else -1
    found = cell_pairs(small_run, "trak", 8, 1, side, 10)
    listed = [
        (sign * score, -test_idx, -train_idx)
        for test_idx, train_idx, score in small_run.rows(
            "SELECT test_idx, train_idx, score FROM topk WHERE method = 'trak' AND side = ?", [side]
        )
        if small_run.label("train", train_idx) == 8 and small_run.label("test", test_idx) == 1 and sign * score > 0
    ]
    expected = sorted(listed, reverse=True)[:10]
    assert [(sign * pair.score, -pair.test.idx, -pair.train.idx) for pair in found] == expected
    assert all(pair.train.media and pair.test.media for pair in found)


# --- colours and lines ----------------------------------------------------------------------------------------


def loop_inside(x: float, y: float, polygon: np.ndarray) -> bool:
    """The even-odd rule: how often a ray to the right crosses the line."""
    crossings = 0
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            crossings += 1
    return crossings % 2 == 1


@pytest.mark.parametrize("n_corners", [3, 4, 7, 40])
def test_points_inside_a_line_are_those_of_the_even_odd_rule(n_corners):
    """Random corners: from seven on, the line crosses itself."""
    random = np.random.default_rng(n_corners)
    points = random.uniform(-1, 1, (400, 2)).astype(np.float32)
    polygon = random.uniform(-1.2, 1.2, (n_corners, 2))
    expected = [i for i, (x, y) in enumerate(points.astype(float)) if loop_inside(x, y, polygon)]
    assert points_inside(points, polygon.tolist()).tolist() == expected
    assert 0 < len(expected) < 400


@pytest.mark.parametrize("polygon", [[], [[0, 0], [1, 1]], [[0, 0, 1]] * 3, [[0, 0], [1, 1], [float("nan"), 0]]])
def test_a_line_without_an_inside_is_refused(polygon):
    with pytest.raises(InvalidSettingError, match="polygon"):
        points_inside(np.zeros((4, 2), np.float32), polygon)


def test_answers_on_train_examples_are_the_largest_mean_probability(small_run):
    answers = train_answers(small_run)
    for idx in (0, 700, 1436):
        rows = small_run.rows("SELECT probabilities FROM predictions WHERE split = 'train' AND idx = ?", [idx])
        assert answers[idx] == np.mean([row for (row,) in rows], axis=0).argmax()


def test_colours_say_what_the_run_says(small_run):
    tests, answers = overview(small_run), train_answers(small_run)
    assert colour_options(small_run, "trak") == ["class", "prediction", "loss", "self-influence", "verdict", "score"]
    assert "self-influence" not in colour_options(small_run, "random")
    scores, target = answer_scores(small_run, tests, 17, "trak")
    assert small_run.class_of_target(17, target) == tests.predicted[17]
    found = {
        by: colouring(small_run, by, "trak", tests, answers, scores, {3: "relabel"})
        for by in colour_options(small_run, "trak")
    }
    assert all(len(colours.codes) == 1437 + 360 for colours in found.values())
    assert found["class"].codes[5] == small_run.label("train", 5)
    assert found["prediction"].codes[1437 + 5] == tests.predicted[5]
    assert found["verdict"].names[found["verdict"].codes[3]] == "relabel"
    assert found["verdict"].names[found["verdict"].codes[4]] == "not reviewed"
    (loss,) = small_run.rows("SELECT avg(loss) FROM predictions WHERE split = 'train' AND idx = 5")[0]
    assert found["loss"].values[5] == pytest.approx(loss)
    signed = found["score"]
    assert np.array_equal(signed.values[:1437], scores)
    assert ((signed.codes[:1437] > 127) <= (scores > 0)).all()
    assert ((signed.codes[:1437] < 127) <= (scores < 0)).all()
    assert (signed.codes[1437:] == NO_STEP).all()
    assert (found["self-influence"].codes[1437:] == NO_STEP).all()
    table = map_table(map_points(small_run), signed, [5])
    assert table["picked"].sum() == 1
    assert table.loc[5, "score"] == scores[5]
