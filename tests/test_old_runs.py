"""Runs of older versions: they open with all that people said of them, check out, and can be sent on."""

import json
import multiprocessing
import os
import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from torch import nn

import trak_core as tc
from tests.old_runs import restore_run
from tests.tiny import TINY, cut
from trak_core.engine import MeasureSettings, evidence_step, measure_run
from trak_core.engine.retraining import verify_what_if
from trak_core.engine.subject import read_build
from trak_core.errors import RunMismatchError, StorageError, StoreDamagedError, StoreVersionError
from trak_core.evidence.fixed_counts import group_counts
from trak_core.evidence.verification import verify
from trak_core.modalities import encoding_metadata, read_encoding
from trak_core.store import upgrade
from trak_core.store.archive import export_run, import_run
from trak_core.store.files import RunFiles
from trak_core.store.review_file import ReviewFile
from trak_core.store.reviews import Reviews
from trak_core.store.run import open_run
from trak_core.store.schema import SCHEMA_VERSION, Shape
from trak_core.store.what_ifs import WhatIfHistory
from trak_core.store.writer import StoreWriter, build_lock
from trak_core.subjects import RECIPES, Recipe, Subject
from trak_core.views.not_measured import why_no_fixed_lds
from trak_core.views.review import data_fingerprint

NAMES = [(4, "digits"), (4, "prices"), (5, "digits")]


@pytest.fixture(params=NAMES, ids=lambda of: f"{of[1]} of version {of[0]}")
def old(request, tmp_path):
    return restore_run(*request.param, tmp_path / "runs")


@pytest.fixture
def digits_5(tmp_path):
    return restore_run(5, "digits", tmp_path / "runs")


@pytest.fixture
def digits(tmp_path):
    return restore_run(4, "digits", tmp_path / "runs")


def test_a_run_of_an_older_version_checks_out(old):
    with open_run(old) as run:
        assert [(check.name, check.detail) for check in verify(run) if not check.ok] == []


def test_a_run_of_version_4_comes_with_its_verdicts_and_what_ifs(digits):
    with open_run(digits) as run:
        log = Reviews(digits, data_fingerprint(run)).read()
        asked = WhatIfHistory(digits).of_run(run.info.provenance["fingerprint"])
    assert [(v.train_idx, v.verdict, v.new_label, v.reviewer, v.note, v.is_undone) for v in log.verdicts] == [
        (3, "relabel", 5, "Ada", "looks like a five", False),
        (7, "keep", None, "Ada", "", False),
        (7, "exclude", None, "Ben", "a blot", False),
        (11, "unsure", None, "Ben", "", True),
    ]
    assert [(found.question.test_idx, found.question.removed) for found in asked] == [(2, (1, 4, 9))]


def test_a_run_of_an_older_version_can_be_sent_on(old, tmp_path):
    archive = export_run(old, tmp_path / "run.zip")
    there = import_run(archive, tmp_path / "elsewhere")
    with open_run(old) as before, open_run(there) as after:
        assert after.info == before.info
        np.testing.assert_array_equal(after.scores(), before.scores())
        assert [check.detail for check in verify(after) if not check.ok] == []


def content(path: Path) -> bytes:
    return RunFiles(path).store.read_bytes()


def version(path: Path) -> int:
    return int(upgrade.read_version(RunFiles(path).store))


def change(path: Path, statement: str) -> None:
    with duckdb.connect(str(RunFiles(path).store)) as connection:
        connection.execute(statement)


# --- what becomes of the tables -----------------------------------------------------------------------------


