"""The files that hold the rows, and what of them is read at a time."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from cluster.predict.csv_lots import csv_lots
from cluster.predict.json_lots import ignored_columns, json_lots
from cluster.predict.lots import Lot, RowFile, cut
from cluster.predict.reading import Reading
from training.data.config import DataFormat
from training.data.sources.files import IMAGE_ENDINGS, Found, find_files, format_of, partition_values
from training.data.sources.words import explained, listed
from training.data.stream.files import StreamTable, open_table
from training.data.stream.plan import RowGroup
from training.errors import DataError
from training.redact import shown

LOT_ROWS = 8192
LOT_BYTES = 1 << 25  # of the decoded images of a lot
ARROW_HINT = "the file may be cut off or of another format"
_ARROW_ERRORS = (pa.ArrowException, OSError, EOFError)


@dataclass(frozen=True)
class Part:
    """What one reader reads: a file, a row group of one, or some files of images."""

    paths: tuple[str, ...]
    kind: DataFormat
    size: int  # bytes, about
    group: RowGroup | None = None


@dataclass(frozen=True)
class Source:
    """Rows in files. Small: it travels to whoever reads."""

    reading: Reading
    found: Found
    parts: tuple[Part, ...]  # in the order of the rows
    parquet: StreamTable | None  # of the Parquet files among them
    lot_rows: int

    @property
    def is_json(self) -> bool:
        """Whether all rows are records as clients send them."""
        return all(part.kind == "jsonl" for part in self.parts)

    def ignored(self) -> list[str]:
        """Columns of JSON rows that nobody asked for, in the first rows of the first such file. Raises DataError."""
        part = next((part for part in self.parts if part.kind == "jsonl"), None)
        return ignored_columns(self._file(part), self.reading, self.lot_rows) if part is not None else []

    def lots(self, part: Part) -> Iterator[Lot]:
        """The rows of one part, in its order. Raises DataError for what cannot be read."""
        for lot in self._read(part):
            yield from cut(lot, self.lot_rows)

    def _read(self, part: Part) -> Iterator[Lot]:
        file = self._file(part)
        match part.kind:
            case "parquet":
                return self._parquet(part)
            case "arrow":
                return _arrow(file, self.reading)
            case "jsonl":
                return json_lots(file, self.reading, self.lot_rows)
            case "images":
                return self._images(part)
        return csv_lots(file, self.reading)

    def _file(self, part: Part) -> RowFile:
        path = part.paths[0]
        return RowFile(self.found.filesystem, path, partition_values(self.found.root, path))

    def _parquet(self, part: Part) -> Iterator[Lot]:
        table, group, (path,) = self.parquet, part.group, part.paths
        assert table is not None
        assert group is not None
        first = table.first_rows[group.file]
        columns = self.reading.columns(table.schema.names, path)
        with table.open(group.file) as opened:
            for first_row, piece in table.read(opened, group, 0, group.num_rows, columns.all):
                numbers = np.arange(first_row - first, first_row - first + len(piece))
                done = (first_row + len(piece) - group.first_row) / group.num_rows
                kept = self.reading.kept(piece, columns)
                yield Lot(path, numbers, piece.select(list(columns.model)), kept, done=done)

    def _images(self, part: Part) -> Iterator[Lot]:
        columns = self.reading.columns(["image", "path"], self.reading.source)
        for start in range(0, len(part.paths), self.lot_rows):
            paths = part.paths[start : start + self.lot_rows]
            below = [path.removeprefix(self.found.root).strip("/") for path in paths]
            contents = [_content(self.found, path) for path in paths]
            table = pa.table({"image": pa.array(contents, pa.large_binary()), "path": pa.array(below, pa.string())})
            rows, kept = table.select(list(columns.model)), self.reading.kept(table, columns)
            numbers, done = np.arange(start, start + len(paths)), (start + len(paths)) / len(part.paths)
            yield Lot(shown(self.reading.source), numbers, rows, kept, done=done, images=part.paths)


def open_source(reading: Reading, lot_rows: int | None = None) -> Source:
    """Find the files and read the footers of those that are Parquet.

    Args:
        reading: what is read.
        lot_rows: rows that are answered at a time; None: about 8,192, fewer of images.

    Raises:
        DataError: nothing there, empty files, or Parquet files that do not fit together.
    """
    found = find_files(reading.source, reading.base)
    sizes = {info.path: info.size or 0 for info in found.filesystem.get_file_info(list(found.paths))}
    if empty := [path for path in found.paths if not sizes[path]]:
        raise DataError(
            f"{listed(empty, 3)} {'is' if len(empty) == 1 else 'are'} empty (0 bytes)", "give files of rows"
        )
    kinds: dict[str, DataFormat] = {
        path: "images" if path.lower().endswith(IMAGE_ENDINGS) else format_of(path, "auto") for path in sizes
    }
    of_parquet = tuple(path for path in found.paths if kinds[path] == "parquet")
    table = open_table(replace(found, paths=of_parquet), shown(reading.source)) if of_parquet else None
    parts: list[Part] = []
    if "images" in kinds.values():  # `find_files` finds images only where there is no table
        parts = [Part(found.paths, "images", sum(sizes.values()))]
    else:
        for path in found.paths:
            if table is not None and kinds[path] == "parquet":
                parts += _groups(table, path)
            else:
                parts.append(Part((path,), kinds[path], sizes[path]))
    return Source(reading, found, tuple(parts), table, lot_rows or _lot_rows(reading))


def _groups(table: StreamTable, path: str) -> list[Part]:
    number = table.paths.index(path)
    file = table.files[number]
    return [
        Part((path,), "parquet", max(1, file.size_bytes * group.num_rows // file.num_rows), group)
        for group in table.groups
        if group.file == number
    ]


def _lot_rows(reading: Reading) -> int:
    """Images are decoded to float32, beside the file that they come from."""
    row_bytes = max((4 * math.prod(spec.shape) for spec in reading.specs if spec.kind == "image"), default=1)
    return max(1, min(LOT_ROWS, LOT_BYTES // row_bytes))


def _arrow(file: RowFile, reading: Reading) -> Iterator[Lot]:
    """Record batch by record batch: how large they are was decided where the file was written."""
    with (
        explained(f"{file.path} cannot be read as Arrow IPC", ARROW_HINT, _ARROW_ERRORS, hides=False),
        # Read, not mapped: a mapped file that is cut off while it is used kills the process.
        file.open() as (raw, done),
    ):
        is_file = raw.read(6) == b"ARROW1"
        raw.seek(0)
        opened = pa.ipc.open_file(raw) if is_file else pa.ipc.open_stream(raw)
        columns = reading.columns([*opened.schema.names, *file.folders], file.path)
        batches = map(opened.get_batch, range(opened.num_record_batches)) if is_file else opened
        number = 0
        for batch in batches:
            table = file.with_folders(pa.Table.from_batches([batch]))
            numbers, number = np.arange(number, number + len(table)), number + len(table)
            kept = reading.kept(table, columns)
            yield Lot(file.path, numbers, table.select(list(columns.model)), kept, done=done())


def _content(found: Found, path: str) -> bytes:
    with (
        explained(f"{path} cannot be read", "check the access to it", (OSError,), hides=False),
        found.filesystem.open_input_file(path) as file,
    ):
        return bytes(file.read())
