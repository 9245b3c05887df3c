"""Features of train examples, block by block: in a DuckDB file that a later process goes on with, or in memory.

A block is some neighbouring rows of one checkpoint, written in one transaction together with the fingerprint of the
examples it was computed from. Nothing is ever changed once it is written. In the file long rows lie in several parts,
because DuckDB takes memory for 2,048 rows at a time, however few there are.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trak_core.errors import OutOfMemoryError, RunMismatchError, StoreDamagedError
from trak_core.store.connection import append_rows, database_errors, open_quietly, transaction

Array = NDArray[Any]
ALL = 2**31 - 1
_TABLES = """
CREATE TABLE settings(value VARCHAR);
CREATE TABLE blocks(checkpoint_id INTEGER, start INTEGER, digest VARCHAR, PRIMARY KEY (checkpoint_id, start));
CREATE TABLE examples(checkpoint_id INTEGER, idx INTEGER, q DOUBLE, norm DOUBLE, model_output DOUBLE);
CREATE TABLE features(checkpoint_id INTEGER, idx INTEGER, part INTEGER, phi {phi});
"""


@dataclass(frozen=True)
class FeatureBlock:
    """Rows of neighbouring examples."""

    start: int  # number of the first example
    rows: Array  # features `[n, width]`, float32 or float64
    q: Array  # weights `[n]`
    norm: Array  # gradient norms `[n]`
    model_output: Array  # f `[n]`
    digest: str  # fingerprint of the examples

    def __len__(self) -> int:
        return len(self.q)


class MemoryFeatures:
    """Blocks by checkpoint and first example, in memory."""

    in_memory = True

    def __init__(self) -> None:
        self._blocks: dict[int, dict[int, FeatureBlock]] = {}

    def digest(self, checkpoint_id: int, start: int) -> str | None:
        """The fingerprint of a block's examples; None when the block is not there."""
        block = self._blocks.get(checkpoint_id, {}).get(start)
        return None if block is None else block.digest

    def write(self, checkpoint_id: int, block: FeatureBlock) -> None:
        """Keeps a block."""
        self._blocks.setdefault(checkpoint_id, {})[block.start] = block

    def column(self, checkpoint_id: int, name: str, first: int = 0, after: int = ALL) -> Array:
        """One of q, norm and model_output, of examples `first` to `after`: `[after - first]`."""
        blocks = self._blocks[checkpoint_id]
        return np.concatenate([getattr(blocks[start], name) for start in sorted(blocks)])[first:after]

    def starts(self, checkpoint_id: int) -> list[int]:
        """First examples of all blocks, rising."""
        return sorted(self._blocks.get(checkpoint_id, {}))

    def rows(self, checkpoint_id: int, start: int) -> Array:
        """Rows of the block that begins with example `start`: `[n, width]`, not to be written to."""
        return self._blocks[checkpoint_id][start].rows

    def close(self) -> None:
        """Lets go of what is held."""
        self._blocks.clear()


