"""JSON rows: one object a line, read as it goes; or a list of objects, or one object, which are read whole."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.predict.lots import BadRow, Lot, Records, RowFile
from cluster.predict.reading import Reading
from training.data.sources.encoding import refuse_other_encodings
from training.data.sources.words import explained, one_line
from training.errors import DataError
from training.package.manifest import InputSpec

LOT_BYTES = 1 << 23  # of text
SHOWN_CHARS = 60
HINT = "check that the file is whole, and the access to it"
_Row = dict[str, Any] | BadRow


def json_lots(file: RowFile, reading: Reading, most: int) -> Iterator[Lot]:
    """The rows of one file as clients send them, at most `most` at a time.

    Raises:
        DataError: not UTF-8, or a list that is not JSON.
    """
    group = _Group(file, reading)
    for row, num_chars, done in _read(file):
        group.add(row, num_chars)
        if len(group.rows) >= most or group.num_chars >= LOT_BYTES:
            yield group.taken(done())
    if group.rows:
        yield group.taken(1.0)


def ignored_columns(file: RowFile, reading: Reading, most: int) -> list[str]:
    """Columns in a file's first `most` rows that are neither taken nor copied. Raises DataError, see `json_lots`."""
    if reading.keep is None:
        return []
    found: dict[str, None] = {}
    for row, _, _ in islice(_read(file), most):
        if isinstance(row, dict):
            found |= dict.fromkeys(name for name in row if name not in _taken(row, reading.specs))
    return [name for name in found if name not in reading.keep]


def _read(file: RowFile) -> Iterator[tuple[_Row, int, Callable[[], float]]]:
    """Each row, or what is wrong with it, its length as text, and what tells the share of the file that is read."""
    try:
        with (
            explained(f"{file.path} cannot be read", HINT, (OSError, pa.ArrowException), hides=False),
            file.open() as (stream, done),
        ):
            for row, num_chars in _rows(io.TextIOWrapper(stream, encoding="utf-8-sig"), file.path):
                yield row, num_chars, done
    except UnicodeDecodeError:
        refuse_other_encodings(file.filesystem, file.path, delimiter=None, has_header=False)
        raise


def _rows(lines: io.TextIOWrapper, path: str) -> Iterator[tuple[_Row, int]]:
    """Each row, or what is wrong with it, and its length as text."""
    number = 0
    for line_number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if number == 0 and _is_part_of_one(line):
            for row in _rows_of_text(line + lines.read(), path):
                yield row, 0
            return
        yield _row_of(line, number, line_number), len(line)
        number += 1


def _is_part_of_one(line: str) -> bool:
    """Whether the first line opens a list, or an object that goes on in the next line."""
    if line.lstrip().startswith("["):
        return True
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        return line.lstrip().startswith("{") and not line[error.pos :].strip()
    return False


def _row_of(line: str, number: int, line_number: int) -> _Row:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        column = f", column {error.colno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ": too deep"
        return BadRow(number, f"is not JSON at line {line_number}{column}")
    return row if isinstance(row, dict) else _no_record(number, row)


def _rows_of_text(text: str, path: str) -> list[_Row]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from error
    rows = content if isinstance(content, list) else [content]
    return [row if isinstance(row, dict) else _no_record(number, row) for number, row in enumerate(rows)]


def _no_record(number: int, row: object) -> BadRow:
    return BadRow(number, f"is {json.dumps(row)[:SHOWN_CHARS]}, must be an object of column names and values")


def _taken(row: dict[str, Any], specs: Sequence[InputSpec]) -> dict[str, Any]:
    """The columns of a row that the model takes. One that lacks some is left as it is: a typo must not pass unseen."""
    names: list[str] = []
    for spec in specs:
        names += spec.columns if spec.columns and spec.name not in row else (spec.name,)
    return {name: row[name] for name in names} if row.keys() >= set(names) else row


@dataclass
class _Group:
    """Rows that wait to become a lot."""

    file: RowFile
    reading: Reading
    rows: list[_Row] = field(default_factory=list)
    num_chars: int = 0
    first: int = 0  # number of the first of them
    kept: dict[str, pa.DataType] | None = None  # columns to copy, settled by the first lot

    def add(self, row: _Row, num_chars: int) -> None:
        """One more."""
        self.rows.append(row)
        self.num_chars += num_chars

    def taken(self, done: float) -> Lot:
        """A lot of them; the next one begins empty."""
        folders = self.file.folders
        good = {number: {**folders, **row} for number, row in enumerate(self.rows, self.first) if isinstance(row, dict)}
        bad = tuple(row for row in self.rows if isinstance(row, BadRow))
        records, kept = self._divided(list(good.values()))
        lot = Lot(self.file.path, np.fromiter(good, np.int64, len(good)), records, kept, bad, done)
        self.first += len(self.rows)
        self.rows, self.num_chars = [], 0
        return lot

    def _divided(self, rows: Records) -> tuple[Records, pa.Table]:
        """What the model takes, and what is only copied."""
        names = self.reading.keep if self.reading.keep is not None else tuple(rows[0]) if rows else ()
        if self.kept is None:
            self.kept = {name: _kind([row.get(name) for row in rows]) for name in names}
        columns = {name: self._column(name, [row.get(name) for row in rows], kind) for name, kind in self.kept.items()}
        return [_taken(row, self.reading.specs) for row in rows], pa.table(columns)

    def _column(self, name: str, values: list[Any], kind: pa.DataType) -> pa.Array:
        if pa.types.is_string(kind):
            values = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, OverflowError) as error:
            raise DataError(
                f"{self.file.path}: --keep {name} is {kind} in the first rows and something else later: "
                f"{one_line(error)}",
                "write its values alike, for example all as texts, or do not keep it",
            ) from error


def _kind(values: list[Any]) -> pa.DataType:
    """Whole numbers, numbers or flags where all are; else text."""
    try:
        kind = pa.array(values).type
    except (pa.ArrowException, OverflowError):
        return pa.string()
    is_plain = pa.types.is_int64(kind) or pa.types.is_float64(kind) or pa.types.is_boolean(kind)
    return kind if is_plain else pa.string()