def test_classes_become_targets_and_every_number_stays(digits):
    with duckdb.connect(str(RunFiles(digits).store), read_only=True) as connection:
        labels = dict(connection.execute("SELECT idx, label FROM examples WHERE split = 'test'").fetchall())
        rows = connection.execute('SELECT test_idx, asked_class, "values" FROM class_scores').fetchall()
        lds = connection.execute("SELECT test_idx, asked_class, lds FROM class_lds").fetchall()
        outcomes = connection.execute("SELECT subset_id, test_idx, model_outputs FROM class_outcomes").fetchall()
    with open_run(digits) as run:
        assert version(digits) == SCHEMA_VERSION == 6
        for test_idx, asked, values in rows:
            assert run.score_row(test_idx, target=asked + 1).tolist() == list(values)
            assert run.score_row(test_idx, target=str(asked)).tolist() == list(values)
        assert {(t, c + 1): v for t, c, v in lds} == {
            (t, c): v for t, c, v in run.rows("SELECT test_idx, target, lds FROM target_lds")
        }
        kept = run.rows("SELECT subset_id, test_idx, model_outputs FROM target_outcomes")
        assert {row[:2]: list(row[2]) for row in kept} == {row[:2]: list(row[2]) for row in outcomes}
        for test_idx, label in labels.items():
            others = {c + 1: str(c) for c in range(10) if c != label}
            assert run.targets(test_idx) == {0: str(label), **others}
        assert run.rows("SELECT DISTINCT split FROM suspects") == [("train",)]
        assert run.rows("SELECT count(*) FROM examples WHERE origin IS NOT NULL") == [(0,)]
        assert run.rows("SELECT count(*) FROM media") == [(0,)]
        made = run.info.provenance
        assert made["encoding"] is None
        assert {"calibration_of_other_targets", "calibration_slope_of_other_targets"} <= made.keys()
        assert not {"pixels", "vocabulary", "asked_classes", "calibration_of_other_classes"} & made.keys()


def test_a_regression_has_no_labels_and_no_answers_in_classes(tmp_path):
    prices = restore_run(4, "prices", tmp_path)
    with open_run(prices) as run:
        assert run.rows("SELECT DISTINCT label FROM examples") == [(None,)]
        query = "SELECT DISTINCT p_label, predicted, probabilities FROM predictions"
        assert run.rows(query) == [(None, None, None)]
        assert run.targets(2) == {0: run.rows("SELECT label_name FROM examples WHERE split = 'test' AND idx = 2")[0][0]}


ENCODINGS = {
    "vocabulary": ("vocabulary", {"words": ["good", "bad"], "idf": [1.0, 2.0]}),
    "pixels": ("pixels", {"height": 8, "width": 8, "mean": [0.5], "deviation": [0.25]}),
    "tokens": ("word_ids", {"words": ["good", "bad"], "length": 7}),
    "pieces": ("subword_tokens", {"source": "tiny", "length": 7}),
}


@pytest.mark.parametrize("key", ENCODINGS)
def test_what_turns_new_examples_into_inputs_is_kept_under_its_kind(digits, key):
    kind, kept = ENCODINGS[key]
    change(digits, f"UPDATE meta SET value = '{json.dumps(kept)}' WHERE key = '{key}'")
    with open_run(digits) as run:
        assert run.info.provenance["encoding"] == {"kind": kind, **kept}
        found = read_encoding(run.info.provenance["encoding"])
    assert found is not None
    assert encoding_metadata(found) == {"kind": kind, **kept}


def test_reviews_of_version_4_are_upgraded_in_their_place_and_can_go_on(digits):
    before = ReviewFile(digits).path.stat().st_ino
    with open_run(digits) as run:
        reviews = Reviews(digits, data_fingerprint(run))
        reviews.record(12, "keep", "Cleo")
    assert [v.train_idx for v in reviews.read().verdicts] == [3, 7, 7, 11, 12]
    assert ReviewFile(digits).rows("SELECT DISTINCT split FROM verdicts") == [("train",)]
    assert ReviewFile(digits).path.stat().st_ino == before
    # A program of version 4 knows no split and goes on writing.
    columns = "verdict_id, train_idx, verdict, new_label, reviewer, note, reviewed_at, undoes, data_fingerprint"
    ReviewFile(digits).write(
        f"INSERT INTO verdicts({columns}) VALUES (7, 1, 'keep', NULL, 'Dan', '', now()::TIMESTAMP, NULL, ?)",
        [[run.info.provenance["data_fingerprint"]]],
    )
    assert reviews.read().verdicts[-1].train_idx == 1


