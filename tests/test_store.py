"""The store: what is written is read back, and nothing half-written or damaged is ever shown."""

import fcntl
import json
import os
import shutil
import threading
from pathlib import Path

import duckdb
import numpy as np
import pytest

import trak_core as tc
from trak_core.errors import (
    InvalidSettingError,
    NotInRunError,
    RunBusyError,
    RunMismatchError,
    RunNotFoundError,
    RunNotReadyError,
    StorageError,
    StoreDamagedError,
    StoreVersionError,
)
from trak_core.store.files import RunFiles, generation, replace_file
from trak_core.store.progress import is_being_built
from trak_core.store.run import open_run
from trak_core.store.schema import ORDER_BY, SCHEMA_VERSION, Shape
from trak_core.store.writer import StoreWriter, build_lock
from trak_core.subjects import find_recipe

SHAPE = Shape(n_train=5, n_classes=2, proj_dim=3)
META = {
    "recipe": "none",
    "title": "Nothing",
    "modality": "image",
    "class_names": ["a", "b"],
    "proj_dim": 3,
    "method": "trak",
}


def write_run(files: RunFiles, scores: np.ndarray, features: np.ndarray) -> None:
    n_test = len(scores)
    with StoreWriter(files, SHAPE, "print") as writer:
        writer.write(
            "all",
            {
                "examples": {
                    "split": ["train"] * 5 + ["test"] * n_test,
                    "idx": [*range(5), *range(n_test)],
                    "label": [0, 1, 0, 1, 0] + [1] * n_test,
                    "label_name": ["a"] * (5 + n_test),
                },
                "methods": {"method": ["trak"], "title": ["TRAK"], "is_baseline": [False]},
                "scores": {"method": ["trak"] * n_test, "test_idx": range(n_test), "values": scores},
                "features": {
                    "checkpoint_id": [0] * 5,
                    "split": ["train"] * 5,
                    "idx": range(5),
                    "q": np.zeros(5),
                    "norm": np.ones(5),
                    "phi": features,
                },
            },
            META,
        )
        writer.publish()


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(tmp_path / "mine")


def test_scores_and_features_come_back_bit_by_bit(files):
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(2, 5)).astype(np.float32)
    features = generator.normal(size=(5, 3)).astype(np.float32)
    write_run(files, scores, features)
    with open_run(files.run_dir) as run:
        assert np.array_equal(run.scores("trak"), scores)
        table = run.arrow("SELECT phi FROM features ORDER BY idx")
        assert np.array_equal(np.array(table["phi"].to_pylist(), dtype=np.float32), features)


def test_proponents_and_opponents_are_the_ends_of_a_full_sort_ties_by_number(files):
    scores = np.array([[0.5, 2.0, -1.0, 2.0, -3.0]], dtype=np.float32)
    write_run(files, scores, np.zeros((5, 3), np.float32))
    with open_run(files.run_dir) as run:
        proponents, opponents = run.proponents(0, k=3), run.opponents(0, k=2)
    assert proponents["train_idx"].tolist() == [1, 3, 0]
    assert proponents["rank"].tolist() == [1, 2, 3]
    assert proponents["score"].tolist() == [2.0, 2.0, 0.5]
    assert proponents["label_name"].tolist() == ["b", "b", "a"]
    assert opponents["train_idx"].tolist() == [4, 2]


def test_a_block_that_fails_leaves_nothing_behind(files):
    with StoreWriter(files, SHAPE, "print") as writer:
        with pytest.raises(duckdb.Error):
            writer.write("bad", {"methods": {"method": ["a"], "title": ["A"]}, "scores": {"no_such_column": [1]}})
        assert not writer.has("bad")
        assert writer.columns("SELECT method FROM methods")["method"].tolist() == []
        writer.write("good", {"methods": {"method": ["a"], "title": ["A"]}})
        assert writer.has("good")


def test_a_working_store_goes_on_where_it_was_and_refuses_other_settings(files):
    with StoreWriter(files, SHAPE, "one") as writer:
        writer.write("block", {}, {"answer": 42})
    with StoreWriter(files, SHAPE, "one") as writer:
        assert writer.has("block")
        assert writer.meta("answer") == 42
    with pytest.raises(RunMismatchError, match="other settings"):
        StoreWriter(files, SHAPE, "two")


