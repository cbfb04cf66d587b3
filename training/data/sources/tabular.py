"""Files of tables: read each, see that they belong together, put them one below the other."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from training.data.config import DataFormat
from training.data.raw import BAD_ROWS, FileVersion, Origin
from training.data.sources.columnar import read_arrow, read_parquet
from training.data.sources.csv_files import CsvFile
from training.data.sources.draft import Draft, How, is_text
from training.data.sources.files import Found, format_of, partition_values, versions
from training.data.sources.jsonl import read_jsonl
from training.data.sources.piece import Piece
from training.data.sources.words import explained, listed
from training.errors import DataError

NUM_READERS = 8  # files at a time: over a network most of the time is waiting


def read_tables(found: Found, how: How) -> Draft:
    """The rows of all files, in the order of the files.

    Raises:
        DataError: a file that cannot be read, is empty, has other columns, or changed while it was read.
    """
    before = versions(found.filesystem, found.paths)
    _refuse_empty(before)
    pieces = _read_all(found, how)
    refuse_changed(found, before)
    _refuse_without_rows(found, pieces, how)
    _refuse_other_columns(found, pieces, how)
    totals = [piece.num_rows for piece in pieces]
    starts = np.concatenate([[0], np.cumsum(totals)[:-1]]).astype(int)
    names = pieces[0].table.column_names
    with explained(
        f"the {len(pieces)} files of {how.said} do not fit together",
        f"give a column one type with {how.key('cast')}, or point data.source at files of one shape",
        (pa.ArrowException,),
        how.hides,
    ):
        table = pa.concat_tables([piece.table.select(names) for piece in pieces], promote_options="permissive")
    draft = Draft(
        table,
        np.concatenate([start + piece.row_ids for start, piece in zip(starts, pieces, strict=True)]),
        Origin(found.paths, tuple(int(start) for start in starts)),
        before,
        frozenset(name for piece in pieces for name in piece.untyped),
        list(found.notes),
        dropped=set().union(*(piece.dropped for piece in pieces)),
    )
    draft.found += [_bad_of(path, piece) for path, piece in zip(found.paths, pieces, strict=True) if piece.bad_rows]
    return draft


def refuse_changed(found: Found, before: tuple[FileVersion, ...]) -> None:
    """Raise DataError where a file is not what it was before it was read."""
    changed = [
        file.path for file, now in zip(before, versions(found.filesystem, found.paths), strict=True) if file != now
    ]
    if changed:
        raise DataError(
            f"{listed(changed, 3)} changed while it was read, so the table is a mixture of both",
            "wait until the file is complete, or read a copy of it",
        )


def _read_all(found: Found, how: How) -> list[Piece]:
    def read(path: str) -> Piece:
        match format_of(path, how.shape.format):
            case "parquet":
                piece = read_parquet(found.filesystem, path, how)
            case "arrow":
                piece = read_arrow(found.filesystem, path, how)
            case "jsonl":
                piece = read_jsonl(found.filesystem, path, how)
            case _:
                piece = CsvFile(found.filesystem, path, how).read()
        return _with_partitions(piece, found.root, path)

    with ThreadPoolExecutor(min(NUM_READERS, len(found.paths))) as pool:
        pieces = list(pool.map(read, found.paths))
    formats = [format_of(path, how.shape.format) for path in found.paths]
    if odd := _columns_of_two_kinds(pieces, formats):
        pieces = [_reread(found, path, how, piece, odd) for path, piece in zip(found.paths, pieces, strict=True)]
    return pieces


def _columns_of_two_kinds(pieces: list[Piece], formats: list[DataFormat]) -> frozenset[str]:
    """Columns that are text in one file and something else in another, where it was the reader who guessed."""
    kinds: dict[str, set[bool]] = {}
    guessed: set[str] = set()
    for piece, kind in zip(pieces, formats, strict=True):
        guessed |= set(piece.table.column_names) if kind == "jsonl" else piece.untyped
        for field in piece.table.schema:
            if not pa.types.is_null(field.type):
                kinds.setdefault(field.name, set()).add(is_text(field.type))
    return frozenset(name for name, found in kinds.items() if len(found) > 1 and name in guessed)


def _reread(found: Found, path: str, how: How, piece: Piece, odd: frozenset[str]) -> Piece:
    """The piece with those columns as the file writes them: 007 must not become 7 and then text."""
    wrong = [name for name in odd if name in piece.table.column_names and not is_text(piece.table.field(name).type)]
    if not wrong:
        return piece
    if format_of(path, how.shape.format) == "csv":
        return _with_partitions(CsvFile(found.filesystem, path, how).read(odd), found.root, path)
    for name in wrong:
        if not pa.types.is_nested(piece.table.field(name).type):
            as_text = piece.table.column(name).cast(pa.string())
            piece.table = piece.table.set_column(piece.table.column_names.index(name), name, as_text)
    piece.untyped |= frozenset(wrong)
    return piece


def _with_partitions(piece: Piece, root: str, path: str) -> Piece:
    values = partition_values(root, path)
    for name, value in values.items():
        if name in piece.table.column_names:
            raise DataError(
                f"{path}: the column {name} stands in the file and in the folder {name}={value}",
                "rename one of them, or point data.source at the folder",
            )
        column = pa.repeat(pa.scalar(value, pa.string()), piece.table.num_rows)
        piece.table = piece.table.append_column(name, column)
    piece.untyped |= frozenset(values)
    return piece


def _refuse_empty(files: tuple[FileVersion, ...]) -> None:
    if empty := [file.path for file in files if file.size_bytes == 0]:
        others = f", unlike the {len(files) - len(empty)} other files" if len(files) > len(empty) else ""
        verb = "is" if len(empty) == 1 else "are"
        raise DataError(f"{listed(empty, 3)} {verb} empty (0 bytes){others}", "point data.source at files with rows")


def _refuse_without_rows(found: Found, pieces: list[Piece], how: How) -> None:
    without = [path for path, piece in zip(found.paths, pieces, strict=True) if piece.num_rows == 0]
    if not without:
        return
    if len(without) == len(pieces):
        raise DataError(f"{how.said} has column names but no rows", "point data.source at a table with rows")
    raise DataError(
        f"{listed(without, 3)} has column names but no rows, unlike the {len(pieces) - len(without)} other files",
        "take it away, or write it again: an empty part among full ones is most often a failed write",
    )


def _refuse_other_columns(found: Found, pieces: list[Piece], how: How) -> None:
    # The most common set of columns is the rule; the first file alone may be the odd one.
    sets = Counter(frozenset(piece.table.column_names) for piece in pieces)
    usual = sets.most_common(1)[0][0]
    for path, piece in zip(found.paths, pieces, strict=True):
        names = frozenset(piece.table.column_names)
        if names != usual:
            others = f"unlike {sets[usual]} of the {len(pieces)} files"
            if how.hides:  # without a header line the names are the values of the first row
                raise DataError(f"{path} has other columns, {others}", "give every file the same header line")
            lacks, has = sorted(usual - names), sorted(names - usual)
            said = [f"lacks {listed(lacks)}"] * bool(lacks) + [f"has {listed(has)} besides"] * bool(has)
            raise DataError(
                f"{path} {' and '.join(said)}, {others}",
                f"point data.source at files of one shape; columns of {PurePosixPath(path).name}: "
                f"{listed(piece.table.column_names)}",
            )


def _bad_of(path: str, piece: Piece) -> pa.Table:
    return pa.table(
        {
            "source": [path] * len(piece.bad_rows),
            "row": piece.bad_rows,
            "column": [""] * len(piece.bad_rows),
            "reason": piece.bad_reasons,
            "value": piece.bad_texts,
        },
        schema=BAD_ROWS,
    )
