"""What a table is, in a few bytes: hashes of its rows, and a digest of them in any order."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from training.data.cell_hash import cell_hashes, key_of, mix

BATCH_ROWS = 1 << 18  # hashed at a time: what is held beside the table stays small
PLAIN_TYPES = (
    (r"dictionary<values=(.+?), indices=[^>]*>", r"\1"),
    (r"\b(large_|fixed_size_)|_view\b|\[\d+\]| not null| \('[^']*'\)", ""),
    (r"\blist<(item|element): ", "list<"),  # Arrow's name and Parquet's
    (r"\bu?int\d+\b", "integer"),
    (r"\b(halffloat|float|double)\b", "number"),
    (r"\bdecimal\d+\b", "decimal"),
    (r"\bstring\b", "text"),
    (r"\bbool\b", "boolean"),
    (r"\bdate(32\[day\]|64\[ms\])", "date"),
    (r"\b(timestamp|duration|time32|time64)\[(s|ms|us|ns)\b", r"\1["),
    (r"\btime(32|64)\b", "time"),
)
SECOND_KEY, ORDER_KEY = np.uint64(0xD6E8FEB86659FD93), np.uint64(0xA0761D6478BD642F)


def row_hashes(table: pa.Table, columns: Sequence[str] | None = None) -> np.ndarray:
    """A hash (N,) uint64 of each row: equal for rows with equal values under equal names, in any order of columns.

    Chunks, dictionaries, offsets, the width of numbers, and where the rows came from do not count; see `cell_hash`.

    Args:
        table: any rows.
        columns: those that count; all by default.

    Raises:
        KeyError: a column is not in the table.
    """
    names = list(table.column_names if columns is None else columns)
    hashes_N = np.empty(table.num_rows, np.uint64)
    start = 0
    for batch in table.select(names).to_batches(max_chunksize=BATCH_ROWS):
        hashes_N[start : start + batch.num_rows] = _batch_hashes(batch)
        start += batch.num_rows
    return hashes_N if names else np.zeros(table.num_rows, np.uint64)


def _batch_hashes(batch: pa.RecordBatch) -> np.ndarray:
    hashes_N = np.zeros(batch.num_rows, np.uint64)
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        hashes_N += mix(cell_hashes(array) ^ key_of(name))
    return mix(hashes_N)


class RunningDigest:
    """Digests of rows that come piece by piece."""

    def __init__(self) -> None:
        self._schema = ""
        self._num_rows = 0
        self._sums = np.zeros(3, np.uint64)

    def add(self, piece: pa.Table) -> None:
        """Count further rows. Pieces of one table share its columns."""
        self._schema = _schema_text(piece.schema)
        hashes_N = row_hashes(piece)
        places_N = np.arange(self._num_rows, self._num_rows + len(hashes_N), dtype=np.uint64)
        # Sums, not exclusive or: with that a row that stands twice would vanish.
        self._sums[0] += mix(hashes_N).sum(dtype=np.uint64)
        self._sums[1] += mix(hashes_N ^ SECOND_KEY).sum(dtype=np.uint64)
        self._sums[2] += mix(hashes_N ^ mix(places_N ^ ORDER_KEY)).sum(dtype=np.uint64)
        self._num_rows += len(hashes_N)

    def merge(self, other: "RunningDigest") -> "RunningDigest":
        """Both together. Its `order` means nothing: the other one did not know how many rows stand before its own."""
        merged = RunningDigest()
        merged._schema = self._schema or other._schema
        merged._num_rows, merged._sums = self._num_rows + other._num_rows, self._sums + other._sums
        return merged

    @property
    def content(self) -> str:
        """Of names, logical types and rows in any order, each as often as it stands: 32 hexadecimal digits."""
        return _hex(self._schema, self._num_rows, *self._sums[:2])

    @property
    def order(self) -> str:
        """The same rows in another order give another one: 32 hexadecimal digits."""
        return _hex(self._schema, self._num_rows, *self._sums)


def content_digest(table: pa.Table) -> str:
    """32 hexadecimal digits for names, logical types and the rows in any order, each as often as it stands."""
    digest = RunningDigest()
    digest.add(table)
    return digest.content


def order_digest(table: pa.Table) -> str:
    """As `content_digest`, but the same rows in another order give another one: row numbers then mean other rows."""
    digest = RunningDigest()
    digest.add(table)
    return digest.order


def _hex(*parts: object) -> str:
    return hashlib.blake2b("\n".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def _schema_text(schema: pa.Schema) -> str:
    return "\n".join(sorted(f"{field.name!r}: {logical_type(field.type)}" for field in schema))


def logical_type(kind: pa.DataType | str) -> str:
    """What values of a type are, beside how Arrow holds them: integer, number, text, boolean, date or Arrow's name.

    Args:
        kind: a type, or its text as `SourceFacts` stores it.
    """
    text = str(kind)
    for pattern, plain in PLAIN_TYPES:
        text = re.sub(pattern, plain, text)
    return text


def differences(earlier: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[str]:
    """What changed between two readings, in words; empty when every source holds the same rows as before.

    Args:
        earlier: `SourceFacts` as dicts, as a run stored them.
        now: those of the data as they are.
    """
    before, after = ({str(facts["name"]): facts for facts in side} for side in (earlier, now))
    found = [f"{name} ({before[name]['uri']}) is no longer read" for name in before if name not in after]
    found += [f"{name} ({after[name]['uri']}) was not read before" for name in after if name not in before]
    for name in before:
        if name in after and _identity(before[name]) != _identity(after[name]):
            found += [f"{name}: {line}" for line in _source_differences(before[name], after[name])]
    return found


def _identity(facts: Mapping[str, Any]) -> tuple[str, str]:
    return str(facts["digest"]), str(facts.get("order", ""))


def _source_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    if before["uri"] != after["uri"]:
        yield f"read from {after['uri']}, before from {before['uri']}"
    if before["num_rows"] != after["num_rows"]:
        yield f"{before['num_rows']:,} rows before, {after['num_rows']:,} now"
    columns = list(_column_differences(before["columns"], after["columns"]))
    yield from columns
    if before["num_rows"] == after["num_rows"] and not columns:
        same = before["digest"] == after["digest"]
        yield "the same rows stand in another order" if same else "as many rows and the same columns, but other values"
    yield from _file_differences(before.get("files", ()), after.get("files", ()))


def _column_differences(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name in before:
        if name not in after:
            yield f"column {name} is gone"
        elif logical_type(before[name]) != logical_type(after[name]):
            yield f"column {name} was {before[name]}, is {after[name]}"
    yield from (f"column {name} is new" for name in after if name not in before)


def _file_differences(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    then, here = ({str(file["path"]): file for file in side} for side in (before, after))
    yield from (f"file {path} is gone" for path in then if path not in here)
    yield from (f"file {path} is new" for path in here if path not in then)
    for path in then:
        if path in here and (changed := _file_change(then[path], here[path])):
            yield f"file {path} changed: {changed}"


def _file_change(then: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    said = []
    if then["size_bytes"] != here["size_bytes"]:
        said.append(f"{then['size_bytes']:,} bytes before, {here['size_bytes']:,} now")
    if then["modified_at"] != here["modified_at"]:
        said.append(f"written {here['modified_at'] or 'at a time not told'}, before {then['modified_at'] or 'unknown'}")
    return "; ".join(said)
