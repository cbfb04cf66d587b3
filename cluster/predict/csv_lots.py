"""CSV files block by block. Values stay text, so that no block decides what the rows of another mean."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from cluster.predict.csv_layout import BLOCK_BYTES, delimiter_of, names_without_header
from cluster.predict.lots import BadRow, Lot, RowFile
from cluster.predict.reading import Columns, Reading
from training.data.sources.encoding import refuse_other_encodings
from training.data.sources.words import explained
from training.errors import DataError

HINT = "data.delimiter, data.names and data.missing of the package say how its rows are read"
_ERRORS = (pa.ArrowException, UnicodeDecodeError, OSError)


def csv_lots(file: RowFile, reading: Reading) -> Iterator[Lot]:
    """The rows of one file, about 8 MB of it at a time.

    Raises:
        DataError: no CSV, columns that are not there, not UTF-8, or a quote that is never closed.
    """
    names = None
    try:
        with explained(f"{file.path} cannot be read as CSV", HINT, _ERRORS, hides=False):
            names = names_without_header(file, reading)
            yield from _lots(file, reading, names)
    except DataError as error:
        if isinstance(error.__cause__, _ERRORS):  # the library does not say which byte it was
            refuse_other_encodings(file.filesystem, file.path, delimiter_of(file, reading), names is None)
        raise


def _lots(file: RowFile, reading: Reading, names: list[str] | None) -> Iterator[Lot]:
    ragged = _Ragged(first=2 if names is None else 1)
    head = _header(file, reading, names)
    columns = reading.columns([*head.names, *file.folders], file.path)
    # The last one tells of a quote that stays open.
    wanted = [name for name in head.names if name in columns.all or name == head.names[-1]]
    number, last = 0, b""

    def lot(table: pa.Table, numbers: np.ndarray, share: float) -> Lot:
        bad = ragged.taken(int(numbers[-1]) if len(numbers) else None)
        table = file.with_folders(table)
        return Lot(file.path, numbers, table.select(list(columns.model)), reading.kept(table, columns), bad, share)

    with file.open() as (stream, done):
        reader = _open(stream, file, reading, names, _convert(reading, head, wanted, columns), ragged)
        for batch in reader:
            if batch.num_rows:
                numbers = ragged.numbers(number, batch.num_rows)
                number, last = int(numbers[-1]) + 1, _bytes(batch.column(wanted.index(head.names[-1]))[-1])
                yield lot(pa.Table.from_batches([batch]), numbers, done())
    if ragged.found:
        yield lot(reader.schema.empty_table(), np.empty(0, dtype=np.int64), 1.0)
    if (b"\n" in last or b"\r" in last) and not _ends_with_quote(file):
        raise DataError(
            f'{file.path}: a quote (") that opens in row {number - 1} (the first is 0) is never closed, so the rows '
            "after it are lost",
            "close it, or double it where the sign itself is meant",
        )


def _header(file: RowFile, reading: Reading, names: list[str] | None) -> pa.Schema:
    """Names and guessed types of all columns, from the first block."""
    with file.open() as (stream, _):
        plain = pacsv.ConvertOptions(null_values=_missing(reading), strings_can_be_null=True)
        schema: pa.Schema = _open(stream, file, reading, names, plain, _Ragged(1)).schema
    return schema


def _open(
    stream: pa.NativeFile,
    file: RowFile,
    reading: Reading,
    names: list[str] | None,
    convert: pacsv.ConvertOptions,
    ragged: "_Ragged",
) -> pacsv.CSVStreamingReader:
    # In one thread: only so does Arrow tell the numbers of ragged rows.
    read = pacsv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, column_names=names)
    # Without newlines_in_values Arrow drops rows without a word where a quote stays open.
    delimiter = delimiter_of(file, reading)
    parse = pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=ragged)
    return pacsv.open_csv(stream, read, parse, convert)


def _convert(reading: Reading, head: pa.Schema, wanted: list[str], columns: Columns) -> pacsv.ConvertOptions:
    """All as text; but of a column of numbers that begins with true and false, these are 1 and 0 as in training."""
    data = reading.data
    flags = {
        column.name
        for column in head
        if pa.types.is_boolean(column.type)
        and data.kind_of(data.rename.get(column.name.strip(), column.name.strip())) == "numeric"
        and data.rename.get(column.name.strip(), column.name.strip()) not in data.cast
    }
    # What is only looked at need not be UTF-8.
    types = dict.fromkeys(flags, pa.bool_()) | {name: pa.binary() for name in wanted if name not in columns.all}
    return pacsv.ConvertOptions(
        null_values=_missing(reading),
        strings_can_be_null=False,  # markers become missing values later, where the model's columns are tidied
        column_types={name: types.get(name, pa.string()) for name in wanted},
        include_columns=wanted,
    )


def _missing(reading: Reading) -> list[str]:
    # A field may carry spaces around the marker, and Arrow compares the raw field.
    return [spaced for marker in reading.data.missing for spaced in (marker, f" {marker}", f"{marker} ")]


def _bytes(value: pa.Scalar) -> bytes:
    return value.as_py() if pa.types.is_binary(value.type) else str(value).encode()


def _ends_with_quote(file: RowFile) -> bool:
    end = b""
    with file.open() as (stream, _):
        while block := stream.read(1 << 20):
            end = (end + block).rstrip()[-1:]
    return end == b'"'


@dataclass
class _Ragged:
    """Rows with too many or too few fields. Arrow calls it; an exception in here would be lost."""

    first: int  # Arrow's number of the first row of data: it counts the header, and from 1
    found: list[BadRow] = field(default_factory=list)

    def __call__(self, row: pacsv.InvalidRow) -> str:
        reason = f"has {row.actual_columns} fields instead of {row.expected_columns}"
        self.found.append(BadRow(row.number - self.first, reason))
        return "skip"

    def numbers(self, first: int, count: int) -> np.ndarray:
        """Numbers of the next rows that were read, those of ragged rows left out."""
        skipped = [bad.number for bad in self.found if bad.number >= first]
        numbers = np.arange(first, first + count + len(skipped))
        return np.setdiff1d(numbers, skipped, assume_unique=True)[:count] if skipped else numbers

    def taken(self, last: int | None) -> tuple[BadRow, ...]:
        """Those before row `last` (None: all), which are then forgotten."""
        taken = tuple(bad for bad in self.found if last is None or bad.number < last)
        self.found = self.found[len(taken) :]
        return taken
