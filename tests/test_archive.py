"""A run as one file: it comes back as it went, and nothing else comes in."""

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import duckdb
import numpy as np
import pytest

from tests.tiny import SETTINGS, TINY
from trak_core.engine import build_run
from trak_core.errors import (
    InvalidSettingError,
    RunNotFoundError,
    StorageError,
    StoreDamagedError,
    StoreVersionError,
)
from trak_core.store import archive
from trak_core.store.archive import MANIFEST, export_run, import_run
from trak_core.store.files import RunFiles
from trak_core.store.review_file import ReviewFile
from trak_core.store.run import open_run
from trak_core.store.schema import ORDER_BY
from trak_core.subjects import RECIPES

ROOT = Path(__file__).resolve().parents[1]
VERDICT = (
    "INSERT INTO verdicts(verdict_id, train_idx, verdict, new_label, reviewer, note, reviewed_at) "
    "VALUES (?, ?, 'keep', NULL, 'a', '', now()::TIMESTAMP)"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    runs = tmp_path_factory.mktemp("tiny")
    RECIPES["tiny"] = TINY
    try:
        build_run(SETTINGS, "tiny", runs)
    finally:
        del RECIPES["tiny"]
    return runs / "tiny"


@pytest.fixture
def tiny(built, tmp_path):
    """A copy of the tiny run with a review, in a directory of runs that is its own."""
    copy = tmp_path / "from" / "tiny"
    shutil.copytree(built, copy)
    ReviewFile(copy).write(VERDICT, [(1, 17)])
    return copy


@pytest.fixture
def exported(tiny, tmp_path):
    return export_run(tiny, tmp_path / "tiny.zip")


@pytest.fixture
def there(tmp_path):
    """The directory of runs that files are imported into."""
    return tmp_path / "to"


def everything(run_dir: Path) -> dict[str, str]:
    """Every table of a run as one text."""
    with open_run(run_dir) as run:
        return {table: repr(run.rows(f"SELECT * FROM {table} ORDER BY ALL")) for table in ORDER_BY}


def rewritten(exported: Path, change) -> Path:
    """The archive with its members changed: `change` gets and gives name to content, the manifest included."""
    with zipfile.ZipFile(exported) as old:
        members = {name: old.read(name) for name in old.namelist()}
    members = change(members)
    path = exported.with_name("changed.zip")
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(zipfile.ZipInfo(name), content)
    return path


def listed(members: dict[str, bytes], **facts: object) -> dict[str, bytes]:
    """The members with a manifest that tells of them truly, as whoever means harm would write it."""
    manifest = json.loads(members[MANIFEST])
    manifest["files"] = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
        if name != MANIFEST
    }
    return members | {MANIFEST: json.dumps(manifest | facts).encode()}


