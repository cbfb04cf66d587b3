"""JSON lines: Arrow's parallel reader, and line by line where a file holds what that refuses."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.json as pajson

from training.data.sources.draft import How, is_number
from training.data.sources.encoding import refuse_other_encodings
from training.data.sources.piece import Piece
from training.data.sources.words import explained
from training.errors import DataError

BLOCK_BYTES = 1 << 24
BATCH_ROWS = 50_000  # rows held as Python objects at a time
MAX_TOLD_CHARS = 80
HINT = "one JSON object a line: names of columns and their values"
_ERRORS = (pa.ArrowException, OSError)


def read_jsonl(filesystem: pafs.FileSystem, path: str, how: How) -> Piece:
    """A file of one JSON object a line. Raises DataError where no line is one."""
    piece = _read_fast(filesystem, path) or _read_by_line(filesystem, path, how)
    if not piece.table.column_names:
        raise DataError(f"{path} holds no JSON object", HINT)
    return piece


def _read_fast(filesystem: pafs.FileSystem, path: str) -> Piece | None:
    """None where anything is wrong: what it is, the second reading finds out."""
    try:
        with filesystem.open_input_stream(path) as stream:
            return Piece.whole(pajson.read_json(stream, pajson.ReadOptions(block_size=BLOCK_BYTES)))
    except (UnicodeDecodeError, *_ERRORS):
        return None


def _read_by_line(filesystem: pafs.FileSystem, path: str, how: How) -> Piece:
    piece = Piece(pa.table({}), 0)
    mixed: set[str] = set()
    with explained(f"{path} cannot be read as JSON lines", HINT, _ERRORS, how.hides):
        try:
            with filesystem.open_input_stream(path) as stream:
                lots = _batches(io.TextIOWrapper(stream, encoding="utf-8-sig"), piece, how.hides)
                batches = [_arrays(objects, mixed) for objects in lots]
        except UnicodeDecodeError:
            refuse_other_encodings(filesystem, path, delimiter=None, has_header=False)
            raise
    if not batches:
        first = f": line 0 {piece.bad_reasons[0]}" if piece.bad_reasons else ""
        raise DataError(f"{path} holds no JSON object{first}", HINT)
    piece.table = _table(batches, mixed)
    piece.untyped = frozenset(mixed)
    return piece


def _batches(lines: io.TextIOWrapper, piece: Piece, hides: bool) -> Iterator[list[dict[str, Any]]]:
    """Objects in lots; lines that hold none are counted in the piece as bad rows."""
    objects: list[dict[str, Any]] = []
    for line in lines:
        if not line.strip():
            continue
        fault, found = _object(line)
        if found is None:
            piece.bad_rows.append(piece.num_rows)
            piece.bad_reasons.append(fault)
            piece.bad_texts.append(None if hides else line.rstrip()[:MAX_TOLD_CHARS])
        else:
            objects.append(found)
        piece.num_rows += 1
        if len(objects) == BATCH_ROWS:
            yield objects
            objects = []
    if objects:
        yield objects


def _object(line: str) -> tuple[str, dict[str, Any] | None]:
    """What is wrong with a line, and the object that it holds."""
    try:
        value = json.loads(line, object_pairs_hook=_pairs)
    except json.JSONDecodeError as error:
        return f"is not JSON: {error.msg}", None
    except (_TwiceError, RecursionError) as error:
        return f"is not one object: {error}", None
    return ("", value) if isinstance(value, dict) else ("holds no object of column names and values", None)


class _TwiceError(ValueError):
    """A key that stands twice in an object."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _TwiceError("a key stands twice in it")
    return found


def _arrays(objects: list[dict[str, Any]], mixed: set[str]) -> dict[str, pa.Array]:
    names = dict.fromkeys(name for found in objects for name in found)
    return {name: _array([found.get(name) for found in objects], name, mixed) for name in names}


def _array(values: list[Any], name: str, mixed: set[str]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        mixed.add(name)
        return _as_text(values)


def _as_text(values: list[Any]) -> pa.Array:
    texts = [value if value is None or isinstance(value, str) else json.dumps(value, default=str) for value in values]
    return pa.array(texts, pa.string())


def _table(batches: list[dict[str, pa.Array]], mixed: set[str]) -> pa.Table:
    names = dict.fromkeys(name for batch in batches for name in batch)
    for name in names:
        kinds = {_kind(batch[name].type) for batch in batches if name in batch} - {"null"}
        if len(kinds) > 1:
            mixed.add(name)
    tables = []
    for batch in batches:
        for name in mixed & set(batch):
            batch[name] = _as_text(batch[name].to_pylist())
        tables.append(pa.table(batch))
    return pa.concat_tables(tables, promote_options="permissive").select(list(names))


def _kind(kind: pa.DataType) -> str:
    return "number" if is_number(kind) else str(kind)
