"""Opens stores of older versions: each is upgraded on a copy, which is verified and then takes the place in one step.

Where the run may not be written, as on a read-only disk, the upgraded copy goes into a cache of this machine, and the
run stays as it is. Versions chain: each upgrade leads from one version to the next.
"""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from trak_core.errors import StorageError, StoreDamagedError, TrakCoreError
from trak_core.store.connection import is_disk_trouble, transaction
from trak_core.store.files import RunFiles, generation, held, replace_file, storage_errors
from trak_core.store.schema import SCHEMA_VERSION

PATIENCE_SECONDS = 300.0
"""How long another process may take for the same upgrade; then this one makes a copy of its own."""

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True)
class Upgrade:
    """How a store of one version becomes one of the next."""

    apply: Callable[[Connection], None]  # carries it out, inside a transaction
    renamed: Mapping[str, str] = field(default_factory=dict)  # tables that get another name, old to new
    # columns whose content it changes, by the old name of their table; all others must come out as they went in. An
    # empty set stands for a table that changes altogether.
    changed: Mapping[str, frozenset[str]] = field(default_factory=dict)


_TABLES_OF_5 = """
ALTER TABLE examples ADD COLUMN origin VARCHAR;
CREATE TABLE media(
    split VARCHAR, idx INTEGER, place INTEGER, kind VARCHAR, name VARCHAR, text VARCHAR, content BLOB, marks VARCHAR);
ALTER TABLE class_scores RENAME TO target_scores;
ALTER TABLE target_scores RENAME COLUMN asked_class TO target;
UPDATE target_scores SET target = target + 1;
ALTER TABLE class_lds RENAME TO target_lds;
ALTER TABLE target_lds RENAME COLUMN asked_class TO target;
UPDATE target_lds SET target = target + 1;
ALTER TABLE class_outcomes RENAME TO target_outcomes;
ALTER TABLE target_outcomes ALTER COLUMN model_outputs TYPE FLOAT[];
CREATE TABLE targets(test_idx INTEGER, target INTEGER, name VARCHAR);
ALTER TABLE suspects ADD COLUMN split VARCHAR;
UPDATE suspects SET split = 'train';
"""
_TARGETS = """
INSERT INTO targets
SELECT idx, 0, label_name FROM examples WHERE split = 'test' AND idx IN (SELECT test_idx FROM target_scores)
UNION ALL SELECT DISTINCT test_idx, target, (?::VARCHAR[])[target] FROM target_scores
ORDER BY 1, 2
"""
_WITHOUT_CLASSES = """
UPDATE examples SET label = NULL;
UPDATE predictions SET p_label = NULL, predicted = NULL, probabilities = NULL;
"""
_RENAMED = {
    "calibration_of_other_classes": "calibration_of_other_targets",
    "calibration_slope_of_other_classes": "calibration_slope_of_other_targets",
}
_KINDS = {"vocabulary": "vocabulary", "pixels": "pixels", "tokens": "word_ids", "pieces": "subword_tokens"}
"""Kinds of encodings, each of which had a key of its own."""


def upgrade_4(connection: Connection) -> None:
    """From version 4 to 5: classes become targets, and examples may have an origin and more media."""
    connection.execute(_TABLES_OF_5)
    rows = connection.execute("SELECT key, value FROM meta").fetchall()
    meta: dict[str, Any] = {key: json.loads(value) for key, value in rows}
    names = [str(name) for name in meta["class_names"]]
    connection.execute(_TARGETS, [names])
    # A single class has probabilities too; the one name of a task without classes is that of its model output.
    has_answers = connection.execute("SELECT 1 FROM predictions WHERE p_label IS NOT NULL LIMIT 1").fetchone()
    if len(names) == 1 and not has_answers:
        connection.execute(_WITHOUT_CLASSES)
    kept = next(({"kind": kind, **meta[key]} for key, kind in _KINDS.items() if meta.get(key)), None)
    connection.execute("DELETE FROM meta WHERE key IN (SELECT unnest(?::VARCHAR[]))", [[*_KINDS, "asked_classes"]])
    connection.execute("INSERT INTO meta VALUES ('encoding', ?)", [json.dumps(kept)])
    for before, after in _RENAMED.items():
        connection.execute("UPDATE meta SET key = ? WHERE key = ?", [after, before])