def test_a_published_store_holds_the_tables_of_the_contract_and_no_others(files):
    write_run(files, np.zeros((1, 5), np.float32), np.zeros((5, 3), np.float32))
    with open_run(files.run_dir) as run:
        tables = {name for (name,) in run.rows("SELECT table_name FROM duckdb_tables() WHERE database_name = 'store'")}
    assert tables == set(ORDER_BY)


def test_a_reader_keeps_its_snapshot_and_a_new_reader_sees_the_new_store(files):
    first, second = np.zeros((1, 5), np.float32), np.ones((1, 5), np.float32)
    write_run(files, first, np.zeros((5, 3), np.float32))
    with open_run(files.run_dir) as old:
        before = generation(files.run_dir)
        shutil.rmtree(files.build)
        write_run(files, second, np.zeros((5, 3), np.float32))
        assert generation(files.run_dir) != before == old.generation
        with open_run(files.run_dir) as new:
            assert np.array_equal(new.scores(), second)
            assert np.array_equal(old.scores(), first)


def test_a_failed_publication_leaves_the_published_store_as_it_was(files, monkeypatch):
    write_run(files, np.zeros((1, 5), np.float32), np.zeros((5, 3), np.float32))
    before = files.store.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with StoreWriter(files, SHAPE, "print") as writer:
        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(StorageError, match=r"disk is full; free some space, then give the same command again"):
            writer.publish()
    assert files.store.read_bytes() == before
    assert [path.name for path in files.run_dir.iterdir() if path.name.startswith(".")] == []


def test_replacing_a_file_is_all_or_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def broken(temporary: Path) -> None:
        temporary.write_text("half")
        raise ValueError

    with pytest.raises(ValueError):
        replace_file(path, broken)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_builds_of_one_run_are_refused(files, monkeypatch):
    monkeypatch.setattr("trak_core.store.writer.LOCK_PATIENCE_SECONDS", 0.1)
    with (
        build_lock(files),
        pytest.raises(RunBusyError, match="being built by another process"),
        build_lock(files),
    ):
        pass


def test_queries_can_neither_write_nor_leave_the_store(small_run, tmp_path):
    assert small_run.sql("SELECT count(*) FROM examples WHERE split = ?", params=["test"]).fetchall() == [(360,)]
    for query in (
        "INSERT INTO meta VALUES ('a', 'b')",
        "DELETE FROM scores",
        f"COPY meta TO '{tmp_path}/stolen.csv'",
        "SELECT * FROM read_csv('/etc/passwd')",
        f"ATTACH '{tmp_path}/other.duckdb'",
        "SET enable_external_access = true",
    ):
        with pytest.raises(duckdb.Error):
            small_run.rows(query)
    assert list(tmp_path.iterdir()) == []


def test_many_threads_can_ask_one_run(small_run):
    problems: list[Exception] = []

    def ask() -> None:
        try:
            for test_idx in range(20):
                assert len(small_run.proponents(test_idx)) == 20
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty", "another database"])
def test_a_damaged_store_is_refused_in_one_sentence(runs, damage):
    store = runs / "digits" / "store.duckdb"
    if damage == "garbage":
        store.write_bytes(os.urandom(100_000))
    elif damage == "truncated":
        store.write_bytes(store.read_bytes()[:300_000])
    elif damage == "empty":
        store.write_bytes(b"")
    else:
        store.unlink()
        duckdb.connect(str(store)).close()
    with pytest.raises(StoreDamagedError, match=r"store\.duckdb"):
        tc.open_run("digits")


def test_a_flipped_byte_in_a_block_is_damage_wherever_it_is_read(runs):
    """DuckDB reports a failed checksum with the base class of its errors."""
    store = runs / "digits" / "store.duckdb"
    content = bytearray(store.read_bytes())
    for place in range(300_000, len(content), 262_144):
        content[place] ^= 0xFF
    store.write_bytes(content)
    with pytest.raises(StoreDamagedError, match=r"store\.duckdb"), tc.open_run("digits") as run:
        for method in run.info.methods:
            run.scores(method)
        run.lds()
        run.proponents(0)


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM meta WHERE key = 'method'", "UPDATE meta SET value = '{' WHERE key = 'title'", "DROP TABLE examples"],
)
def test_a_store_that_contradicts_itself_is_damaged(runs, statement):
    with duckdb.connect(str(runs / "digits" / "store.duckdb")) as connection:
        connection.execute(statement)
    with pytest.raises(StoreDamagedError, match=r"contradicts itself|damaged"):
        tc.open_run("digits")
    assert tc.list_runs()[0].state == "damaged"


