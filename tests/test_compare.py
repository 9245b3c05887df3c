"""Two explanations side by side, against whole matrices and plain loops."""

import dataclasses
import math
import shutil
import warnings

import duckdb
import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.tiny import QUICK, SETTINGS, TINY
from trak_core.engine import build_run, measure_run
from trak_core.errors import NotInRunError
from trak_core.store.run import open_run
from trak_core.subjects import RECIPES
from trak_core.views import compare
from trak_core.views.compare import (
    agreement,
    agreement_table,
    differing_settings,
    have_same_data,
    metadata_side_by_side,
    rank_correlation,
)
from trak_core.views.provenance import checkpoints_table, metadata_table, methods_table, sizes_table


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two tiny runs of the same data that differ in their seed, the first one measured."""
    runs = tmp_path_factory.mktemp("pair")
    RECIPES["tiny"] = TINY
    try:
        build_run(SETTINGS, "one", runs)
        measure_run(runs / "one", QUICK)
        build_run(dataclasses.replace(SETTINGS, seed=1), "two", runs)
    finally:
        del RECIPES["tiny"]
    with open_run(runs / "one") as one, open_run(runs / "two") as two:
        yield one, two


def expected_correlation(ours, theirs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows that are all the same have none
        return spearmanr(ours, theirs).statistic


@pytest.mark.parametrize("block", [100, 10_000_000])
def test_rank_correlations_are_those_of_scipy_over_whole_matrices(pair, monkeypatch, block):
    monkeypatch.setattr(compare, "BLOCK_NUMBERS", block)
    one, two = pair
    for other, method, other_method in ((two, "trak", "trak"), (one, "trak", "grad_dot"), (one, "trak", "random")):
        found = agreement(one, method, other, other_method)
        ours, theirs = one.scores(method), other.scores(other_method)
        expected = [expected_correlation(ours[i], theirs[i]) for i in range(one.info.n_test)]
        np.testing.assert_allclose(found.rank_correlation, expected, atol=1e-12)
        assert found.mean_correlation == pytest.approx(np.nanmean(expected))
        assert rank_correlation(one, method, other, other_method, 7) == pytest.approx(expected[7])


def test_shared_proponents_and_opponents_are_those_of_a_loop(pair):
    one, two = pair
    found = agreement(one, "trak", two, "trak")
    for i in range(one.info.n_test):
        ours, theirs = (np.argsort(-run.scores("trak")[i], kind="stable") for run in pair)
        assert found.shared_proponents[i] == len(set(ours[:20]) & set(theirs[:20]))
        ours, theirs = (np.argsort(run.scores("trak")[i], kind="stable") for run in pair)
        assert found.shared_opponents[i] == len(set(ours[:20]) & set(theirs[:20]))
    assert found.mean_proponents == pytest.approx(found.shared_proponents.mean())
    assert found.by_chance == pytest.approx(20 * 20 / 120)


def test_a_run_against_itself_is_one_and_twenty_of_twenty(pair):
    one, _ = pair
    found = agreement(one, "trak", one, "trak")
    np.testing.assert_allclose(found.rank_correlation, 1.0, atol=1e-12)
    assert (found.shared_proponents == 20).all() and (found.shared_opponents == 20).all()
    assert found.in_words == "very similarly"


def test_chance_agrees_as_much_as_chance_would(pair):
    one, _ = pair
    found = agreement(one, "trak", one, "random")
    assert abs(found.mean_correlation) < 0.1
    assert found.mean_proponents == pytest.approx(found.by_chance, abs=1.0)
    assert found.in_words == "very differently"


def test_a_sample_is_the_same_each_time_and_a_part_of_the_whole(pair, monkeypatch):
    one, two = pair
    whole = agreement(one, "trak", two, "trak")
    monkeypatch.setattr(compare, "MAX_TESTS", 10)
    some, again = (agreement(one, "trak", two, "trak") for _ in range(2))
    assert len(some.test_idx) == 10 and np.array_equal(some.test_idx, np.unique(some.test_idx))
    assert np.array_equal(some.test_idx, again.test_idx)
    np.testing.assert_allclose(some.rank_correlation, whole.rank_correlation[some.test_idx])
    assert np.array_equal(some.shared_proponents, whole.shared_proponents[some.test_idx])
    assert some.mean_proponents == whole.mean_proponents, "top lists are compared for every test example"


def test_fewer_test_examples_are_looked_at_where_rows_are_long(pair, monkeypatch):
    one, two = pair
    monkeypatch.setattr(compare, "MAX_NUMBERS", 120 * 15)
    monkeypatch.setattr(compare, "FEWEST_TESTS", 5)
    assert len(agreement(one, "trak", two, "trak").test_idx) == 15
    monkeypatch.setattr(compare, "MAX_NUMBERS", 1)
    assert len(agreement(one, "trak", two, "trak").test_idx) == 5


def test_the_least_agreed_on_come_first_and_undefined_ones_never(pair):
    one, two = pair
    found = agreement(one, "trak", two, "trak")
    assert found.worst(5) == np.argsort(found.rank_correlation)[:5].tolist()
    broken = dataclasses.replace(found, rank_correlation=np.array([math.nan, 0.5, 0.1]))
    assert broken.worst(3) == [2, 1]
    nothing = dataclasses.replace(found, rank_correlation=np.array([math.nan]))
    assert nothing.mean_correlation is None and nothing.worst(3) == []
    assert nothing.in_words == "in ways that cannot be compared"


def test_lds_of_both_sides_stands_beside(pair):
    one, two = pair
    found = agreement(one, "grad_dot", two, "trak")
    np.testing.assert_array_equal(found.lds, one.lds("grad_dot").per_test)
    np.testing.assert_array_equal(found.other_lds, two.lds("trak").per_test)
    table = agreement_table(found)
    assert list(table["test_idx"]) == list(range(one.info.n_test))
    assert table["shared_of_20_proponents"].tolist() == found.shared_proponents.tolist()


def test_what_is_not_measured_is_said_to_be_so(pair, tmp_path):
    run_dir = shutil.copytree(pair[0].path, tmp_path / "one")
    with duckdb.connect(str(run_dir / "store.duckdb")) as store:
        store.execute("DELETE FROM lds_summary; UPDATE checkpoints SET test_accuracy = NULL")
    with open_run(run_dir) as unmeasured:
        table = metadata_side_by_side(pair[0], "trak", unmeasured, "trak").set_index("")
    assert table.loc["LDS (95% interval)", "first"].startswith(f"{pair[0].lds('trak').mean:.3f} (")
    assert table.loc["LDS (95% interval)", "second"] == "not measured"
    assert table.loc["test accuracy", "second"] == "not measured"
    assert table.loc["training examples"].tolist() == ["120", "120"]


def test_settings_that_differ_are_told_and_no_others(pair):
    one, two = pair
    table = differing_settings(one, two).set_index("setting")
    assert table.loc["seed"].tolist() == ["0", "1"]
    assert not {"checkpoints", "recipe", "task", "training: epochs", "dimension of features"} & set(table.index)
    assert differing_settings(one, one).empty


def test_runs_of_other_data_are_not_taken_for_the_same(pair, tmp_path):
    one, two = pair
    assert have_same_data(one, two) and have_same_data(one, one)
    shutil.copytree(one.path, tmp_path / "copy")
    with duckdb.connect(str(tmp_path / "copy" / "store.duckdb")) as connection:
        connection.execute("UPDATE meta SET value = '\"other\"' WHERE key = 'data_fingerprint'")
    with open_run(tmp_path / "copy") as copy:
        assert not have_same_data(one, copy)


@pytest.mark.parametrize("changed", [False, True])
def test_data_without_a_fingerprint_are_compared_themselves(pair, tmp_path, changed):
    shutil.copytree(pair[0].path, tmp_path / "copy")
    with duckdb.connect(str(tmp_path / "copy" / "store.duckdb")) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'data_fingerprint'")
        if changed:
            connection.execute("UPDATE examples SET label_name = 'x' WHERE idx = 3 AND split = 'train'")
    with open_run(tmp_path / "copy") as copy:
        assert have_same_data(pair[0], copy) is not changed


def test_unknown_methods_and_tests_are_refused(pair):
    one, two = pair
    with pytest.raises(NotInRunError, match="no scores of method 'nope'"):
        agreement(one, "trak", two, "nope")
    with pytest.raises(NotInRunError):
        rank_correlation(one, "trak", two, "trak", 40)


def test_provenance_tells_what_the_run_was_made_from(pair):
    one, _ = pair
    facts = metadata_table(one).set_index("what")["value"]
    assert facts["seed"] == "0" and facts["training examples"] == "120" and facts["checkpoints"] == "2"
    assert facts["fingerprint of the data"] == one.info.provenance["data_fingerprint"]
    assert "epochs 8" in facts["training"] and facts["duckdb"].startswith("2.")
    checkpoints = checkpoints_table(one)
    sha256s = one.rows("SELECT sha256 FROM checkpoints ORDER BY checkpoint_id")
    assert checkpoints["SHA-256 begins"].tolist() == [sha256[:12] for (sha256,) in sha256s]
    methods = methods_table(one).set_index("method")
    assert set(methods.index) == set(one.method_titles.values())
    assert "{" not in "".join(methods["settings"])


def test_sizes_are_those_of_the_files(pair):
    one, _ = pair
    table = sizes_table(one.path).set_index("part")
    store = one.path / "store.duckdb"
    assert table.loc["store: everything that pages show", "megabytes"] == pytest.approx(store.stat().st_size / 1e6)
    assert table.loc["checkpoints: the weights", "files"] == 2
    assert "building site" not in table.index