_TABLES_OF_6 = """
ALTER TABLE methods ADD COLUMN is_control BOOLEAN;
ALTER TABLE truths ADD COLUMN fixed_ceiling DOUBLE;
CREATE TABLE control_comparisons(
    method VARCHAR, control VARCHAR, difference DOUBLE, ci_low DOUBLE, ci_high DOUBLE, fixed_difference DOUBLE,
    fixed_low DOUBLE, fixed_high DOUBLE);
CREATE TABLE target_outcomes_by_seed(subset_id INTEGER, seed INTEGER, test_idx INTEGER, model_outputs FLOAT[]);
CREATE TABLE checkpoint_predictions(n_checkpoints INTEGER, subset_id INTEGER, test_idx INTEGER, predicted DOUBLE);
"""
_FIXED = ("lds_fixed", "fixed_low", "fixed_high", "fixed_ceiling")


def upgrade_5(connection: Connection) -> None:
    """From version 5 to 6: LDS at fixed class counts and controls, neither of which an older run has measured."""
    connection.execute(_TABLES_OF_6)
    for table in ("lds", "target_lds", "lds_summary", "truth_lds"):
        for column in _FIXED if table != "truth_lds" else _FIXED[:-1]:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} DOUBLE")


UPGRADES: dict[int, Upgrade] = {
    4: Upgrade(
        upgrade_4,
        renamed={"class_scores": "target_scores", "class_outcomes": "target_outcomes", "class_lds": "target_lds"},
        changed={
            "meta": frozenset(),
            # NULL where there are no classes.
            "examples": frozenset({"label"}),
            "predictions": frozenset({"p_label", "predicted", "probabilities"}),
            # Of another type or under another name.
            "class_scores": frozenset({"asked_class"}),
            "class_lds": frozenset({"asked_class"}),
            "class_outcomes": frozenset({"model_outputs"}),
        },
    ),
    5: Upgrade(upgrade_5, changed={"meta": frozenset({"value"})}),
}
"""By the version that an upgrade begins with."""


def can_be_upgraded(version: object) -> bool:
    """True for versions that are older than this program's and lead to it."""
    return isinstance(version, int) and version < SCHEMA_VERSION and version in UPGRADES


def upgraded_store(files: RunFiles) -> Path:
    """The store of a run in this program's version: in its own place, else in a cache where that cannot be written.

    Raises:
        StorageError: there is room for the upgraded store neither in the run nor in the cache.
        StoreDamagedError: the store does not hold what its version says, or not all of it came out as it went in; it
            stays as it was.
    """
    try:
        _upgrade(files.store, files.store)
    except StorageError as of_run:
        try:
            return _cached(files)
        except StorageError as of_cache:
            raise StorageError(
                f"run {files.run_dir.name!r} was made by an older version and cannot be upgraded: {of_run} A copy "
                f"failed too: {of_cache}"
            ) from of_cache
    return files.store


def _cached(files: RunFiles) -> Path:
    """The upgraded store of a run that cannot be written, in a directory that nobody else may write."""
    of_run = hashlib.sha256(str(files.run_dir.resolve()).encode()).hexdigest()[:16]
    content = hashlib.sha256(repr((generation(files.run_dir), SCHEMA_VERSION)).encode()).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"trak_core-{os.getuid()}"
    target = directory / f"{of_run}-{content}.duckdb"
    with storage_errors(target):
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise StorageError(f"{directory} belongs to somebody else; remove it, or set TMPDIR to another place.")
        _upgrade(files.store, target)
        for outdated in directory.glob(f"{of_run}-*.duckdb"):
            if outdated != target:
                outdated.unlink(missing_ok=True)  # of what was published before
    return target


