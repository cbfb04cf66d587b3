"""Parquet files, and Arrow IPC (Feather) files and streams."""

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from training.data.sources.draft import How
from training.data.sources.piece import Piece
from training.data.sources.words import explained, refuse_repeated

HINT = "the file may be cut off or of another format; data.format says how it is read"
_ERRORS = (pa.ArrowException, OSError, EOFError)


def read_parquet(filesystem: pafs.FileSystem, path: str, how: How) -> Piece:
    """A Parquet file; columns of personal data to drop are not even decoded. Raises DataError."""
    with (
        explained(f"{path} cannot be read as Parquet", HINT, _ERRORS, how.hides),
        filesystem.open_input_file(path) as source,
        pq.ParquetFile(source, pre_buffer=True) as file,
    ):
        names = file.schema_arrow.names
        refuse_repeated(names, path, "write the file with distinct names")
        dropped = frozenset(filter(how.is_dropped, names))
        kept = [name for name in names if name not in dropped]
        return Piece.whole(file.read(columns=kept if dropped else None), dropped)


def read_arrow(filesystem: pafs.FileSystem, path: str, how: How) -> Piece:
    """An Arrow IPC file (Feather is one) or stream. Raises DataError."""
    with explained(f"{path} cannot be read as Arrow IPC", HINT, _ERRORS, how.hides):
        # Read whole, not mapped: a mapped file that is cut off while it is used kills the process.
        with filesystem.open_input_stream(path) as source:
            content = pa.py_buffer(source.read())
        is_file = content.size > 6 and content[:6].to_pybytes() == b"ARROW1"
        opened = pa.ipc.open_file(content) if is_file else pa.ipc.open_stream(content)
        table = opened.read_all()
    refuse_repeated(table.column_names, path, "write the file with distinct names")
    return Piece.whole(table)
