"""The same scores on parts of the rows: where a model is worse than it is on the whole. Shape letters: N rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import ndtri

from training.errors import DataError
from training.evaluation.bootstrap import LEVEL, Estimate, estimates
from training.evaluation.weighted import Scorer
from training.metric_names import METRIC_MODES
from training.package.shapes import StoredModel
from training.package.values import arrow_texts, distinct_texts

MAX_VALUES = 20  # more values of a column than this share a slice
MAX_NUMBERS = 10  # a column of more different numbers than this is cut at its quartiles
MIN_ROWS_TO_JUDGE = 30  # below, a resampled interval is too narrow to be believed: all right is 1.0 to 1.0
MISSING, OTHERS = "(missing)", "(others)"


class Slice(StoredModel):
    """Some of the rows, and their scores."""

    column: str
    value: str
    num_rows: int
    scores: dict[str, Estimate]
    differs: dict[str, str]  # score -> better or worse than the whole, where the whole lies outside the interval
    surely: tuple[str, ...]  # of these, what still differs when it is counted how many slices were looked at


@dataclass(frozen=True)
class Part:
    """Rows of one slice."""

    column: str
    value: str
    rows: np.ndarray


def parts_of(name: str, column: pa.ChunkedArray) -> list[Part]:
    """Divide rows by a column: its values, or quarters of its numbers or times; missing ones by themselves.

    Raises:
        DataError: its values are not single ones, as of images or lists.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        raise DataError(f"--by {name}: rows cannot be divided by values of type {column.type}")
    is_missing = column.is_null(nan_is_null=pa.types.is_floating(column.type)).to_numpy(zero_copy_only=False)
    found = _by_quarter(name, column, is_missing) if _is_wide(column) else _by_value(name, column, is_missing)
    missing = np.flatnonzero(is_missing)
    return [*found, Part(name, MISSING, missing)] if len(missing) else found


def slice_scores(
    parts: Sequence[Part],
    whole: Mapping[str, Estimate],
    scorer_of: Callable[[np.ndarray], Scorer],
    num_resamples: int,
    seed: int = 0,
) -> list[Slice]:
    """Scores of every part with intervals, and which lie apart from the whole.

    Args:
        parts: slices of one or several columns.
        whole: scores of all rows.
        scorer_of: the scorer of some rows.
        num_resamples: of each slice.
        seed: of the resamples.
    """
    found: list[Slice] = []
    for part in parts:
        scores = estimates(scorer_of(part.rows), num_resamples, seed)
        is_judged = len(part.rows) >= MIN_ROWS_TO_JUDGE
        differs = {name: verdict for name in scores if is_judged and (verdict := _verdict(name, scores, whole))}
        surely = tuple(name for name in differs if _is_sure(scores[name], whole[name], len(parts)))
        found.append(
            Slice(column=part.column, value=part.value, num_rows=len(part.rows), scores=scores, differs=differs,
                  surely=surely)
        )  # fmt: skip
    return found


def _verdict(name: str, scores: Mapping[str, Estimate], whole: Mapping[str, Estimate]) -> str:
    all_rows, here = whole[name].value, scores[name]
    if all_rows is None or here.value is None or here.holds(all_rows) is not False:
        return ""
    if here.low == here.high:  # the same in every resample, as an F1 of 0 is: that says nothing of other rows
        return ""
    is_lower_better = METRIC_MODES.get(name, "min" if name == "brier" else "max") == "min"
    return "better" if (here.value < all_rows) == is_lower_better else "worse"


def _is_sure(here: Estimate, whole: Estimate, num_slices: int) -> bool:
    """Bonferroni: 1 in 20 intervals of slices that do not differ misses, so many slices need wider ones."""
    if here.value is None or whole.value is None or here.deviation is None:
        return False
    reach = float(ndtri(1 - (1 - LEVEL) / (2 * num_slices)))
    return abs(here.value - whole.value) > reach * here.deviation


def _is_wide(column: pa.ChunkedArray) -> bool:
    kind = column.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not (is_number or _is_time(kind)):
        return False
    return bool(pc.count_distinct(column).as_py() > MAX_NUMBERS)


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _by_value(name: str, column: pa.ChunkedArray, is_missing: np.ndarray) -> list[Part]:
    texts, inverse = distinct_texts(arrow_texts(column.filter(pa.array(~is_missing))))
    values, counts = np.array(texts, dtype=str), np.bincount(inverse, minlength=len(texts))
    rows = np.flatnonzero(~is_missing)
    order = np.lexsort((values, -counts))
    named = order if len(order) <= MAX_VALUES else order[: MAX_VALUES - 1]
    written = _short if pa.types.is_floating(column.type) else str
    found = [Part(name, written(values[i]), rows[inverse == i]) for i in named]
    if len(rest := order[len(named) :]):
        found.append(Part(name, f"{OTHERS} {len(rest)} values", rows[np.isin(inverse, rest)]))
    return found


def _by_quarter(name: str, column: pa.ChunkedArray, is_missing: np.ndarray) -> list[Part]:
    known = column.filter(pa.array(~is_missing))
    rows, is_time = np.flatnonzero(~is_missing), _is_time(column.type)
    numbers = known.cast(pa.timestamp("ms")).cast(pa.int64()) if is_time else known.cast(pa.float64(), safe=False)
    values = numbers.to_numpy(zero_copy_only=False)
    cuts = np.unique(np.quantile(values, [0.25, 0.5, 0.75], method="inverted_cdf"))
    cuts = cuts[cuts < values.max()]
    quarter = np.searchsorted(cuts, values, side="left")
    found: list[Part] = []
    for i in range(len(cuts) + 1):
        inside = values[quarter == i]
        low, high = (_written(bound, is_time) for bound in (inside.min(), inside.max()))
        found.append(Part(name, low if low == high else f"{low} to {high}", rows[quarter == i]))
    return found


def _short(number: float | str) -> str:
    """A number without the digits that only its storage needs."""
    return f"{float(number):,.6g}"


def _written(number: float, is_time: bool) -> str:
    if not is_time:
        return _short(number)
    text = str(np.datetime64(int(number), "ms"))
    return text.removesuffix("T00:00:00.000").removesuffix(".000").replace("T", " ")
