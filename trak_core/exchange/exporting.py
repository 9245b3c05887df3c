"""Tables of a run as files for other programs: scores, the strongest train examples, suspects, verdicts on labels."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import duckdb
import pyarrow as pa

from trak_core.errors import InvalidSettingError, NotInRunError, StorageError
from trak_core.store.connection import is_disk_trouble, open_quietly, quoted
from trak_core.store.files import check_new_file, replace_file
from trak_core.store.reviews import Reviews
from trak_core.store.run import Run
from trak_core.store.schema import TOP_K
from trak_core.views.review import data_fingerprint, suspect_signals, why_no_suspects
from trak_core.views.review_tables import verdict_table

Export = Literal["scores", "top", "suspects", "verdicts"]
EXPORTS: tuple[Export, ...] = get_args(Export)
FORMATS = {".parquet": "FORMAT parquet", ".csv": "FORMAT csv, HEADER true", ".json": "FORMAT json, ARRAY true"}
NUMBERS_AT_ONCE = 1 << 20

# Parameters: the method, the first test example and the one after the last, and, for "top", the length of each side.
_SCORES_QUERY = """
SELECT test_idx, unnest(range(len("values")))::INTEGER AS train_idx, method, unnest("values") AS score
FROM (FROM scores WHERE method = ? AND test_idx >= ? AND test_idx < ? ORDER BY test_idx)
"""
_TOP_QUERY = """
SELECT method, test_idx, test.label_name AS test_label, test.origin AS test_origin, side, rank, train_idx,
    train.label_name AS train_label, train.origin AS train_origin, score
FROM topk
JOIN examples test ON test.split = 'test' AND test.idx = test_idx
JOIN examples train ON train.split = 'train' AND train.idx = train_idx
WHERE method = ? AND test_idx >= ? AND test_idx < ? AND rank <= ?
ORDER BY test_idx, side DESC, rank
"""
# Parameter: the names of the classes.
_SUSPECTS_QUERY = """
SELECT signal, rank, train_idx, origin, label, label_name, suggested_label,
    ($1::VARCHAR[])[suggested_label + 1] AS suggested_label_name, suggested_confidence, score, is_likely
FROM suspects s JOIN examples e ON e.split = s.split AND e.idx = train_idx
WHERE s.split = 'train' ORDER BY signal, rank
"""


def export_table(
    run: Run, what: Export, path: Path | str, *, methods: Sequence[str] = (), k: int = 20, overwrite: bool = False
) -> int:
    """The number of rows written. The file is there in one step: whole, or as it was before.

    Args:
        run: to read.
        what: "scores", a row for each test example, train example and method; "top", the strongest train examples on
            both sides of every test example with labels and ranks; "suspects", the train examples by every signal, the
            most suspicious first; "verdicts", what stands of the label review.
        path: ends in .parquet, .csv or .json.
        methods: whose scores; all by default.
        k: length of each side of "top", 1 to 100.
        overwrite: replace a file that is there.

    Raises:
        InvalidSettingError: the path has another ending, is there already or has no folder, or `what` or `k` cannot
            be.
        NotInRunError: the run has no such method, no suspects, or no labels to judge.
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
    check_new_file(path, overwrite)
    chosen = [run.check_method(method) for method in methods] or list(run.info.methods)
    if what == "verdicts":
        rows = _verdicts(run)
    else:
        rows = _suspects(run) if what == "suspects" else _batches(run, what, chosen, k)
    return replace_file(path, lambda temporary: _copy(rows, temporary, form))


def _copy(rows: pa.RecordBatchReader, path: Path, form: str) -> int:
    """Writes rows batch by batch, so that a table may be larger than the memory, and counts them."""
    failures: list[BaseException] = []

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from rows
        except BaseException as error:  # DuckDB would tell of it in words of its own
            failures.append(error)
            raise

    with open_quietly() as connection:
        connection.register("rows_to_write", pa.RecordBatchReader.from_batches(rows.schema, batches()))
        copy = f"COPY (SELECT * FROM rows_to_write) TO '{quoted(path)}' ({form})"
        try:
            (count,) = connection.execute(copy).fetchall()[0]
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


def _suspects(run: Run) -> pa.RecordBatchReader:
    if not suspect_signals(run):
        raise NotInRunError(f"run {run.info.name!r} has no suspects: {why_no_suspects(run)}")
    return run.arrow(_SUSPECTS_QUERY, [list(run.info.class_names)]).to_reader()


def _verdicts(run: Run) -> pa.RecordBatchReader:
    if not run.info.has_classes:
        raise NotInRunError(f"run {run.info.name!r} has numbers as targets and no labels, so there are no verdicts.")
    table = verdict_table(run, Reviews(run.path, data_fingerprint(run)).read())
    return pa.Table.from_pandas(table, preserve_index=False).to_reader()


def _batches(run: Run, what: Export, methods: Sequence[str], k: int) -> pa.RecordBatchReader:
    query, further, per_test = (_SCORES_QUERY, [], run.info.n_train) if what == "scores" else (_TOP_QUERY, [k], 2 * k)
    step = max(1, NUMBERS_AT_ONCE // per_test)

    def batches() -> Iterator[pa.RecordBatch]:
        for method in methods:
            for start in range(0, run.info.n_test, step):
                yield from run.arrow(query, [method, start, start + step, *further]).to_batches()

    schema = run.arrow(query, [methods[0], 0, 0, *further]).schema
    return pa.RecordBatchReader.from_batches(schema, batches())
