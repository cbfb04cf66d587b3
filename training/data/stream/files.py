"""The Parquet files of a stream: what their footers say, and rows read from them piece by piece."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from training.data.sources.files import Found, partition_values
from training.data.sources.words import listed, one_line, refuse_repeated
from training.data.stream.plan import RowGroup
from training.errors import DataError

PIECE_BYTES = 8 << 20  # about what is decoded at a time, beside the window itself
MIN_PIECE_ROWS, MAX_PIECE_ROWS = 256, 1 << 16
READ_BUFFER_BYTES = 1 << 20  # without it, a column's whole chunk of a row group is held while it is decoded
TEXT_BYTES = 32  # of a text with its place in Arrow, where the footer tells less


@dataclass(frozen=True)
class StreamFile:
    """One file as its footer was read."""

    path: str
    size_bytes: int
    modified_ns: int | None  # None where the file system does not say
    num_rows: int
    footer_digest: str
    folders: tuple[tuple[str, str | None], ...] = ()  # columns that the names of its folders give, as year=2020/


@dataclass(frozen=True)
class StreamTable:
    """A table in Parquet files. Small: it travels to whoever reads."""

    filesystem: pafs.FileSystem
    files: tuple[StreamFile, ...]
    groups: tuple[RowGroup, ...]
    schema: pa.Schema  # that all files are brought to
    row_bytes: int  # of a row in Arrow, about

    @cached_property
    def num_rows(self) -> int:
        """Of all files."""
        return sum(file.num_rows for file in self.files)

    @property
    def piece_rows(self) -> int:
        """Rows that are decoded at a time."""
        return min(max(PIECE_BYTES // max(self.row_bytes, 1), MIN_PIECE_ROWS), MAX_PIECE_ROWS)

    @property
    def paths(self) -> tuple[str, ...]:
        """Files in reading order."""
        return tuple(file.path for file in self.files)

    @property
    def first_rows(self) -> tuple[int, ...]:
        """Number of the first row of each file in the whole table."""
        first, rows = [], 0
        for file in self.files:
            first.append(rows)
            rows += file.num_rows
        return tuple(first)

    @contextmanager
    def open(self, file: int) -> Iterator[pq.ParquetFile]:
        """One file, for `read`. Raises DataError where it is not the file that was planned with."""
        planned = self.files[file]
        with _explained(planned.path):
            info = self.filesystem.get_file_info(planned.path)
            if (info.size, info.mtime_ns) != (planned.size_bytes, planned.modified_ns):
                now = "it is gone" if info.type == pafs.FileType.NotFound else f"{info.size:,} bytes now"
                raise DataError(
                    f"{planned.path} changed while it was read: {now}, {planned.size_bytes:,} bytes before",
                    "leave the files alone while a run reads them; start the run again when they are complete",
                )
            raw = self.filesystem.open_input_file(planned.path)
            opened = pq.ParquetFile(raw, buffer_size=READ_BUFFER_BYTES, pre_buffer=False)
        with raw:
            yield opened

    def read(
        self, opened: pq.ParquetFile, group: RowGroup, start: int, stop: int, columns: Sequence[str]
    ) -> Iterator[tuple[int, pa.Table]]:
        """Rows `start` to `stop` of a row group, a piece at a time, each with the number of its first row.

        Files may hold other types of number: each piece has the schema of the table.
        """
        folders = dict(self.files[group.file].folders)
        wanted = pa.schema([self.schema.field(name) for name in columns]).empty_table()
        in_file = [name for name in columns if name not in folders]
        at = 0
        with _explained(self.files[group.file].path):
            for batch in opened.iter_batches(min(self.piece_rows, stop), row_groups=[group.number], columns=in_file):
                first, last = max(start - at, 0), min(stop - at, batch.num_rows)
                if first < last:
                    piece = pa.Table.from_batches([batch.slice(first, last - first)])
                    for name in set(columns) & set(folders):
                        piece = piece.append_column(name, pa.repeat(pa.scalar(folders[name], pa.string()), len(piece)))
                    yield group.first_row + at + first, pa.concat_tables([wanted, piece], promote_options="permissive")
                at += batch.num_rows
                if at >= stop:
                    return


def open_table(found: Found, said: str) -> StreamTable:
    """Read the footers. Raises DataError for what is no Parquet, has no rows, or does not fit together.

    Args:
        found: the files.
        said: the source, fit for messages.
    """
    footers = [_read_footer(found, path) for path in found.paths]
    _refuse_misfits(footers, said)
    groups: list[RowGroup] = []
    first_row = 0
    for number, footer in enumerate(footers):
        for i, num_rows in enumerate(footer.group_rows):
            groups.append(RowGroup(number, i, num_rows, first_row))
            first_row += num_rows
    with _explained(
        f"the {len(footers)} files of {said}", "do not fit together", "point data.source at files of one shape"
    ):
        schema = pa.unify_schemas([footer.schema for footer in footers], promote_options="permissive")
    filled = tuple(group for group in groups if group.num_rows)
    row_bytes = sum(footer.decoded_bytes for footer in footers) // first_row
    return StreamTable(found.filesystem, tuple(footer.file for footer in footers), filled, schema, max(1, row_bytes))


@dataclass(frozen=True)
class _Footer:
    file: StreamFile
    group_rows: tuple[int, ...]
    schema: pa.Schema
    decoded_bytes: int


def _read_footer(found: Found, path: str) -> _Footer:
    with _explained(path):
        info = found.filesystem.get_file_info(path)
        with found.filesystem.open_input_file(path) as raw:
            opened = pq.ParquetFile(raw)
            metadata, schema, digest = opened.metadata, opened.schema_arrow.remove_metadata(), _footer_digest(raw)
    refuse_repeated(schema.names, path, "write the file with distinct names")
    folders = partition_values(found.root, path)
    refuse_repeated([*schema.names, *folders], f"{path}, in the file and in its folders,", "rename one of them")
    file = StreamFile(path, info.size, info.mtime_ns, metadata.num_rows, digest, tuple(folders.items()))
    for name in folders:
        schema = schema.append(pa.field(name, pa.string()))
    group_rows = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
    return _Footer(file, group_rows, schema, _decoded_bytes(metadata, schema))


def _refuse_misfits(footers: Sequence[_Footer], said: str) -> None:
    if not any(footer.file.num_rows for footer in footers):
        raise DataError(f"{said} has column names but no rows", "point data.source at a table with rows")
    names = set(footers[0].schema.names)
    for footer in footers:
        if not footer.file.num_rows:
            raise DataError(
                f"{footer.file.path} has column names but no rows, unlike other files of {said}",
                "take it away, or write it again: an empty part among full ones is most often a failed write",
            )
        if odd := names ^ set(footer.schema.names):
            raise DataError(
                f"{footers[0].file.path} and {footer.file.path} have different columns: {listed(sorted(odd))} "
                f"{'stands' if len(odd) == 1 else 'stand'} in one of them only",
                "point data.source at files of one shape",
            )


def _decoded_bytes(metadata: pq.FileMetaData, schema: pa.Schema) -> int:
    """About what the rows take in Arrow. Footers tell the size of what was encoded, so texts are a guess."""
    fixed = sum(field.type.bit_width for field in schema if _is_fixed(field.type)) // 8
    texts = [field.name for field in schema if not _is_fixed(field.type)]
    total = fixed * metadata.num_rows
    if not texts:
        return total
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        for j in range(group.num_columns):
            column = group.column(j)
            if column.path_in_schema.split(".")[0] in texts:
                total += max(column.total_uncompressed_size, TEXT_BYTES * column.num_values)
    return total


def _is_fixed(kind: pa.DataType) -> bool:
    try:
        return bool(kind.bit_width) and not pa.types.is_dictionary(kind)
    except ValueError:
        return False


def _footer_digest(raw: pa.NativeFile) -> str:
    """Of the footer, which holds the place, size and range of every column chunk: it moves when values do."""
    tail = 8  # the footer's length and a magic word
    size = raw.size()
    length = int.from_bytes(raw.read_at(tail, size - tail)[:4], "little")
    return hashlib.blake2b(raw.read_at(length, size - tail - length), digest_size=16).hexdigest()


@contextmanager
def _explained(
    what: str, problem: str = "cannot be read as Parquet", hint: str = "write the file anew, or take it away"
) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{what} {problem}: {one_line(error)}", hint) from error
