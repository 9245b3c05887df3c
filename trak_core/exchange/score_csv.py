"""Scores in CSV files: a matrix of numbers, with or without names of its columns and rows, or a row for each pair."""

import io
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trak_core.errors import EmptyDataError
from trak_core.exchange.score_tables import PAIR

DELIMITERS = (",", ";", "\t", " ")
LONGEST_LINE = 2**28
"""Bytes that one line may take: some ten million numbers."""


def read_csv(path: Path) -> NDArray[np.float32] | IO[bytes]:
    """The matrix of a file, `[rows, columns]`, or its table of pairs as Parquet; what is missing becomes NaN.

    The first line is names where it holds something else than numbers, or counts 0, 1, 2 as data frames do. A first
    column without a name beside others that have one holds names of rows.
    """
    with path.open(encoding="utf-8-sig") as file:
        first = file.readline().rstrip("\r\n")
    if not first.strip():
        raise EmptyDataError(f"{path} begins with an empty line; save the scores as one matrix.")
    delimiter = next((each for each in DELIMITERS if each in first), ",")
    cells = [cell.strip().strip('"') for cell in first.split(delimiter)]
    has_names, has_row_names = _is_header(cells), len(cells) > 1 and not cells[0]
    is_long = set(PAIR) <= set(cells)
    names = cells if is_long else [str(place) for place in range(len(cells))]
    kinds = {} if is_long else {name: pa.float64() for name in names[int(has_row_names) :]}
    table = pc.read_csv(
        path,
        read_options=pc.ReadOptions(column_names=names, skip_rows=int(has_names), block_size=LONGEST_LINE),
        parse_options=pc.ParseOptions(delimiter=delimiter),
        convert_options=pc.ConvertOptions(column_types=kinds, include_columns=None if is_long else list(kinds)),
    )
    if is_long:
        parquet = io.BytesIO()
        pq.write_table(table, parquet)
        parquet.seek(0)
        return parquet
    with np.errstate(over="ignore"):
        return np.stack([np.asarray(column, dtype=np.float32) for column in table.columns], axis=1)


def _is_header(cells: list[str]) -> bool:
    numbers = [_number(cell) for cell in cells]
    if not cells[0] and len(cells) > 1:
        return True
    return None in numbers or (len(cells) > 1 and numbers == list(range(len(cells))))


def _number(cell: str) -> Any:
    try:
        return float(cell)
    except ValueError:
        return None
