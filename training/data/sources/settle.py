"""Decide what a text column is where the file does not say: numbers or dates with some bad values, or text."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.column_config import DateColumn
from training.data.sources.as_dates import check_format, read_dates
from training.data.sources.as_numbers import number_mask, to_numbers
from training.data.sources.draft import Draft, How, as_mask, is_text
from training.data.sources.words import examples, share_words
from training.errors import DataError

MIN_SHARE = 0.9  # of the values that are there: from here on the others are the mistake
SAMPLE_ROWS = 1000
MIN_SAMPLE_SHARE = 0.5  # far below MIN_SHARE, so that chance cannot decide
_DATE_LIKE = r"^[0-9]{1,4}[-./][0-9]{1,2}[-./][0-9]{1,4}(?:[ T].*)?$"
OTHER_FORMAT = "is a date in another format"
NO_DATE = "is no date"


def settle_columns(draft: Draft, how: How) -> None:
    """Give each text column its type, and mark rows whose value does not fit it as bad.

    Raises:
        DataError: a column declared as dates of which too few are dates as written, or one of dates in two formats.
    """
    for name in draft.table.column_names:
        if name in how.data.ignore or name in how.shape.cast or how.is_personal(name):
            continue
        column = draft.table.column(name)
        match how.data.kind_of(name):
            case "date":
                _declared_date(draft, how, name)
            case "numeric" if is_text(column.type):
                _declared_number(draft, how, name)
            case None if is_text(column.type) and not how.is_identifier(name):
                _Guess(draft, how, name).decide()


@dataclass
class _Guess:
    """A column of which nothing is declared."""

    draft: Draft
    how: How
    name: str

    def decide(self) -> None:
        text = self.draft.table.column(self.name)
        sample = _sample(text)
        may_be_number = self.name in self.draft.untyped and _share(number_mask(sample), sample) >= MIN_SAMPLE_SHARE
        if may_be_number and self._numbers(text):
            return
        if self.name not in self.how.data.targets and _share(_date_like(sample), sample) >= MIN_SAMPLE_SHARE:
            self._dates(text)

    def _numbers(self, text: pa.ChunkedArray) -> bool:
        is_good = number_mask(text)
        share = _share(is_good, text)
        if share < MIN_SHARE:
            return False
        reason = f"is no number, as {share:.2%} of the column are (data.columns may declare it categorical)"
        _take(self.draft, self.how, self.name, to_numbers(text, is_good), {reason: _others(text, is_good)})
        return True

    def _dates(self, text: pa.ChunkedArray) -> None:
        dates, is_good = read_dates(text, None)
        if _share(is_good, text) >= MIN_SHARE:
            _take(self.draft, self.how, self.name, dates, _date_faults(text, is_good))
        elif is_good.any() and _share(is_good | _date_like(text), text) >= MIN_SHARE:
            # As categories the two spellings of a day would be strangers to each other.
            raise DataError(
                f"{self.how.said}: {self.name} looks like dates in more than one format: {_share(is_good, text):.1%} "
                f"are written as ISO 8601 (2021-12-31){_two_sides(text, is_good, self.how)}",
                "two formats in one column cannot be told apart safely: write them alike; or declare "
                f"data.columns: {{{self.name}: categorical}} if they are names, not dates",
            )


def _declared_number(draft: Draft, how: How, name: str) -> None:
    text = draft.table.column(name)
    is_good = number_mask(text)
    if is_good.any():
        _take(draft, how, name, to_numbers(text, is_good), {"is no number": _others(text, is_good)})


def _declared_date(draft: Draft, how: How, name: str) -> None:
    column = draft.table.column(name)
    if pa.types.is_temporal(column.type) or pa.types.is_null(column.type):
        return
    own = isinstance(how.data.columns.get(name), DateColumn)
    key = f"data.columns.{name}.format" if own else "data.features.date.format"
    settings = how.data.settings_of(name, "date")
    written = getattr(settings, "format", None)
    if written is not None:
        check_format(written, key)
    if pa.types.is_integer(column.type) and written is not None:
        column = column.cast(pa.string())
    if not is_text(column.type):
        raise DataError(
            f"{how.said}: {name} is declared a date, but holds {column.type}",
            f"{key} may say how numbers are read, as in '%Y%m%d'; or declare another kind",
        )
    dates, is_good = read_dates(column, written)
    if (share := _share(is_good, column)) < MIN_SHARE:
        raise DataError(
            f"{how.said}: {name} is declared a date, but only {share:.1%} of its values are dates written as "
            f"{written or 'ISO 8601 (2021-12-31)'}{_two_sides(column, is_good, how)}",
            f"two formats in one column cannot be told apart safely: write them alike, or set {key}",
        )
    _take(draft, how, name, dates, _date_faults(column, is_good))


def _date_like(text: pa.ChunkedArray) -> np.ndarray:
    return as_mask(pc.match_substring_regex(text, _DATE_LIKE))


def _two_sides(column: pa.ChunkedArray, is_good: np.ndarray, how: How) -> str:
    others = np.flatnonzero(_others(column, is_good))
    said = f"; {share_words(len(others), len(column))} are not{examples(column, others[:3], how.hides)}"
    return said if not len(others) else f"{said}, the first in row {others[0]} (the first is 0)"


def _date_faults(text: pa.ChunkedArray, is_good: np.ndarray) -> dict[str, np.ndarray]:
    others = _others(text, is_good)
    has_digit = as_mask(pc.match_substring_regex(text, "[0-9]")) if others.any() else others
    return {OTHER_FORMAT: others & has_digit, NO_DATE: others & ~has_digit}


def _take(draft: Draft, how: How, name: str, values: pa.ChunkedArray, faults: dict[str, np.ndarray]) -> None:
    for reason, is_bad in faults.items():
        # A row that slipped by a field may hold personal data in any column.
        draft.reject_values(is_bad, name, reason, hides=how.hides and name in draft.untyped)
    draft.replace(name, values)


def _others(text: pa.ChunkedArray, is_good: np.ndarray) -> np.ndarray:
    return as_mask(text.is_valid()) & ~is_good


def _share(is_good: np.ndarray, text: pa.ChunkedArray) -> float:
    known = len(text) - text.null_count
    return float(is_good.sum()) / known if known else 0.0


def _sample(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """A few values, drawn at random: every n-th would fall in step with a table that repeats."""
    known = text.drop_null() if text.null_count > len(text) // 2 else text
    if len(known) <= SAMPLE_ROWS:
        return known.drop_null()
    return known.take(pa.array(np.random.default_rng(0).integers(len(known), size=SAMPLE_ROWS))).drop_null()
