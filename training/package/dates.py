"""Dates and times: read from text, and as numbers a model takes. Shape letters: N rows, W numbers of a date.

A time with an offset counts as the instant it means, in UTC; one without is taken as it stands.
"""

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from training.package.errors import UnreadableValue
from training.package.fitted import CYCLES, DatePart, DatePartTransform, DateTransform
from training.package.numbers import MAX_SCALES
from training.package.values import Texts, distinct_texts

DATES = np.dtype("datetime64[us]")
_LOOKS_ISO = re.compile(r"\d{4}-?\d\d-?\d\d|\d{4}-?W\d\d")
_PROBE = datetime(2024, 3, 25, 13, 45, 7)
_FIRST, _LAST = np.datetime64("0001-01-01T00:00:00", "us"), np.datetime64("9999-12-31T23:59:59.999999", "us")
_UNITS = {"h": 24, "m": 60}


class DateReader:
    """Texts to datetime64[us] (N,), NaT where missing.

    Args:
        date_format: how texts of a table are written, as strptime has it; None for ISO 8601.
        missing: texts that mean that there is no date.
        of_client: a client writes ISO 8601 in any case; the format is understood too where its texts cannot be
            taken for ISO 8601.
    """

    def __init__(
        self, date_format: str | None = None, missing: Collection[str] = (), *, of_client: bool = False
    ) -> None:
        self._format, self._missing = date_format, frozenset(("", *missing))
        looks_iso = date_format is not None and _LOOKS_ISO.match(_PROBE.strftime(date_format)) is not None
        self._reads_iso = date_format is None or of_client
        self._reads_format = date_format is not None and not (of_client and looks_iso)

    def __call__(self, values: Texts) -> np.ndarray:
        """Raises UnreadableValue for the first text that is no date."""
        if not isinstance(values, pa.Array | pa.ChunkedArray):
            return self._read(values if isinstance(values, list) else values.tolist())
        if self._format is None and (whole := _cast(values)) is not None:
            return whole
        texts, index_N = distinct_texts(values)
        try:
            return self._read(texts)[index_N]
        except UnreadableValue as error:
            raise UnreadableValue(int(np.flatnonzero(index_N == error.index)[0]), error.reason) from None

    def _read(self, texts: Sequence[str | None]) -> np.ndarray:
        dates: list[datetime | None] = []
        for index, text in enumerate(texts):
            try:
                dates.append(self._one(text))
            except ValueError:
                raise UnreadableValue(index, f"is {_shown(text)}, expected {self._expected}") from None
        return np.array(dates, dtype=DATES)

    def _one(self, text: str | None) -> datetime | None:
        if text is None or (text := text.strip()) in self._missing:
            return None
        if self._reads_iso:
            try:
                return _utc(datetime.fromisoformat(text))
            except ValueError:
                if not self._reads_format:
                    raise
        return _utc(datetime.strptime(text, str(self._format)))

    @property
    def _expected(self) -> str:
        iso = "a date in ISO 8601 such as 2024-03-25 or 2024-03-25T13:45:07"
        if not self._reads_format:
            return iso
        own = f"a date of the form {self._format}, such as {_PROBE.strftime(str(self._format))}"
        return f"{iso}, or {own}" if self._reads_iso else own


def arrow_dates(column: pa.ChunkedArray) -> np.ndarray:
    """An Arrow column of dates or timestamps as datetime64[us], NaT where missing; times of day in UTC."""
    kind = column.type
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("s" if pa.types.is_date32(kind) else "ms"))
    if pa.types.is_timestamp(column.type):
        # Not checked for exactness: below a microsecond nothing is read.
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    dates_N: np.ndarray = column.to_numpy(zero_copy_only=False).astype(DATES)
    if (beyond_N := (dates_N < _FIRST) | (dates_N > _LAST)).any():
        index = int(beyond_N.argmax())
        raise UnreadableValue(index, f"is {dates_N[index]}, expected a date of the years 1 to 9999")
    return dates_N


def iso_texts(dates_N: np.ndarray) -> list[str | None]:
    """Dates as a client sends them: ISO 8601 without what is zero, None where missing."""
    return [None if date is None else _iso(date) for date in dates_N.astype(DATES).tolist()]


def date_part(dates_N: np.ndarray, part: DatePart) -> np.ndarray:
    """One number of each date (N,) float64, NaN where missing. Mondays are weekday 0, months and days start at 1."""
    return np.where(np.isnat(dates_N), np.nan, _numbers(dates_N, part))


def _numbers(dates_N: np.ndarray, part: DatePart) -> np.ndarray:
    if part == "timestamp":
        return dates_N.astype(np.int64) / 1e6  # seconds since 1970
    if part in ("hour", "minute"):
        unit = part[0]
        return dates_N.astype(f"datetime64[{unit}]").astype(np.int64) % _UNITS[unit]
    return _calendar(dates_N, part)


def _calendar(dates_N: np.ndarray, part: DatePart) -> np.ndarray:
    if part == "year":
        return dates_N.astype("datetime64[Y]").astype(np.int64) + 1970
    if part == "month":
        return dates_N.astype("datetime64[M]").astype(np.int64) % 12 + 1
    days_N = dates_N.astype("datetime64[D]")
    if part == "weekday":
        return (days_N.astype(np.int64) + 3) % 7  # 1970 began on a Thursday
    start_N = days_N.astype("datetime64[M]" if part == "day" else "datetime64[Y]").astype("datetime64[D]")
    return (days_N - start_N).astype(np.int64) + 1


class DateEncoder:
    """One column of dates as numbers."""

    def __init__(self, column: DateTransform) -> None:
        self.name, self.width, self._parts = column.name, len(column.inputs), column.parts

    def into(self, out_NW: np.ndarray, dates_N: np.ndarray) -> None:
        """Write into `out_NW`, which has just its columns."""
        dates_N = np.asarray(dates_N, dtype=DATES)
        place = 0
        for part in self._parts:
            numbers_N = date_part(dates_N, part.part)
            numbers_N[np.isnan(numbers_N)] = part.fill
            for values_N in part_inputs(numbers_N, part):
                out_NW[:, place] = values_N
                place += 1
        out_NW[:, place] = np.isnat(dates_N)


def part_inputs(numbers_N: np.ndarray, part: DatePartTransform) -> tuple[np.ndarray, ...]:
    """Sine and cosine of a part that repeats, else the standardised part itself; each (N,)."""
    if part.cyclic:
        first, count = CYCLES[part.part]
        angle_N = (numbers_N - first) * (2 * np.pi / count)
        return np.sin(angle_N), np.cos(angle_N)
    return (np.clip((numbers_N - part.mean) / part.scale, -MAX_SCALES, MAX_SCALES),)


def _cast(values: pa.Array | pa.ChunkedArray) -> np.ndarray | None:
    """All texts at once where they are plain ISO 8601, as `datetime.fromisoformat` would read them; else None."""
    try:
        cast = values.cast(pa.timestamp("us"))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    dates_N = np.asarray(cast.to_numpy(zero_copy_only=False)).astype(DATES)
    return None if (dates_N < _FIRST).any() else dates_N  # Arrow knows a year 0


def _utc(date: datetime) -> datetime:
    return date if date.tzinfo is None else date.astimezone(UTC).replace(tzinfo=None)


def _iso(date: datetime) -> str:
    is_day = (date.hour, date.minute, date.second, date.microsecond) == (0, 0, 0, 0)
    return date.date().isoformat() if is_day else date.isoformat()


def _shown(text: str | None) -> str:
    return repr(text) if text is None or len(text) <= 40 else f"a text of {len(text)} characters"
