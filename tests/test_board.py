"""The board of a run, further truths and removal, as pages and the command line show them."""

import shutil
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from tests.conftest import CHEAP
from trak_core.engine.measure_settings import MeasureSettings
from trak_core.store.run import open_run
from trak_core.views.evidence import (
    as_shown,
    board,
    board_table,
    board_text,
    flip_sizes,
    removal_comparison,
    removal_curves,
    truth_ceilings,
    truth_table,
)
from trak_core.views.not_measured import why_no_fixed_truths


@pytest.fixture
def changed(measured_runs: Path, tmp_path: Path):
    """Gives the measured run, opened after a statement has changed a copy of it."""
    run_dir = Path(shutil.copytree(measured_runs / "digits", tmp_path / "digits"))
    opened = []

    def change(*statements: str):
        with duckdb.connect(str(run_dir / "store.duckdb")) as connection:
            for statement in statements:
                connection.execute(statement)
        opened.append(open_run(run_dir))
        return opened[-1]

    yield change
    for run in opened:
        run.close()


def test_what_people_read_has_no_minus_zero_and_whole_percents():
    table = pd.DataFrame(
        {
            "method": ["a", "b"],
            "LDS": [-0.0004, 0.51251],
            "share of ceiling": [0.0004, 0.8749],
            "checkpoints": [20, None],
        }
    )
    shown = as_shown(table)
    assert [f"{value:.3f}" for value in shown["LDS"]] == ["0.000", "0.513"]
    assert shown["share of ceiling"].tolist() == [0.0, 0.87] and not np.signbit(shown["LDS"][0])
    assert shown["checkpoints"].tolist()[0] == 20 and table["LDS"][0] == -0.0004


def test_the_board_has_every_method_once_with_all_its_checkpoints_best_first(measured_run):
    found = board(measured_run)
    assert {row.method for row in found.rows} == set(measured_run.info.methods)
    assert len(found.rows) == len(measured_run.info.methods)
    for row in found.rows:
        lds = measured_run.lds(row.method)
        assert (row.lds, row.ci_low, row.ci_high) == (lds.mean, lds.ci_low, lds.ci_high)
        assert row.share == pytest.approx(lds.mean / lds.noise_ceiling)
    assert [row.lds for row in found.rows] == sorted((row.lds for row in found.rows), reverse=True)
    assert (found.n_subsets, found.n_seeds, found.n_models, found.n_reported) == (16, 2, 32, 270)
    assert found.n_fit_models == 8


def test_the_long_board_adds_the_rows_of_single_checkpoints(measured_run):
    rows = board(measured_run).rows_with_one_or_all
    assert sorted(row.n_checkpoints for row in rows if row.method == "trak") == [1, 3]
    assert [row.n_checkpoints for row in rows if row.method == "random"] == [0]
    assert [row.lds for row in rows] == sorted((row.lds for row in rows), reverse=True)


def test_a_run_counts_as_measured_when_every_method_was_asked_for(small_run, measured_run, changed):
    assert not board(small_run).is_measured
    assert not board(measured_run).is_measured
    assert board(changed("INSERT INTO meta VALUES ('measured_every_method', 'true')")).is_measured


def test_the_table_of_the_board_is_empty_where_nothing_was_measured(small_run, measured_run):
    before, after = (board_table(board(run)).set_index("method") for run in (small_run, measured_run))
    assert before["memory (MB)"].isna().all()
    assert after["memory (MB)"].isna().sum() == 4  # those of the build that were not measured again
    assert after.loc["TRAK", "checkpoints"] == 3
    assert np.isnan(after.loc["Random", "checkpoints"])


def test_the_table_of_truths_asks_one_model_of_one_checkpoint_and_several_seeds_of_all(measured_run):
    table = truth_table(measured_run).set_index("method")
    assert list(table.columns) == [
        "one model, 50% dropped",
        "one model, 5% dropped",
        "one model, 1% dropped",
        "several seeds, 20% dropped",
        "several seeds, 5% dropped",
    ]
    titles = measured_run.method_titles
    assert set(table.index) == {titles[method] for method in CHEAP["methods"]}
    for truth_id, truth in enumerate(MeasureSettings.truths):
        which = "min" if truth.kind == "single model" else "max"
        expected = dict(
            measured_run.rows(
                f"SELECT method, arg_{which}(lds, n_checkpoints) FROM truth_lds WHERE truth_id = ? GROUP BY method",
                [truth_id],
            )
        )
        assert {titles[method]: lds for method, lds in expected.items()} == dict(table.iloc[:, truth_id])
    assert (np.diff(table.mean(axis=1)) <= 0).all()


def test_a_truth_that_is_measured_at_fixed_class_counts_has_a_column_more(changed):
    run = changed(
        "UPDATE truth_lds SET lds_fixed = lds - 0.1, fixed_low = ci_low, fixed_high = ci_high WHERE truth_id = 3",
        "UPDATE truths SET fixed_ceiling = 0.75 WHERE truth_id = 3",
    )
    before, after = list(truth_table(run).columns)[4:6]
    assert (before, after) == ("several seeds, 20% dropped", "several seeds, 20% dropped, fixed counts")
    table = truth_table(run)
    assert (table[before] - table[after]).to_numpy() == pytest.approx(0.1)
    assert len(table.columns) == 7
    assert truth_ceilings(run, at_fixed_counts=True) == {0.2: 0.75}
    assert why_no_fixed_truths(run) == ""
    assert after in board_text(run)


