"""Runs of older schema versions, made again from the text that is kept of them in `tests/runs`.

`v4/digits.jsonl` is a run of 30 train and 10 test digits that version 4 built and measured, with verdicts, a what-if
and a retraining; `v4/prices.jsonl` is a regression that it saved from Python. A line is a row: its table and its values
in the order of the columns of `store.sql` or `reviews.sql`, which create the tables as version 4 did; blobs are base64.
`v5/digits.jsonl` is the same data, built and measured by version 5 with a verdict.
Of the rows of `topk` only proponents are kept: with so few train examples the opponents are the same, from the end.
"""

import base64
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from trak_core.store.files import RunFiles

__all__ = ["restore_run"]

RUNS = Path(__file__).parent / "runs"
OPPONENTS = """
INSERT INTO topk
SELECT method, test_idx, 'opponent', row_number() OVER (PARTITION BY method, test_idx ORDER BY score, train_idx),
    train_idx, score, standard_error
FROM topk
"""


def restore_run(version: int, name: str, runs_dir: Path) -> Path:
    """The directory of a run of an older version, written among the runs of a directory."""
    rows: dict[str, list[list[Any]]] = defaultdict(list)
    for line in (RUNS / f"v{version}" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        table, *values = json.loads(line)
        rows[table].append(values)
    files = RunFiles(runs_dir / name)
    files.checkpoints.mkdir(parents=True)
    for file_name, content in rows.pop("checkpoints"):
        (files.checkpoints / file_name).write_bytes(base64.b64decode(content))
    shape = rows.pop("shape")[0][0]
    for database, path in (("store", files.store), ("reviews", files.reviews)):
        own = {table.split(".")[1]: rows[table] for table in rows if table.startswith(f"{database}.")}
        if own:
            _fill(path, (RUNS / f"v{version}" / f"{database}.sql").read_text().format(**shape), own)
    return files.run_dir


def _fill(path: Path, tables: str, rows: dict[str, list[list[Any]]]) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute(tables)
        for table, of_table in rows.items():
            types = connection.execute(
                "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index",
                [table],
            ).fetchall()
            columns = {
                name: [_value(row[place], data_type) for row in of_table]
                for place, (name, data_type) in enumerate(types)
            }
            connection.register("restored", pa.table(columns))
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM restored")
            connection.unregister("restored")
            if table == "topk":
                connection.execute(OPPONENTS)


def _value(value: Any, data_type: str) -> Any:
    return base64.b64decode(value) if data_type == "BLOB" and value is not None else value
