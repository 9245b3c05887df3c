"""A Parquet file with mended labels: the same schema, metadata, row groups and packing."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trak_core.datasets.arrow_files import arrow_errors


def write_parquet(path: Path, to: Path, column: str, donors: Mapping[int, int], left_out: Collection[int]) -> None:
    """Writes a Parquet file anew, in which rows bear the labels of others and some rows are left out.

    Args:
        path: of the file.
        to: of the file to write.
        column: of the labels.
        donors: by the number of a row, from 1, that of the row whose label it gets.
        left_out: numbers of rows, from 1.

    Raises:
        InvalidDataError: the file is damaged.
        OSError: it cannot be written.
    """
    with arrow_errors(path), pq.ParquetFile(path) as file:
        metadata = file.metadata
        labels = file.read(columns=[column]).column(0)
        if pa.types.is_dictionary(labels.type):
            labels = labels.unify_dictionaries()
        source = np.arange(metadata.num_rows)
        for row, donor in donors.items():
            source[row - 1] = donor - 1
        labels = labels.take(pa.array(source))
        kept = np.ones(metadata.num_rows, dtype=bool)
        kept[[row - 1 for row in left_out]] = False
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