def test_truths_that_cannot_be_measured_at_fixed_class_counts_say_why(measured_run, small_run):
    said = why_no_fixed_truths(measured_run)
    assert said.endswith("10 classes need 24 random subsets of each kind, and there are 6; more would do.")
    assert why_no_fixed_truths(small_run) == ""


def test_an_lds_against_a_truth_that_is_undefined_is_empty_and_comes_last(changed):
    run = changed("UPDATE truth_lds SET lds = NULL, ci_low = NULL, ci_high = NULL WHERE method = 'trak'")
    table = truth_table(run).set_index("method")
    assert table.index[-1] == "TRAK"
    assert table.loc["TRAK"].isna().all()
    said = board_text(run)
    assert "undefined" in said
    assert "nan" not in said.lower()


def test_removal_curves_are_means_over_tests_strongest_first(measured_run):
    curves = removal_curves(measured_run)
    assert {curve.method for curve in curves} == {"trak", "nearest", "random"}
    for curve in curves:
        assert curve.sizes == list(CHEAP["removal_sizes"])
        for place, k in enumerate(curve.sizes):
            rows = measured_run.rows(
                "SELECT unremoved - model_output, flipped FROM removals WHERE method = ? AND k = ?", [curve.method, k]
            )
            falls, flipped = np.array(rows, dtype=float).T
            half_width = 1.96 * falls.std(ddof=1) / np.sqrt(len(falls))
            assert curve.falls[place] == pytest.approx(falls.mean())
            assert curve.lows[place] == pytest.approx(falls.mean() - half_width)
            assert curve.highs[place] == pytest.approx(falls.mean() + half_width)
            assert curve.flipped[place] == flipped.mean()
    assert [curve.falls[-1] for curve in curves] == sorted((curve.falls[-1] for curve in curves), reverse=True)


def test_sizes_that_were_tried_in_search_of_a_flip_are_in_no_curve(changed):
    run = changed("INSERT INTO removals SELECT method, test_idx, 3, -9, TRUE, unremoved, NULL, 2 FROM removals")
    assert {tuple(curve.sizes) for curve in removal_curves(run)} == {CHEAP["removal_sizes"]}


def test_while_removal_is_being_measured_curves_of_unequal_length_are_compared_where_all_are(changed):
    run = changed("DELETE FROM removals WHERE method = 'trak' AND k = 10")
    curves = removal_curves(run)
    assert sorted(len(curve.sizes) for curve in curves) == [1, 2, 2]
    assert [curve.falls[0] for curve in curves] == sorted((curve.falls[0] for curve in curves), reverse=True)


def test_the_best_method_is_compared_with_nearest_neighbours_test_by_test(measured_run):
    assert measured_run.info.provenance["removal_method"] == "trak"
    changes = {
        method: np.array(
            measured_run.rows(
                "SELECT model_output - unremoved FROM removals WHERE method = ? AND k = 10 ORDER BY test_idx", [method]
            )
        )
        for method in ("trak", "nearest")
    }
    found = removal_comparison(measured_run, 10)
    assert found.title == "TRAK"
    assert found.share == (changes["trak"] < changes["nearest"]).mean()
    assert found.n_tests == CHEAP["n_removal_tests"]
    assert 0 <= found.ci_low < found.ci_high <= 1


def test_a_size_that_was_not_removed_or_neighbours_as_the_best_method_give_no_comparison(measured_run, changed):
    assert removal_comparison(measured_run, 11) is None
    assert removal_comparison(changed("UPDATE meta SET value = '\"nearest\"' WHERE key = 'removal_method'"), 10) is None


def test_the_smallest_sets_that_flip_an_answer_are_found_for_each_test(changed):
    run = changed(
        "DELETE FROM removals",
        "INSERT INTO removals SELECT 'trak', test_idx, k, 0, flipped, 1, 0, 2 FROM (VALUES "
        "(1, 10, TRUE), (1, 5, FALSE), (1, 7, TRUE), (2, 5, FALSE), (2, 10, FALSE), (3, 2, TRUE), (3, 5, TRUE)) "
        "AS tried(test_idx, k, flipped)",
    )
    assert flip_sizes(run) == ("TRAK", [2, 7], 3)


def test_a_run_that_was_not_measured_has_neither_truths_nor_removals(small_run):
    assert truth_table(small_run).empty
    assert removal_curves(small_run) == []
    assert removal_comparison(small_run, 10) is None
    assert flip_sizes(small_run) is None
    said = board_text(small_run)
    assert "dropped" not in said and "removed" not in said


def test_the_board_as_text_has_every_number_of_the_board(measured_run):
    said = board_text(measured_run)
    lines = said.splitlines()
    for row in board(measured_run).rows_with_one_or_all:
        interval = f"{row.ci_low:.3f} to {row.ci_high:.3f}"
        assert any(line.startswith(row.title) and f"{row.lds:.3f} " in line and interval in line for line in lines)
    for curve in removal_curves(measured_run):
        for k, fall in zip(curve.sizes, curve.falls, strict=True):
            assert any(
                line.startswith(curve.title) and line.split()[-3:-1] == [str(k), f"{fall:.3f}"] for line in lines
            )
    for row in truth_table(measured_run).itertuples(index=False):
        assert any(line.startswith(row[0]) and f"{row[1]:.3f}" in line and f"{row[5]:.3f}" in line for line in lines)
    compared = removal_comparison(measured_run, 10)
    assert f"for {compared.share:.0%} of 4 test examples" in said
    assert "nan" not in said.lower()
