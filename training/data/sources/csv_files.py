"""CSV files: Arrow's parallel reader, and a careful second reading of a file with ragged rows."""

import csv
import io
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.fs as pafs

from training.data.sources.draft import How, is_text
from training.data.sources.encoding import refuse_other_encodings
from training.data.sources.piece import Piece
from training.data.sources.words import explained, refuse_repeated
from training.errors import DataError

HINT = "data.format, data.delimiter, data.names and data.missing say how a file is read"
# A value longer than a block cannot be read; the second reading allows for long ones.
CAREFUL_BLOCK_BYTES = 1 << 26
MAX_TOLD_CHARS = 80
READING_ERRORS = (pa.ArrowException, UnicodeDecodeError, OSError)


@dataclass(frozen=True)
class CsvFile:
    """One CSV file and how to read it."""

    filesystem: pafs.FileSystem
    path: str
    how: How

    def read(self, as_text: frozenset[str] = frozenset()) -> Piece:
        """The file's rows; those with too many or too few fields are kept apart.

        Args:
            as_text: columns to keep as written, besides those that the config says of.

        Raises:
            DataError: no CSV, no row that fits the header, not UTF-8, or a quote that is never closed.
        """
        header = self._header()
        names = [name.strip() for name in header]
        refuse_repeated(names, self.path, "give distinct names, with data.names for a CSV file", self.how.hides)
        options = _Options(header, names, as_text, self.how, self._delimiter)
        piece = self._read_fast(options) or self._read_carefully(options)
        piece.untyped = frozenset(f.name for f in piece.table.schema if is_text(f.type))
        piece.dropped = frozenset(filter(self.how.is_dropped, names))
        self._refuse_other_encodings(piece.table)
        self._refuse_open_quotes(piece)
        return piece

    @property
    def _delimiter(self) -> str:
        is_tab = self.path.lower().endswith((".tsv", ".tsv.gz")) and "delimiter" not in self.how.shape.model_fields_set
        return "\t" if is_tab else self.how.shape.delimiter

    @property
    def _header_words(self) -> str:
        return "the header" if self.how.shape.names is None else self.how.key("names")

    def _header(self) -> list[str]:
        if self.how.shape.names is not None:
            return list(self.how.shape.names)
        try:
            with self.filesystem.open_input_stream(self.path) as stream:
                # What is no UTF-8 further down is for the columns to find: they know their names.
                text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
                header = next((row for row in csv.reader(text, delimiter=self._delimiter) if row), None)
        except (csv.Error, OSError, pa.ArrowException) as error:
            raise DataError(f"{self.path} cannot be read as CSV: {error}", HINT) from error
        if header is None:
            raise DataError(f"{self.path} is empty: it holds blank lines only", "point data.source at a file with rows")
        if not all(name.isprintable() or name.isascii() for name in header):
            refuse_other_encodings(self.filesystem, self.path, self._delimiter, has_header=True)
        if any("\0" in name for name in header):
            raise DataError(f"{self.path} cannot be read as CSV: its header holds NUL bytes", HINT)
        return header

    def _table(self, read: pacsv.ReadOptions, parse: pacsv.ParseOptions, options: "_Options") -> pa.Table:
        with self.filesystem.open_input_stream(self.path) as stream:
            table = pacsv.read_csv(stream, read, parse, options.convert())
        return table.rename_columns(options.kept)

    def _read_fast(self, options: "_Options") -> Piece | None:
        """None where anything is wrong. What Arrow says of it may quote rows, so it is heard in the second reading."""
        try:
            return Piece.whole(self._table(options.read(), options.parse(), options))
        except READING_ERRORS:
            return None

    def _read_carefully(self, options: "_Options") -> Piece:
        """Row by row in one thread, because only so does Arrow tell the numbers of ragged rows."""
        ragged = _Ragged(first=1 if self.how.shape.names is not None else 2, hides=self.how.hides)
        try:
            with explained(f"{self.path} cannot be read as CSV", HINT, READING_ERRORS, self.how.hides):
                table = self._table(options.careful(), options.parse(ragged), options)
        except DataError:
            refuse_other_encodings(self.filesystem, self.path, self._delimiter, self.how.shape.names is None)
            if ragged.open_quote_row is not None:
                raise _open_quote(self.path, ragged.open_quote_row) from None
            raise
        if ragged.rows and table.num_rows == 0:
            raise DataError(
                f"{self.path}: no row fits the {len(options.header)} columns of {self._header_words}; "
                f"row {ragged.rows[0]} {ragged.reasons[0]}",
                HINT,
            )
        return Piece(table, table.num_rows + len(ragged.rows), ragged.rows, ragged.texts, ragged.reasons)

    def _refuse_other_encodings(self, table: pa.Table) -> None:
        if unreadable := [f.name for f in table.schema if pa.types.is_binary(f.type)]:
            has_header = self.how.shape.names is None
            refuse_other_encodings(self.filesystem, self.path, self._delimiter, has_header, unreadable)

    def _refuse_open_quotes(self, piece: Piece) -> None:
        """A quote that is never closed takes the rest of the file for one value, the last of the last row."""
        if not piece.table.num_rows:
            return
        value = piece.table.column(-1)[-1].as_py()
        if not isinstance(value, str) or not {"\n", "\r"} & set(value):
            return
        end = b""
        with self.filesystem.open_input_stream(self.path) as stream:
            while block := stream.read(1 << 20):
                end = (end + block).rstrip()[-1:]
        if end != b'"':
            raise _open_quote(self.path, piece.num_rows - 1)