class FileFeatures:
    """Blocks in a DuckDB file of its own, which is made if missing, with rows of some width, float32 or float64.

    `settings` are everything that features depend on, by name, as JSON can hold it.

    Raises:
        RunMismatchError: the file was made with other settings; the message names them.
        StorageError: the disk is full, read-only or failing.
        StoreDamagedError: the file is no feature store.
    """

    in_memory = False
    MEMORY_LIMIT = "256MB"
    PART = 2048
    """The most numbers of a row that lie together."""

    def __init__(self, path: Path, width: int, settings: dict[str, Any], is_double: bool = False) -> None:
        self.path = path
        self._width = width
        self._n_parts = -(-width // self.PART)
        self._part = -(-width // self._n_parts)
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = open_quietly(path)
            try:
                self._connection.execute(f"SET memory_limit = '{self.MEMORY_LIMIT}'")
                self._begin(settings, "DOUBLE" if is_double else "FLOAT")
            except BaseException:
                self._connection.close()
                raise

    def _begin(self, settings: dict[str, Any], number: str) -> None:
        tables = {name for (name,) in self._connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        if not tables:
            with transaction(self._connection):
                # The width is a checked integer and the type one of two words: nothing here comes from data.
                self._connection.execute(_TABLES.format(phi=f"{number}[{self._part:d}]"))
                self._connection.execute("INSERT INTO settings VALUES (?)", [json.dumps(settings)])
            return
        if not {"settings", "blocks", "examples", "features"} <= tables:
            raise StoreDamagedError(f"{self.path} holds other tables than features; choose another store.")
        found = json.loads(self._connection.execute("SELECT value FROM settings").fetchall()[0][0])
        # JSON turns tuples into lists and keys into texts; compare what both went through.
        wanted = json.loads(json.dumps(settings))
        other = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
        if other:
            now = [f"{name} was {_short(found.get(name))}, now {_short(wanted.get(name))}" for name in other]
            raise RunMismatchError(
                f"the features in {self.path} were made with other settings ({'; '.join(now)}). Give the settings that "
                "began them, choose another store, or delete that file."
            )

    def digest(self, checkpoint_id: int, start: int) -> str | None:
        """As in `MemoryFeatures`."""
        rows = self._fetch("SELECT digest FROM blocks WHERE checkpoint_id = ? AND start = ?", [checkpoint_id, start])
        return rows[0][0] if rows else None

    def _fetch(self, sql: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
        with self._errors():
            return self._connection.execute(sql, parameters).fetchall()

    def write(self, checkpoint_id: int, block: FeatureBlock) -> None:
        """As in `MemoryFeatures`."""
        n = len(block)
        idx = np.arange(block.start, block.start + n, dtype=np.int32)
        numbers = {name: getattr(block, name).astype(np.float64) for name in ("q", "norm", "model_output")}
        examples = pa.table({"checkpoint_id": np.full(n, checkpoint_id, dtype=np.int32), "idx": idx, **numbers})
        padded = np.zeros((n, self._n_parts * self._part), dtype=block.rows.dtype)
        padded[:, : self._width] = block.rows
        features = pa.table(
            {
                "checkpoint_id": np.full(n * self._n_parts, checkpoint_id, dtype=np.int32),
                "idx": np.repeat(idx, self._n_parts),
                "part": np.tile(np.arange(self._n_parts, dtype=np.int32), n),
                "phi": pa.FixedSizeListArray.from_arrays(pa.array(padded.reshape(-1)), self._part),
            }
        )
        with self._errors(), transaction(self._connection):
            append_rows(self._connection, "examples", examples)
            append_rows(self._connection, "features", features)
            self._connection.execute("INSERT INTO blocks VALUES (?, ?, ?)", [checkpoint_id, block.start, block.digest])

    def column(self, checkpoint_id: int, name: str, first: int = 0, after: int = ALL) -> Array:
        """As in `MemoryFeatures`."""
        with self._errors():
            columns = self._connection.execute(
                "SELECT q, norm, model_output FROM examples WHERE checkpoint_id = ? "
                "AND idx >= ? AND idx < ? ORDER BY idx",
                [checkpoint_id, first, after],
            ).fetchnumpy()
        return np.asarray(columns[name])

    def starts(self, checkpoint_id: int) -> list[int]:
        """As in `MemoryFeatures`."""
        rows = self._fetch("SELECT start FROM blocks WHERE checkpoint_id = ? ORDER BY 1", [checkpoint_id])
        return [start for (start,) in rows]

    def rows(self, checkpoint_id: int, start: int) -> Array:
        """As in `MemoryFeatures`."""
        with self._errors():
            table = self._connection.sql(
                "SELECT phi FROM features WHERE checkpoint_id = $checkpoint_id AND idx >= $start AND idx < coalesce("
                "(SELECT min(start) FROM blocks WHERE checkpoint_id = $checkpoint_id AND start > $start), 2147483647) "
                "ORDER BY idx, part",
                params={"checkpoint_id": checkpoint_id, "start": start},
            ).to_arrow_table()
        column = table["phi"].combine_chunks()
        return np.asarray(column.flatten().to_numpy()).reshape(-1, self._n_parts * self._part)[:, : self._width]

    def close(self) -> None:
        """As in `MemoryFeatures`."""
        self._connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        if_full = "free some space or fix the disk, then run the same again. Blocks that were finished are kept."
        with database_errors(self.path, if_full, "delete it and run the same again."):
            try:
                yield
            except duckdb.OutOfMemoryException as error:
                raise OutOfMemoryError(
                    f"{self.path}: a block of rows does not fit into the {self.MEMORY_LIMIT} that the store may use "
                    f"({str(error).splitlines()[0]}); use a smaller proj_dim, or a projection if there is none."
                ) from error


FeatureStore = MemoryFeatures | FileFeatures


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
