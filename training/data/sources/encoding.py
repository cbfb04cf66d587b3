"""Find the byte that is not UTF-8, so that a person can look at it."""

import codecs
import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.fs as pafs

from training.data.sources.words import listed
from training.errors import DataError

BLOCK_BYTES = 1 << 20
HINT = "save the file as UTF-8, for example with `iconv -f {} -t utf-8`"
_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def refuse_other_encodings(
    filesystem: pafs.FileSystem, path: str, delimiter: str | None, has_header: bool, columns: Sequence[str] = ()
) -> None:
    """Raise DataError with the place of the first byte that is not UTF-8; return where all of the file is.

    Args:
        filesystem: of the file.
        path: the file, CSV or lines.
        delimiter: of its fields; None where every line is a row.
        has_header: whether its first row is no row of data.
        columns: that hold such bytes, where known.
    """
    try:
        with filesystem.open_input_stream(path) as stream:
            offset, byte, before = _first_bad_byte(stream)
    except OSError:
        return  # it cannot be read to its end, which the caller found out before
    if byte is None:
        return
    where = f", in the column {listed(columns)}" if columns else ""
    is_wide = before[:2] in _WIDE or (before + bytes([byte]))[:1] in (b"\xff", b"\xfe")
    looks = "; it looks like UTF-16" if is_wide else ""
    row = _num_rows(before, delimiter) - (1 if has_header else 0)
    place = f"row {row} (the first is 0)" if row >= 0 else "the header"
    raise DataError(
        f"{path} is not UTF-8 text: {place}{where} holds the byte 0x{byte:02x}, at offset {offset}{looks}",
        HINT.format("utf-16" if is_wide else "windows-1252"),  # of which latin1 is a part, but for control characters
    )


def _first_bad_byte(stream: pa.NativeFile) -> tuple[int, int | None, bytes]:
    """Its offset, the byte (None where there is none), and all that stands before it."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = bytearray()
    while True:
        block = stream.read(BLOCK_BYTES)
        pending = len(decoder.getstate()[0])
        start = len(read) - pending
        read += block
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            at = start + error.start
            return at, read[at], bytes(read[:at])
        if not block:
            return len(read), None, b""


def _num_rows(before: bytes, delimiter: str | None) -> int:
    """Whole rows, header included, that stand before a place in the file."""
    if b"\n" not in before and b"\r" not in before:
        return 0
    if delimiter is None:
        return before.count(b"\n")
    ragged = 0

    def count(_: pacsv.InvalidRow) -> str:
        nonlocal ragged
        ragged += 1
        return "skip"

    # Arrow takes the first row for a header, and the last one is cut.
    table = pacsv.read_csv(
        io.BytesIO(before + b"x"),
        pacsv.ReadOptions(use_threads=False, block_size=max(BLOCK_BYTES, min(len(before) + 2, 1 << 30))),
        pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=count),
    )
    return int(table.num_rows) + ragged
