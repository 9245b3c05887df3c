"""Tables of a run as files for other programs: all scores, the strongest train examples, and verdicts on labels."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import duckdb
import numpy as np
import pyarrow as pa

from trak_core.errors import InvalidSettingError, NotInRunError, StorageError
from trak_core.store.arrow import from_arrow_arrays
from trak_core.store.connection import is_disk_trouble, open_quietly
from trak_core.store.files import replace_file
from trak_core.store.reviews import Reviews
from trak_core.store.run import Run
from trak_core.store.schema import TOP_K
from trak_core.views.review import data_fingerprint
from trak_core.views.review_tables import verdict_table

Export = Literal["scores", "top", "verdicts"]
EXPORTS: tuple[Export, ...] = get_args(Export)
FORMATS = {".parquet": "FORMAT parquet", ".csv": "FORMAT csv, HEADER true", ".json": "FORMAT json, ARRAY true"}
NUMBERS_AT_ONCE = 1 << 20

_SCORES = pa.schema(
    [("test_idx", pa.int32()), ("train_idx", pa.int32()), ("method", pa.string()), ("score", pa.float32())]
)
_TOP_QUERY = """
SELECT method, test_idx, test.label_name AS test_label, side, rank, train_idx, train.label_name AS train_label, score
FROM topk
JOIN examples test ON test.split = 'test' AND test.idx = test_idx
JOIN examples train ON train.split = 'train' AND train.idx = train_idx
WHERE method = ? AND test_idx >= ? AND test_idx < ? AND rank <= ?
ORDER BY test_idx, side DESC, rank
"""


@dataclass(frozen=True)
class _Rows:
    """Rows that come in batches, so that a table may be larger than the memory."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def export_table(
    run: Run, what: Export, path: Path | str, *, methods: Sequence[str] = (), k: int = 20, overwrite: bool = False
) -> int:
    """The number of rows written. The file is there in one step: whole, or as it was before.

    Args:
        run: to read.
        what: "scores", a row for each test example, train example and method; "top", the strongest train examples on
            both sides of every test example with labels and ranks; "verdicts", what stands of the label review.
        path: ends in .parquet, .csv or .json.
        methods: whose scores; all by default.
        k: length of each side of "top", 1 to 100.
        overwrite: replace a file that is there.

    Raises:
        InvalidSettingError: the path has another ending, is there already or has no folder, or `what` or `k` cannot
            be.
        NotInRunError: the run has no such method, or no labels to judge.
        StorageError: the file cannot be written, because the disk is full, say; what was there stays.
    """
    path = Path(path)
    if what not in EXPORTS:
        raise InvalidSettingError(f"what={what!r}; it must be one of: {', '.join(EXPORTS)}.")
    if not 1 <= k <= TOP_K:
        raise InvalidSettingError(f"k={k}; a run keeps the strongest {TOP_K} of each side, so give 1 to {TOP_K}.")
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise InvalidSettingError(f"{path} ends in {path.suffix!r}; name a file that ends in {', '.join(FORMATS)}.")
    if path.is_dir() or not path.parent.is_dir():
        raise InvalidSettingError(f"{path} cannot be a file: {_why(path)}; name a file in a folder that is there.")
    if path.exists() and not overwrite:
        raise InvalidSettingError(f"{path} is there already and was not changed; give --force or another name.")
    if not os.access(path.parent, os.W_OK):
        raise StorageError(f"cannot write {path}: writing there is not permitted; choose another place.")
    chosen = [run.check_method(method) for method in methods] or list(run.info.methods)
    rows = _verdicts(run) if what == "verdicts" else _batches(run, what, chosen, k)
    written = 0

    def write(temporary: Path) -> None:
        nonlocal written
        written = _copy(rows, temporary, form)

    replace_file(path, write)
    return written


def _why(path: Path) -> str:
    return "it is a folder" if path.is_dir() else f"there is no folder {path.parent}"


def _copy(rows: _Rows, path: Path, form: str) -> int:
    """Writes rows batch by batch, and counts them; the form is one of `FORMATS`."""
    failures: list[BaseException] = []

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from rows.batches
        except BaseException as error:  # DuckDB would tell of it in words of its own
            failures.append(error)
            raise

    with open_quietly() as connection:
        connection.register("rows_to_write", pa.RecordBatchReader.from_batches(rows.schema, batches()))
        target = str(path).replace("'", "''")  # COPY takes no parameters
        try:
            (count,) = connection.execute(f"COPY (SELECT * FROM rows_to_write) TO '{target}' ({form})").fetchall()[0]
        except duckdb.Error as error:
            if failures:
                raise failures[0] from error
            if not is_disk_trouble(error):
                raise
            raise StorageError(
                f"cannot write {path} ({str(error).splitlines()[0]}); free some space, then give the same command "
                "again."
            ) from error
    return int(count)


def _verdicts(run: Run) -> _Rows:
    if not run.info.has_classes:
        raise NotInRunError(f"run {run.info.name!r} has numbers as targets and no labels, so there are no verdicts.")
    table = verdict_table(run, Reviews(run.path, data_fingerprint(run)).read())
    rows = pa.Table.from_pandas(table, preserve_index=False)
    return _Rows(rows.schema, iter(rows.to_batches()))


def _batches(run: Run, what: Export, methods: Sequence[str], k: int) -> _Rows:
    info = run.info
    per_test = info.n_train if what == "scores" else 2 * k
    step = max(1, NUMBERS_AT_ONCE // per_test)
    read: Callable[[str, int, int], pa.Table] = (
        (lambda method, start, stop: _scores(run, method, start, stop))
        if what == "scores"
        else (lambda method, start, stop: run.arrow(_TOP_QUERY, [method, start, stop, k]))
    )
    schema = _SCORES if what == "scores" else read(methods[0], 0, 0).schema

    def batches() -> Iterator[pa.RecordBatch]:
        for method in methods:
            for start in range(0, info.n_test, step):
                yield from read(method, start, start + step).to_batches()

    return _Rows(schema, batches())


def _scores(run: Run, method: str, start: int, stop: int) -> pa.Table:
    table = run.arrow(
        'SELECT test_idx, "values" FROM scores WHERE method = ? AND test_idx >= ? AND test_idx < ? ORDER BY test_idx',
        [method, start, stop],
    )
    rows = from_arrow_arrays(table, "values")
    n, n_train = rows.shape
    columns = {
        "test_idx": np.repeat(table["test_idx"].to_numpy(), n_train),
        "train_idx": np.tile(np.arange(n_train, dtype=np.int32), n),
        "method": pa.array([method]).take(pa.array(np.zeros(n * n_train, dtype=np.int64))),
        "score": rows.reshape(-1),
    }
    return pa.table(columns, schema=_SCORES)