def _upgrade(source: Path, target: Path) -> None:
    """Gives `target` the upgraded content of `source`, unless somebody else just did."""
    busy = StorageError(f"another process has been upgrading {target} for {PATIENCE_SECONDS:.0f} s.")
    with storage_errors(target), held(target.with_name(f".{target.name}.lock"), PATIENCE_SECONDS, busy):
        while not target.exists() or read_version(target) != SCHEMA_VERSION:
            replace_file(target, lambda temporary: _write(source, temporary))


def read_version(store: Path) -> Any:
    """The schema version that a store says it has; StoreDamagedError when it cannot be read."""
    with _refusing(store), duckdb.connect(str(store), read_only=True, config=_CAREFUL) as connection:
        return _version(connection)


_CAREFUL: dict[str, str | bool | int | float | list[str]] = {"enable_external_access": "false"}
"""A store that somebody sent may hold anything: nothing in it may read or write other files."""


def _version(connection: Connection) -> Any:
    found = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    return None if found is None else json.loads(found[0])


def _write(source: Path, temporary: Path) -> None:
    """Fills `temporary` with the upgraded content of `source`, anew where an older program publishes meanwhile."""
    copied = None
    while copied != (there := source.stat().st_mtime_ns):
        copied = there
        shutil.copyfile(source, temporary)
        with _refusing(source):
            version = read_version(temporary)
            while version != SCHEMA_VERSION:
                _one_version(source, temporary, UPGRADES[version])
                version += 1


def _one_version(source: Path, temporary: Path, upgrade: Upgrade) -> None:
    with duckdb.connect(str(temporary), config=_CAREFUL) as connection:
        if connection.execute("SELECT 1 FROM duckdb_views() WHERE NOT internal").fetchone():
            raise StoreDamagedError(f"{source} holds views, which no store of its version has; it was not changed.")
        before = _contents(connection, upgrade)
        with transaction(connection):
            upgrade.apply(connection)
            connection.execute("UPDATE meta SET value = (value::INTEGER + 1)::VARCHAR WHERE key = 'schema_version'")
        connection.execute("CHECKPOINT")
    with duckdb.connect(str(temporary), read_only=True, config=_CAREFUL) as connection:
        for (table, columns), expected in before.items():
            if _content(connection, upgrade.renamed.get(table, table), columns) != expected:
                raise StoreDamagedError(
                    f"{source} was not upgraded: what came out of table {table} is not what went in; restore it from a "
                    "copy. It was not changed."
                )


def _contents(connection: Connection, upgrade: Upgrade) -> dict[tuple[str, tuple[str, ...]], Any]:
    """What every table holds in the columns that stay as they are."""
    columns = connection.execute(
        "SELECT table_name, list(column_name ORDER BY column_index) FROM duckdb_columns() WHERE NOT internal "
        "GROUP BY table_name"
    ).fetchall()
    kept: dict[tuple[str, tuple[str, ...]], Any] = {}
    for table, names in columns:
        changed = upgrade.changed.get(table, None)
        if changed == frozenset():
            continue
        stays = tuple(name for name in names if changed is None or name not in changed)
        kept[table, stays] = _content(connection, table, stays)
    return kept


def _content(connection: Connection, table: str, columns: tuple[str, ...]) -> Any:
    """Number of rows and a digest of their content in some columns, whatever their order."""
    listed = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}"' for name in columns)
    quoted = table.replace('"', '""')
    return connection.execute(f'SELECT count(*), sum(hash({listed})) FROM "{quoted}"').fetchone()


@contextmanager
def _refusing(store: Path) -> Iterator[None]:
    """Turns what DuckDB says of a store that is not what its version says into one sentence."""
    try:
        yield
    except TrakCoreError:
        raise
    except (duckdb.Error, ValueError, TypeError, LookupError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, duckdb.Error) and is_disk_trouble(error):
            raise StorageError(f"{store} cannot be upgraded ({text}).") from error
        raise StoreDamagedError(
            f"{store} is not what a store of its version is ({text}); restore it from a copy, or delete the run's "
            "folder and give its build command again. It was not changed."
        ) from error
