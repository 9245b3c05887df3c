"""A Parquet file with mended labels: the same schema, metadata, row groups and packing."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trak_core.datasets.arrow_files import arrow_errors, read_columns


def read_labels(path: Path, column: str) -> pa.ChunkedArray:
    """The column of the labels of a Parquet file or Arrow stream, with one dictionary where it has any.

    Raises:
        InvalidDataError: the file is damaged.
    """
    (labels,) = read_columns(path, [column])
    return labels.unify_dictionaries() if pa.types.is_dictionary(labels.type) else labels


def write_parquet(path: Path, to: Path, column: str, labels: pa.ChunkedArray, left_out: Collection[int]) -> None:
    """Writes a Parquet file anew with other labels and without some rows.

    Args:
        path: of the file.
        to: of the file to write.
        column: of the labels.
        labels: of all rows of the file.
        left_out: numbers of rows, from 0.

    Raises:
        InvalidDataError: the file is damaged.
        OSError: it cannot be written.
    """
    with arrow_errors(path), pq.ParquetFile(path) as file:
        metadata = file.metadata
        kept = np.ones(metadata.num_rows, dtype=bool)
        kept[list(left_out)] = False
        start = 0
        with _writer(file, to) as writer:
            for number in range(metadata.num_row_groups):
                group = file.read_row_group(number)
                rows = slice(start, start + len(group))
                start = rows.stop
                place = group.schema.get_field_index(column)
                group = group.set_column(place, group.schema.field(place), labels.slice(rows.start, len(group)))
                group = group.filter(pa.array(kept[rows])) if not kept[rows].all() else group
                if len(group):
                    writer.write_table(group, row_group_size=len(group))


def _writer(file: pq.ParquetFile, to: Path) -> pq.ParquetWriter:
    """A writer that packs columns as the file does."""
    metadata = file.metadata
    group = metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    packed = {one.path_in_schema: "NONE" if one.compression == "UNCOMPRESSED" else one.compression for one in columns}
    with_dictionary = [one.path_in_schema for one in columns if one.has_dictionary_page]
    return pq.ParquetWriter(
        to,
        file.schema_arrow,
        version=metadata.format_version if metadata.format_version in ("1.0", "2.4", "2.6") else "2.6",
        compression=packed,
        use_dictionary=with_dictionary or False,
        write_statistics=[one.path_in_schema for one in columns if one.is_stats_set] or False,
        use_deprecated_int96_timestamps=any(one.physical_type == "INT96" for one in columns),
        store_schema=b"ARROW:schema" in (metadata.metadata or {}),
    )