def few() -> Subject:
    """What the digits of version 4 were built with."""
    tiny = TINY.load()
    train, test = cut(tiny.dataset.train, 30), cut(tiny.dataset.test, 10)
    return replace(
        tiny,
        dataset=replace(tiny.dataset, name="few", train=train, test=test),
        make_model=lambda: nn.Sequential(nn.Linear(64, 4), nn.GELU(), nn.Linear(4, 10)),
        training=replace(tiny.training, batch_size=10),
    )


def test_a_run_of_version_4_can_be_measured_and_asked_further(digits, monkeypatch):
    recipe = Recipe("few", "Few digits", "30 training and 10 test images.", few, 2, 4, 20, 2, 2)
    monkeypatch.setitem(RECIPES, "few", recipe)
    with open_run(digits) as run:
        _, subject = read_build(run)  # refuses a run that was built from other data or by other code
        known = WhatIfHistory(digits).of_run(run.info.provenance["fingerprint"])
        before = {method: run.scores(method) for method in run.info.methods}
    assert len(subject.dataset.train) == 30
    assert verify_what_if(digits, 2, [9, 4, 1], n_seeds=3) == known[0]
    assert verify_what_if(digits, 3, [1], n_seeds=2).n_pairs == 2
    change(digits, "UPDATE checkpoints SET log_sha256 = NULL")  # logs of training are not kept with it
    settings = MeasureSettings(methods=("nearest",), n_removal_tests=0, n_datamodel_subsets=0, n_truth_subsets=0)
    measure_run(digits, settings)
    with open_run(digits) as run:
        assert set(run.info.methods) == {*before, "nearest"}
        assert [check.detail for check in verify(run) if not check.ok] == []
        for method, scores in before.items():
            np.testing.assert_array_equal(run.scores(method), scores)


def test_what_version_5_did_not_measure_is_null_and_all_else_stays(digits_5):
    with duckdb.connect(str(RunFiles(digits_5).store), read_only=True) as connection:
        before = {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall()
            for table in ("lds", "target_lds", "lds_summary", "truth_lds", "truths", "methods")
        }
        assert len(before["truth_lds"]) > 0
    with open_run(digits_5) as run:
        assert version(digits_5) == SCHEMA_VERSION
        for table, rows in before.items():
            width = len(rows[0])
            now = run.rows(f"SELECT * FROM {table} ORDER BY ALL")
            assert [row[:width] for row in now] == rows
            assert {value for row in now for value in row[width:]} == {None}
        assert np.isnan(run.lds().fixed)
        assert "9 classes need 22 random halves, and there are 16" in why_no_fixed_lds(run)
        assert np.isnan(run.lds().fixed_per_test).all()
        assert run.control_comparisons().empty


def test_measuring_a_run_of_version_5_fills_in_what_it_lacks(digits_5, monkeypatch):
    """Of two classes, so that 16 halves are enough; scores, and LDS as it was, stay."""
    monkeypatch.setitem(RECIPES, "few", Recipe("few", "Few digits", "30 and 10.", few, 2, 4, 20, 2, 2))
    monkeypatch.setattr(evidence_step, "group_counts", lambda masks, classes: group_counts(masks, classes % 2))
    change(digits_5, "UPDATE checkpoints SET log_sha256 = NULL")  # logs of training are not kept with it
    with open_run(digits_5) as run:
        before = run.rows("SELECT method, test_idx, lds, ci_low FROM lds WHERE method = 'trak' ORDER BY ALL")
        scores, title = run.scores("trak"), run.info.title
    methods = ("same_class", "trak")
    measure_run(digits_5, MeasureSettings(methods, n_removal_tests=0, n_datamodel_subsets=0, n_truth_subsets=0))
    with open_run(digits_5) as run:
        assert run.info.title == title
        assert run.rows("SELECT method, test_idx, lds, ci_low FROM lds WHERE method = 'trak' ORDER BY ALL") == before
        np.testing.assert_array_equal(run.scores("trak"), scores)
        found = run.lds("trak")
        assert found.fixed_low <= found.fixed <= found.fixed_high
        assert np.isfinite(found.fixed_per_test).all()
        assert run.control_comparisons("trak")["control"].tolist() == ["same_class"]
        assert run.control_comparisons("same_class").empty
        assert run.rows("SELECT lds_fixed FROM lds_summary WHERE method = 'embedding'") == [(None,)]