def _open_quote(path: str, row: int) -> DataError:
    return DataError(
        f'{path}: a quote (") that opens in row {row} (the first is 0) is never closed, so the rows after it are lost',
        "close it, or double it where the sign itself is meant",
    )


class _Ragged:
    """Rows with too many or too few fields. Arrow calls it; an exception in here would be lost."""

    def __init__(self, first: int, hides: bool) -> None:
        """`first` is Arrow's number of the first row of data: it counts the header, and from 1."""
        self._first, self._hides = first, hides
        self.rows: list[int] = []
        self.texts: list[str | None] = []
        self.reasons: list[str] = []
        self.open_quote_row: int | None = None

    def __call__(self, row: pacsv.InvalidRow) -> str:
        if row.text.count('"') % 2 and "\n" in row.text:
            self.open_quote_row = row.number - self._first
            return "error"
        self.rows.append(row.number - self._first)
        self.texts.append(None if self._hides else row.text[:MAX_TOLD_CHARS])
        self.reasons.append(f"has {row.actual_columns} fields instead of {row.expected_columns}")
        return "skip"


@dataclass(frozen=True)
class _Options:
    header: list[str]  # as written
    names: list[str]  # without surrounding spaces
    as_text: frozenset[str]
    how: How
    delimiter: str

    @property
    def kept(self) -> list[str]:
        """Columns that are read: all but personal data to drop, and the last, which tells of an open quote."""
        return [*(name for name in self.names[:-1] if not self.how.is_dropped(name)), self.names[-1]]

    def read(self) -> pacsv.ReadOptions:
        return pacsv.ReadOptions(column_names=self.header if self.how.shape.names is not None else None)

    def careful(self) -> pacsv.ReadOptions:
        read = self.read()
        read.use_threads, read.block_size = False, CAREFUL_BLOCK_BYTES
        return read

    def parse(self, ragged: _Ragged | None = None) -> pacsv.ParseOptions:
        # Without newlines_in_values Arrow drops rows without a word where a quote stays open.
        return pacsv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=ragged)

    def convert(self) -> pacsv.ConvertOptions:
        # A field may carry spaces around the marker, and Arrow compares the raw field.
        missing = [spaced for marker in self.how.data.missing for spaced in (marker, f" {marker}", f"{marker} ")]
        pairs, kept_names = list(zip(self.header, self.names, strict=True)), set(self.kept)
        text = [raw for raw, name in pairs if name in self.as_text or self.how.stays_text(name)]
        kept = [raw for raw, name in pairs if name in kept_names]
        return pacsv.ConvertOptions(
            null_values=missing,
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            column_types=dict.fromkeys(text, pa.string()),
            include_columns=kept if len(kept) < len(pairs) else [],
        )