@pytest.mark.parametrize("damage", ["garbage", "truncated", "flipped"])
def test_a_damaged_working_store_is_told_from_a_full_disk(files, damage):
    with StoreWriter(files, SHAPE, "print") as writer:
        writer.write("block", {"scores": {"method": ["a"] * 900, "test_idx": range(900), "values": np.ones((900, 5))}})
    content = files.working_store.read_bytes()
    if damage == "garbage":
        content = os.urandom(len(content))
    elif damage == "truncated":
        content = content[: len(content) // 2]
    else:
        content = bytes(byte ^ 0xFF if place > 20_000 else byte for place, byte in enumerate(content))
    files.working_store.write_bytes(content)
    with pytest.raises(StoreDamagedError, match="delete the folder"), StoreWriter(files, SHAPE, "print") as writer:
        writer.arrays('SELECT "values" FROM scores', "values")


def test_a_store_of_another_version_is_refused_and_not_changed(runs):
    store = runs / "digits" / "store.duckdb"
    with duckdb.connect(str(store)) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    before = store.read_bytes()
    with pytest.raises(
        StoreVersionError, match=f"schema version 99, and this program reads version {SCHEMA_VERSION}; update"
    ):
        tc.open_run("digits")
    assert store.read_bytes() == before


def test_runs_are_found_by_name_and_by_path(runs):
    for where in ("digits", runs / "digits", str(runs / "digits")):
        with tc.open_run(where) as run:
            assert run.info.n_train == 1437
    with pytest.raises(RunNotFoundError, match=r"no run 'nope' \(there are: digits\)"):
        tc.open_run("nope")


def test_a_run_that_has_published_nothing_says_so(tmp_path):
    files = RunFiles(tmp_path / "young")
    StoreWriter(files, SHAPE, "print").__exit__()
    with pytest.raises(RunNotReadyError, match="nothing to show yet"):
        tc.open_run(files.run_dir)


def test_numbers_that_are_not_in_the_run_are_refused_with_what_is(small_run):
    with pytest.raises(NotInRunError, match="no test example 360 in run 'digits'; it has numbers 0 to 359"):
        small_run.proponents(360)
    with pytest.raises(NotInRunError, match="no test example -1"):
        small_run.proponents(-1)
    with pytest.raises(NotInRunError, match="'magic'; it has: trak, amount, embedding, grad_norm, input_similarity"):
        small_run.scores("magic")
    with pytest.raises(NotInRunError, match="no class 10"):
        small_run.target_of_class(0, 10)
    with pytest.raises(NotInRunError, match="test example 0 of run 'digits' has no target 11; it has: 0 "):
        small_run.score_row(0, target=11)
    with pytest.raises(NotInRunError, match="has no target 'cat'; it has: 0 "):
        small_run.score_row(0, target="cat")
    with pytest.raises(TypeError):
        small_run.proponents(3.9)
    with pytest.raises(InvalidSettingError, match="k=-5"):
        small_run.proponents(0, k=-5)
    with pytest.raises(NotInRunError, match=r"it explains the default target, '\d', only"):
        small_run.score_row(0, "random", (small_run.label("test", 0) + 1) % 10 + 1)


def test_looking_at_a_build_needs_no_right_to_write_and_disturbs_nobody(files):
    with build_lock(files):
        files.lock.chmod(0o444)
        assert is_being_built(files)
    looks = [is_being_built(files) for _ in range(50)]
    assert looks == [False] * 50
    with files.lock.open("rb") as first:
        fcntl.flock(first, fcntl.LOCK_SH)
        assert not is_being_built(files)


def test_listing_runs_shows_damaged_ones_too(runs):
    (runs / "broken").mkdir()
    (runs / "broken" / "store.duckdb").write_bytes(b"not a database")
    (runs / "no run").mkdir()
    summaries = {summary.name: summary for summary in tc.list_runs()}
    assert set(summaries) == {"broken", "digits"}
    assert summaries["broken"].state == "damaged"
    assert "damaged" in summaries["broken"].problem
    assert summaries["digits"].state == "ready"
    assert summaries["digits"].lds is not None


def test_provenance_tells_what_a_run_was_made_of(small_run):
    made = small_run.info.provenance
    assert json.loads(json.dumps(made))["training"] == find_recipe("digits").load().training_facts
    assert made["ridge"] > 0
    assert made["kernel"] == "exact, dual"
    assert set(made["versions"]) >= {"torch", "duckdb", "python"}