# --- the old store is safe ----------------------------------------------------------------------------------


def test_the_old_store_stays_where_something_does_not_come_out_as_it_went_in(digits, monkeypatch):
    before = content(digits)

    def careless(connection: duckdb.DuckDBPyConnection) -> None:
        upgrade.upgrade_4(connection)
        connection.execute("UPDATE topk SET score = score + 1 WHERE rank = 1")

    monkeypatch.setitem(upgrade.UPGRADES, 4, replace(upgrade.UPGRADES[4], apply=careless))
    with pytest.raises(StoreDamagedError, match="what came out of table topk is not what went in"):
        open_run(digits)
    assert content(digits) == before
    assert [path.name for path in digits.glob("*.new*")] == []


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DROP TABLE class_lds", "class_lds"),
        ("ALTER TABLE suspects DROP COLUMN signal; CREATE TABLE targets(test_idx INTEGER)", "already exists"),
        ("UPDATE meta SET value = '[' WHERE key = 'class_names'", "not what a store of its version is"),
        ("DELETE FROM meta WHERE key = 'class_names'", "class_names"),
        ("DROP TABLE layout; CREATE VIEW layout AS SELECT * FROM read_csv('/etc/passwd')", "holds views"),
    ],
)
def test_a_store_that_is_not_what_it_says_is_refused_in_one_sentence_and_stays(digits, statement, words):
    change(digits, statement)
    before = content(digits)
    with pytest.raises(StoreDamagedError, match=words) as refused:
        open_run(digits)
    assert "\n" not in str(refused.value)
    assert content(digits) == before


def test_one_bad_run_stops_no_other_from_being_shown(digits, tmp_path, monkeypatch):
    runs = digits.parent
    monkeypatch.setenv("TRAK_RUNS_DIR", str(runs))
    for name, statement in {
        "newer": "UPDATE meta SET value = '99' WHERE key = 'schema_version'",
        "older": "UPDATE meta SET value = '2' WHERE key = 'schema_version'",
        "broken": "DROP TABLE class_scores",
    }.items():
        change(restore_run(4, name="digits", runs_dir=tmp_path / name).rename(runs / name), statement)
    said = {summary.name: (summary.can_open, summary.problem) for summary in tc.list_runs()}
    assert said["digits"] == (True, "")
    assert not any(said[name][0] for name in ("newer", "older", "broken"))
    assert "schema version 99, and this program reads version 6; update this program" in said["newer"][1]
    assert "build the run again" in said["older"][1]


def test_what_a_killed_upgrade_left_behind_does_no_harm(digits):
    leftover = digits / ".store.duckdb.new"
    leftover.write_bytes(content(digits)[:50_000])
    with open_run(digits) as run:
        assert run.info.n_test == 10
    assert not leftover.exists()


def _open(path: Path, barrier: "multiprocessing.synchronize.Barrier", said: "multiprocessing.Queue[object]") -> None:
    barrier.wait()
    try:
        with open_run(path) as run:
            said.put(float(run.scores().sum()))
    except Exception as error:
        said.put(repr(error))


@pytest.mark.slow
def test_processes_that_open_an_old_run_at_once_all_see_it_whole(digits):
    context = multiprocessing.get_context("spawn")
    barrier, said = context.Barrier(3), context.Queue()
    processes = [context.Process(target=_open, args=(digits, barrier, said)) for _ in range(3)]
    for process in processes:
        process.start()
    found = {said.get(timeout=120) for _ in processes}
    for process in processes:
        process.join()
    with open_run(digits) as run:
        assert found == {float(run.scores().sum())}