def assert_refused(path: Path, there: Path, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        import_run(path, there)
    assert not there.exists() or list(there.iterdir()) == []


def test_what_comes_back_is_the_run_table_by_table_and_file_by_file(tiny, exported, there):
    back = import_run(exported, there)
    assert back == there / "tiny"
    assert everything(back) == everything(tiny)
    with open_run(tiny) as old, open_run(back) as new:
        for method in old.info.methods:
            assert np.array_equal(old.scores(method), new.scores(method))
    for name in ("store.duckdb", "checkpoints/model_0.safetensors", "checkpoints/model_1.safetensors"):
        assert (back / name).read_bytes() == (tiny / name).read_bytes()
    assert ReviewFile(back).rows("SELECT verdict_id, train_idx, verdict FROM verdicts") == [(1, 17, "keep")]


def test_leftovers_of_a_build_stay_at_home(tiny, tmp_path):
    RunFiles(tiny).build.mkdir()
    RunFiles(tiny).working_evidence.write_bytes(b"half")
    RunFiles(tiny).features.write_bytes(b"kept for later")
    with zipfile.ZipFile(export_run(tiny, tmp_path / "x.zip")) as packed:
        names = packed.namelist()
    assert sorted(names) == sorted(
        [
            "store.duckdb",
            *(f"checkpoints/{path.name}" for path in (tiny / "checkpoints").iterdir()),
            "reviews.duckdb",
            MANIFEST,
        ]
    )


def test_a_run_without_reviews_goes_and_comes_without_them(built, tmp_path, there):
    assert not (import_run(export_run(built, tmp_path / "x.zip"), there) / "reviews.duckdb").exists()


def test_the_same_run_gives_the_same_bytes(built, tmp_path):
    first, second = export_run(built, tmp_path / "1.zip"), export_run(built, tmp_path / "2.zip")
    assert first.read_bytes() == second.read_bytes()


def test_reviews_written_meanwhile_are_in_the_file_whole_or_not_at_all(tiny, tmp_path, there):
    ended = threading.Event()

    def review() -> None:
        for i in range(2, 10_000):
            if ended.is_set():
                return
            ReviewFile(tiny).write(VERDICT, [(2 * i, i), (2 * i + 1, i)])

    writer = threading.Thread(target=review)
    writer.start()
    try:
        for i in range(3):
            back = import_run(export_run(tiny, tmp_path / f"{i}.zip"), there, f"copy-{i}")
            (n_rows,) = ReviewFile(back).rows("SELECT count(*) FROM verdicts")[0]
            assert n_rows % 2 == 1  # the first one, and pairs
    finally:
        ended.set()
        writer.join()


def test_a_file_that_is_there_is_replaced_only_when_told(tiny, exported):
    before = exported.read_bytes()
    with pytest.raises(InvalidSettingError, match="is there already and was not changed; give --force or another name"):
        export_run(tiny, exported)
    assert exported.read_bytes() == before
    ReviewFile(tiny).write(VERDICT, [(2, 3)])
    assert export_run(tiny, exported, force=True).read_bytes() != before


@pytest.mark.parametrize(
    ("target", "message"), [(".", "is a folder; name the file"), ("nowhere/x.zip", "there is no folder")]
)
def test_a_target_that_cannot_be_is_an_input_error(tiny, tmp_path, target, message):
    with pytest.raises(InvalidSettingError, match=message):
        export_run(tiny, tmp_path / target)


def test_a_checkpoint_that_is_not_the_one_scored_with_is_not_exported(tiny, tmp_path):
    RunFiles(tiny).checkpoint(1).write_bytes(b"other weights")
    with pytest.raises(StoreDamagedError, match="checkpoint 1 of run 'tiny' has other content"):
        export_run(tiny, tmp_path / "x.zip")
    RunFiles(tiny).checkpoint(1).unlink()
    with pytest.raises(StoreDamagedError, match="checkpoint 1 of run 'tiny' is missing"):
        export_run(tiny, tmp_path / "x.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["from"]


def test_a_run_deleted_while_it_is_exported_says_so_and_leaves_nothing(tiny, tmp_path, monkeypatch):
    pack = archive._pack

    def pack_once(packed, name, source):
        found = pack(packed, name, source)
        shutil.rmtree(tiny, ignore_errors=True)
        return found

    monkeypatch.setattr(archive, "_pack", pack_once)
    with pytest.raises(RunNotFoundError, match="was moved or deleted while it was being exported"):
        export_run(tiny, tmp_path / "x.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["from"]


def test_a_full_disk_is_told_and_leaves_nothing(tiny, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "_copy", full)
    with pytest.raises(StorageError, match="the disk is full"):
        export_run(tiny, tmp_path / "x.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["from"]


def test_a_file_that_may_not_grow_is_told_and_leaves_nothing(tiny, tmp_path):
    code = (
        "import resource; from pathlib import Path; from trak_core.store.archive import export_run\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"export_run(Path({str(tiny)!r}), Path({str(tmp_path / 'x.zip')!r}))"
    )
    died = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "StorageError" in died.stderr and "the file may not grow any further" in died.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["from"]


def test_a_full_disk_on_the_way_in_leaves_nothing(exported, there, monkeypatch):
    class Full:
        free = 10

    monkeypatch.setattr(archive.shutil, "disk_usage", lambda _: Full)
    assert_refused(exported, there, StorageError, "has no room for the")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.undo()
    monkeypatch.setattr(archive, "_copy", full)
    assert_refused(exported, there, StorageError, "the disk is full")


def test_a_name_that_is_taken_or_will_not_do_is_refused(exported, there):
    import_run(exported, there)
    with pytest.raises(InvalidSettingError, match="there is a run 'tiny' already; give this one another name"):
        import_run(exported, there)
    with pytest.raises(InvalidSettingError, match=r"run name '\.\./up' will not do"):
        import_run(exported, there, "../up")
    assert import_run(exported, there, "other").name == "other"
    assert sorted(path.name for path in there.iterdir()) == ["other", "tiny"]


def test_a_file_cut_short_anywhere_is_refused(exported, there):
    whole = exported.read_bytes()
    cut = exported.with_name("cut.zip")
    for share in (0.0, 0.01, 0.3, 0.9, 0.999):
        cut.write_bytes(whole[: int(share * len(whole))])
        assert_refused(cut, there, StoreDamagedError, "is no exported run, or it is damaged")


def test_a_file_with_changed_bytes_is_refused_or_means_the_same(exported, there):
    whole, changed = bytearray(exported.read_bytes()), exported.with_name("changed.zip")
    generator = np.random.default_rng(0)
    places = [*generator.integers(len(whole), size=20), *(len(whole) - generator.integers(1, 1500, size=40))]
    refused = 0
    for place in places:
        other = bytearray(whole)
        other[place] ^= 0xFF
        changed.write_bytes(other)
        try:
            shutil.rmtree(import_run(changed, there))
        except (StoreDamagedError, StoreVersionError, InvalidSettingError):
            refused += 1
        assert not there.exists() or list(there.iterdir()) == []
    assert refused >= 40  # what is left are dates and attributes, which say nothing of the run


def test_a_changed_store_is_refused_by_its_sum(exported, there):
    def change(members):
        return members | {"store.duckdb": members["store.duckdb"][:-1] + bytes([members["store.duckdb"][-1] ^ 1])}

    assert_refused(rewritten(exported, change), there, StoreDamagedError, "store.duckdb has other content")


def test_a_damaged_store_with_a_true_sum_is_refused_when_it_is_opened(exported, there):
    def change(members):
        return listed(members | {"store.duckdb": b"junk" * 5000})

    assert_refused(rewritten(exported, change), there, StoreDamagedError, "what it holds cannot be opened")


def test_damaged_reviews_with_a_true_sum_are_refused(exported, there):
    def change(members):
        return listed(members | {"reviews.duckdb": b"junk" * 5000})

    assert_refused(rewritten(exported, change), there, StoreDamagedError, "what it holds cannot be opened")


def test_other_weights_with_a_true_sum_are_refused(exported, there):
    def change(members):
        return listed(members | {"checkpoints/model_0.safetensors": b"other"})

    assert_refused(rewritten(exported, change), there, StoreDamagedError, "checkpoint 0 of run 'tiny' has other")


def test_a_view_in_the_store_is_refused(tiny, exported, there, tmp_path):
    store = tmp_path / "store.duckdb"
    shutil.copy(tiny / "store.duckdb", store)
    with duckdb.connect(str(store)) as connection:
        connection.execute("ALTER TABLE layout RENAME TO gone; CREATE VIEW layout AS SELECT * FROM gone")

    def change(members):
        return listed(members | {"store.duckdb": store.read_bytes()})

    assert_refused(rewritten(exported, change), there, StoreDamagedError, "other tables than a run")


@pytest.mark.parametrize(
    "name",
    [
        "../outside.txt",
        "/tmp/outside.txt",
        "checkpoints/../../outside.safetensors",
        "checkpoints\\..\\outside",
        "checkpoints/model_0.safetensors/x",
        "build/working.duckdb",
        "checkpoints/model_0.pickle",
        "extra.txt",
        "checkpoints/",
    ],
)
def test_members_that_no_run_has_are_refused(exported, there, name):
    changed = rewritten(exported, lambda members: listed(members | {name: b"x"}))
    assert_refused(changed, there, StoreDamagedError, "which no run has")
    assert not (there.parent / "outside.txt").exists()


def test_a_link_is_refused(exported, there):
    with zipfile.ZipFile(exported) as old:
        members = {name: old.read(name) for name in old.namelist()}
    path = exported.with_name("link.zip")
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            if name == "reviews.duckdb":
                info.external_attr, content = (stat.S_IFLNK | 0o777) << 16, b"/etc/passwd"
            new.writestr(info, content)
    assert_refused(path, there, StoreDamagedError, "is a link or encrypted")


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_that_could_unpack_without_end_are_refused(exported, there, packing):
    path = exported.with_name("packed.zip")
    with zipfile.ZipFile(exported) as old, zipfile.ZipFile(path, "w", packing) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert_refused(path, there, StoreDamagedError, "is packed in another way than deflate")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(exported, there):
    with zipfile.ZipFile(exported, "a") as again:
        again.writestr("store.duckdb", b"the other one")
    assert_refused(exported, there, StoreDamagedError, "it holds a name twice")


def test_a_file_that_unpacks_to_too_much_is_refused_before_anything_is_written(exported, there):
    bomb = exported.with_name("bomb.zip")
    zeros = bytes(8 << 20)
    with zipfile.ZipFile(exported) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        members = {name: old.read(name) for name in old.namelist()} | {"checkpoints/model_7.safetensors": zeros}
        for name, content in listed(members).items():
            new.writestr(name, content)
    assert bomb.stat().st_size < 4 << 20
    with pytest.raises(StoreDamagedError, match="it would unpack to"):
        import_run(bomb, there, max_bytes=8 << 20)
    assert not there.exists()


def test_a_member_that_lies_about_its_size_is_refused(exported, there):
    def change(members):
        changed = listed(members)
        manifest = json.loads(changed[MANIFEST])
        manifest["files"]["store.duckdb"]["bytes"] = 10
        return changed | {MANIFEST: json.dumps(manifest).encode()}

    assert_refused(rewritten(exported, change), there, StoreDamagedError, "store.duckdb has another size")
    # The directory of the archive lies as well: less is said than there is.
    whole = bytearray(exported.read_bytes())
    with zipfile.ZipFile(exported) as packed:
        size = packed.getinfo("store.duckdb").file_size
    place = whole.rindex(b"store.duckdb") - 46 + 24  # uncompressed size in the central directory
    assert int.from_bytes(whole[place : place + 4], "little") == size
    whole[place : place + 4] = (size // 2).to_bytes(4, "little")
    liar = exported.with_name("liar.zip")
    liar.write_bytes(whole)
    assert_refused(liar, there, StoreDamagedError, "another size|damaged")


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ({"version": 99}, StoreVersionError, "format version 99, and this program reads version 1; update"),
        ({"version": None}, StoreVersionError, "format version None"),
        ({"format": "something"}, StoreDamagedError, "is not that of a run"),
        ({"files": []}, StoreDamagedError, "is incomplete"),
        ({"files": {}}, StoreDamagedError, "are not those that its manifest.json lists"),
        ({"name": None}, StoreDamagedError, "are not those"),
        ({"name": "../up"}, InvalidSettingError, "will not do"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(exported, there, facts, error, message):
    def change(members):
        return members | {MANIFEST: json.dumps(json.loads(members[MANIFEST]) | facts).encode()}

    assert_refused(rewritten(exported, change), there, error, message)


def test_a_store_of_another_schema_is_refused_with_what_to_do(tiny, tmp_path, there):
    changed = export_run(tiny, tmp_path / "old.zip")
    store = tmp_path / "store.duckdb"
    shutil.copy(tiny / "store.duckdb", store)
    with duckdb.connect(str(store)) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    changed = rewritten(changed, lambda members: listed(members | {"store.duckdb": store.read_bytes()}))
    assert_refused(changed, there, StoreVersionError, "has schema version 99")


def test_a_missing_file_is_an_input_error(tmp_path, there):
    assert_refused(tmp_path / "nope.zip", there, InvalidSettingError, "cannot read .*nope.zip")


KILLED = """
import os, signal, sys
from pathlib import Path
from trak_core.store import archive
copy = archive._copy
calls = []
def deadly(*arguments, **keywords):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return copy(*arguments, **keywords)
archive._copy = deadly
"""


@pytest.mark.parametrize("way", ["out", "in"])
def test_a_kill_in_the_middle_leaves_no_run_and_no_file_and_the_next_try_clears_up(tiny, tmp_path, there, way):
    target = tmp_path / "killed.zip"
    if way == "in":
        export_run(tiny, target)
        act = f"archive.import_run(Path({str(target)!r}), Path({str(there)!r}))"
    else:
        act = f"archive.export_run(Path({str(tiny)!r}), Path({str(target)!r}))"
    died = subprocess.run([sys.executable, "-c", KILLED + act], cwd=ROOT)
    assert died.returncode == -signal.SIGKILL
    if way == "out":
        assert not target.exists()
        export_run(tiny, target)
        assert {path.name for path in tmp_path.iterdir()} == {"from", "killed.zip"}
    else:
        assert [path for path in there.iterdir() if not path.name.startswith(".")] == []
        import_run(target, there)
        assert [path.name for path in there.iterdir()] == ["tiny"]


def test_an_import_that_is_under_way_is_not_taken_for_a_leftover(exported, there, monkeypatch):
    check = archive._check_run

    def while_another_comes(run_dir, members):
        if run_dir.name == "first":
            import_run(exported, there, "second")
        check(run_dir, members)

    monkeypatch.setattr(archive, "_check_run", while_another_comes)
    import_run(exported, there, "first")
    assert sorted(path.name for path in there.iterdir()) == ["first", "second"]


def test_of_two_imports_under_one_name_one_comes_in(exported, there, monkeypatch):
    check = archive._check_run

    def while_another_is_quicker(run_dir, members):
        check(run_dir, members)
        shutil.copytree(run_dir, there / "tiny", dirs_exist_ok=True)

    monkeypatch.setattr(archive, "_check_run", while_another_is_quicker)
    with pytest.raises(InvalidSettingError, match="there is a run 'tiny' already"):
        import_run(exported, there)
    assert [path.name for path in there.iterdir()] == ["tiny"]


@pytest.mark.slow
def test_the_commands_export_and_import(tiny, tmp_path, there):
    def trak(runs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "trak_core", *arguments],
            cwd=ROOT,
            env={**os.environ, "TRAK_RUNS_DIR": str(runs)},
            capture_output=True,
            text=True,
        )

    file = str(tmp_path / "x.zip")
    out = trak(tiny.parent, "export", "tiny", file)
    assert out.returncode == 0 and "Run 'tiny' is in" in out.stdout
    again = trak(tiny.parent, "export", "tiny", file)
    assert again.returncode == 2 and "is there already" in again.stderr and "Traceback" not in again.stderr
    assert trak(tiny.parent, "export", "tiny", file, "--force").returncode == 0
    back = trak(there, "import", file, "--name", "mine")
    assert back.returncode == 0 and (there / "mine" / "store.duckdb").exists()
    bad = trak(there, "import", str(tiny / "store.duckdb"))
    assert bad.returncode == 2 and "is no exported run" in bad.stderr and "Traceback" not in bad.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="everything may be written by root")
def test_a_directory_that_may_not_be_written_is_told(tiny, exported, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(StorageError, match="not permitted"):
        export_run(tiny, locked / "x.zip")
    with pytest.raises(StorageError, match="not permitted"):
        import_run(exported, locked)


def test_a_gigabyte_limit_is_generous_to_small_files_and_strict_to_large_ones():
    assert archive.default_limit(1000) == 1 << 30
    assert archive.default_limit(1 << 30) == 20 << 30
