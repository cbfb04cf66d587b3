"""Text to dates and times, by ISO 8601 or a format, without a loop over rows."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.sources.draft import as_mask
from training.errors import DataError

_DATE = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME = r"[ T](?:[01][0-9]|2[0-3])(?::[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?)?"
_ZONE = r"(?:Z|[+-][0-9]{2}:?[0-9]{2})"
_ISO_DAY = "%Y-%m-%d"
_ONLY_PYTHON = ("%f", "%z", "%Z")  # which Arrow's reader of formats does not know
_HOURS = ("%H", "%I", "%c", "%X", "%T", "%R", "%M", "%S", *_ONLY_PYTHON)


def read_dates(text: pa.ChunkedArray, written: str | None) -> tuple[pa.ChunkedArray, np.ndarray]:
    """Dates (N,) where texts are some, null elsewhere, and which texts (N,) are.

    Args:
        text: without surrounding spaces.
        written: a format as of `strptime`; None for ISO 8601.

    Returns:
        Days as date32 where no text has a time of day, else timestamps; with zones they are in UTC. Of ISO texts
        with and without a zone only the more frequent count.
    """
    return _read_iso(text) if written is None else _read_format(text, written)


def check_format(written: str, key: str) -> None:
    """Raise DataError for a format that cannot be one. `key` is where it stands in the config."""
    try:
        datetime.strptime(datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC).strftime(written), written)
    except ValueError as error:
        raise DataError(f"{key} is {written!r}, which is no format of dates: {error}", "as in %d.%m.%Y %H:%M") from None


def _read_iso(text: pa.ChunkedArray) -> tuple[pa.ChunkedArray, np.ndarray]:
    plain = as_mask(pc.match_substring_regex(text, f"^{_DATE}(?:{_TIME})?$"))
    zoned = as_mask(pc.match_substring_regex(text, f"^{_DATE}{_TIME}{_ZONE}$"))
    is_good, kind = (plain, pa.timestamp("us")) if plain.sum() >= zoned.sum() else (zoned, pa.timestamp("us", "UTC"))
    # 2021-02-30 has the form of a date; Arrow would stop at it.
    days = pc.utf8_slice_codeunits(_only(text, is_good), 0, 10)
    is_good &= as_mask(_same(days, _ISO_DAY))
    good = _only(text, is_good)
    has_time = as_mask(pc.greater(pc.utf8_length(good), 10)).any()
    return good.cast(kind if has_time else pa.date32()), is_good


def _read_format(text: pa.ChunkedArray, written: str) -> tuple[pa.ChunkedArray, np.ndarray]:
    if any(part in written for part in _ONLY_PYTHON):
        read = _read_distinct(text, written)
    else:
        read = pc.strptime(text, format=written, unit="s", error_is_null=True)
        # The C library takes 31.02. for 2.3., and is lax about spaces and zeros: Python judges what differs.
        doubtful = ~as_mask(_same(text, written)) & as_mask(text.is_valid())
        if doubtful.any():
            judged = _read_distinct(text.filter(pa.array(doubtful)), written)
            read = pc.replace_with_mask(read, pa.array(doubtful), judged.combine_chunks())
    has_time = any(part in written for part in _HOURS)
    return read if has_time else read.cast(pa.date32()), as_mask(read.is_valid())


def _same(text: pa.ChunkedArray, written: str) -> pa.ChunkedArray:
    """Which texts are just what their own reading would be written as."""
    read = pc.strptime(text, format=written, unit="s", error_is_null=True)
    return pc.equal(pc.strftime(read, format=written, locale="C"), text)


def _read_distinct(text: pa.ChunkedArray, written: str) -> pa.ChunkedArray:
    encoded = text.dictionary_encode().unify_dictionaries()
    kind = pa.timestamp("us", "UTC") if "%z" in written or "%Z" in written else pa.timestamp("s")
    kind = pa.timestamp("us") if kind.tz is None and "%f" in written else kind
    if encoded.num_chunks == 0:
        return pa.chunked_array([], kind)
    values = pa.array([_read_one(value, written) for value in encoded.chunk(0).dictionary.to_pylist()], kind)
    return pa.chunked_array([values.take(chunk.indices) for chunk in encoded.chunks], kind)


def _read_one(value: str, written: str) -> datetime | None:
    try:
        return datetime.strptime(value, written)
    except ValueError:
        return None


def _only(text: pa.ChunkedArray, is_good: np.ndarray) -> pa.ChunkedArray:
    return pc.if_else(pa.array(is_good), text, pa.scalar(None, pa.string()))
