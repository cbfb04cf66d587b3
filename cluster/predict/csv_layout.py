"""Whether a CSV file of new rows begins with a header, and what its columns are where it does not."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import pyarrow as pa
import pyarrow.csv as pacsv

from cluster.predict.lots import RowFile
from cluster.predict.reading import Reading
from training.errors import DataError

Found = TypeVar("Found")

BLOCK_BYTES = 1 << 23  # no value may be longer


def names_without_header(file: RowFile, reading: Reading) -> list[str] | None:
    """Names of the columns of a file that has no header; None for one that has.

    Where the training table had a header, so has every file. Else new rows may come as they were written there, without
    the target, which nobody knows of them yet, or with a header of their own.

    Raises:
        DataError: no header, and another number of columns than those.
    """
    names = reading.data.names
    if names is None:
        return None
    first = _first_line(file, reading)
    if first is None:
        return list(names)
    if _is_header(first, file, reading):
        return None
    shorter = reading.names_of_new_rows
    for layout in (names, shorter):
        if len(layout) == len(first):
            return list(layout)
    left_out = [name for name in names if name not in shorter]
    without = f" (or {len(shorter)}, without {', '.join(left_out)})" if left_out else ""
    raise DataError(
        f"this package reads CSV without a header as {len(names)} columns: {', '.join(names)}{without}; "
        f"{file.path} has {len(first)}",
        "give these columns in this order, or a first line with the columns' names",
    )


def delimiter_of(file: RowFile, reading: Reading) -> str:
    """What separates the fields of a file."""
    is_tab = file.path.lower().endswith((".tsv", ".tsv.gz")) and "delimiter" not in reading.data.model_fields_set
    return "\t" if is_tab else reading.data.delimiter


def _is_header(first: list[str], file: RowFile, reading: Reading) -> bool:
    """Most of the names are enough: of the others it is then said that they are lacking."""
    renames = reading.data.rename
    named = {renames.get(text.strip(), text.strip()) for text in first}
    wanted = set(reading.wanted) - set(file.folders)
    return 2 * len(wanted & named) > len(wanted)


def _first_line(file: RowFile, reading: Reading) -> list[str] | None:
    """The fields of the first line; None where there is none."""
    # Read by Arrow, as the rows are: Python's reader refuses long fields, which a column of texts may hold.
    as_bytes = dict.fromkeys(_opened(file, reading, {}, lambda opened: opened.schema.names), pa.binary())
    batch = _opened(file, reading, as_bytes, lambda opened: next((one for one in opened if one.num_rows), None))
    return None if batch is None else [column[0].as_py().decode(errors="replace") for column in batch.columns]


def _opened(
    file: RowFile,
    reading: Reading,
    types: Mapping[str, pa.DataType],
    look: Callable[[pacsv.CSVStreamingReader], Found],
) -> Found:
    read = pacsv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, autogenerate_column_names=True)
    parse = pacsv.ParseOptions(
        delimiter=delimiter_of(file, reading), newlines_in_values=True, invalid_row_handler=lambda _: "skip"
    )
    with file.open() as (stream, _):
        return look(pacsv.open_csv(stream, read, parse, pacsv.ConvertOptions(column_types=types)))