def test_unfinished_work_of_another_version_is_refused_and_kept(digits):
    files = RunFiles(digits)
    with build_lock(files), StoreWriter(files, Shape(30, 10, 4), "mine") as writer:
        writer.write("version", {}, {"schema_version": 4})
    with build_lock(files), pytest.raises(RunMismatchError, match="begun by another version of this program"):
        StoreWriter(files, Shape(30, 10, 4), "mine")
    assert files.working_store.exists()


# --- where the run cannot be written ------------------------------------------------------------------------


@pytest.fixture
def locked(digits, tmp_path, monkeypatch):
    """The old run in a folder where nothing may be written, and a cache of its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plain = upgrade.replace_file

    def refusing(path, write):
        if path.parent == digits:
            raise StorageError("cannot write there: the disk is read-only.")
        plain(path, write)

    monkeypatch.setattr(upgrade, "replace_file", refusing)
    return digits


def cached(tmp_path: Path) -> list[Path]:
    return list((tmp_path / f"trak_core-{os.getuid()}").glob("*.duckdb"))


def test_a_run_that_cannot_be_written_opens_from_a_cache(locked, tmp_path):
    before = content(locked)
    with open_run(locked) as run:
        assert [check.detail for check in verify(run) if not check.ok] == []
        assert run.store_file.parent == tmp_path / f"trak_core-{os.getuid()}"
        upgraded = run.store_file.stat()
    with open_run(locked) as run:
        assert run.store_file.stat() == upgraded
    assert content(locked) == before
    assert export_run(locked, tmp_path / "run.zip").exists()
    there = import_run(tmp_path / "run.zip", tmp_path / "elsewhere")
    assert version(there) == SCHEMA_VERSION


def test_the_cache_keeps_the_newest_store_of_a_run_only(locked, tmp_path):
    open_run(locked).close()
    change(locked, "UPDATE meta SET value = '\"Anew\"' WHERE key = 'title'")
    with open_run(locked) as run:
        assert run.info.title == "Anew"
    assert len(cached(tmp_path)) == 1


def test_a_cache_that_others_may_write_is_not_used(locked, tmp_path):
    directory = tmp_path / f"trak_core-{os.getuid()}"
    directory.mkdir()
    directory.chmod(0o777)
    with pytest.raises(StorageError, match=r"cannot be upgraded: .*read-only.* A copy failed too: .*somebody else"):
        open_run(locked)


def test_reviews_that_cannot_be_written_can_be_read(digits, monkeypatch):
    before = ReviewFile(digits).path.read_bytes()
    writable = os.access
    monkeypatch.setattr("os.access", lambda path, mode: path != digits and writable(path, mode))
    assert ReviewFile(digits).rows("SELECT count(*) FROM verdicts WHERE split = 'train'") == [(5,)]
    assert ReviewFile(digits).path.read_bytes() == before


# --- versions to come ---------------------------------------------------------------------------------------


def test_versions_chain(digits, monkeypatch):
    def later(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("ALTER TABLE targets RENAME TO questions")

    monkeypatch.setitem(upgrade.UPGRADES, 6, upgrade.Upgrade(later, {"targets": "questions"}, {"meta": frozenset()}))
    monkeypatch.setattr(upgrade, "SCHEMA_VERSION", 7)
    upgrade.upgraded_store(RunFiles(digits))
    assert version(digits) == 7
    with duckdb.connect(str(RunFiles(digits).store), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM questions").fetchone() == (100,)


def test_a_newer_version_is_refused(digits):
    open_run(digits).close()
    shutil.copy(RunFiles(digits).store, digits / "copy")
    change(digits, "UPDATE meta SET value = '7' WHERE key = 'schema_version'")
    with pytest.raises(StoreVersionError, match="schema version 7, and this program reads version 6; update"):
        open_run(digits)
