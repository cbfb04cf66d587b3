"""Units: the column that the table has in inches, in centimetres."""

from functools import cache
from tokenize import TokenError
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from training.data.sources.draft import Draft, How, is_number
from training.data.sources.words import require_columns
from training.errors import DataError

if TYPE_CHECKING:
    import pint

# What pint raises for units that it does not know, cannot parse, or cannot turn into each other. Its own errors
# derive from some of these, and some texts end in Python's parser.
UNIT_ERRORS = (AttributeError, TypeError, ValueError, AssertionError, SyntaxError, TokenError, KeyError)


def convert_columns(draft: Draft, how: How) -> None:
    """Convert the units of the columns that `convert` names.

    Raises:
        DataError: a column that is not there or holds no numbers, units that are unknown or of different kinds.
    """
    require_columns(how.key("convert"), how.shape.convert, draft.table.column_names, how.said, how.hides)
    for name, units in how.shape.convert.items():
        column = draft.table.column(name)
        if pa.types.is_null(column.type):
            continue
        if not is_number(column.type):
            raise DataError(
                f"{how.said}: {how.key('convert')}.{name} is {units!r}, but the column holds {column.type}, no numbers",
                f"{how.key('cast')}.{name}: number makes numbers of it",
            )
        before, _, after = (part.strip() for part in units.partition("->"))
        values_N = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        converted_N = _converted(values_N, before, after, f"{how.said}: {how.key('convert')}.{name}")
        missing_N = column.is_null().to_numpy()
        draft.replace(name, pa.chunked_array([pa.array(converted_N, mask=missing_N)]))


def _converted(values_N: np.ndarray, before: str, after: str, where: str) -> np.ndarray:
    try:
        quantity = _units().Quantity(values_N, before)
        return np.asarray(quantity.to(after).magnitude, dtype=np.float64)
    except UNIT_ERRORS as error:
        said = " ".join(str(error).split())[:200] or "it is no expression of units"
        raise DataError(
            f"{where}: {before!r} cannot be converted to {after!r}: {said}",
            "units as in inch -> cm, degF -> degC, lb -> kg, mile/hour -> m/s",
        ) from None


@cache
def _units() -> "pint.UnitRegistry[float]":
    import pint  # noqa: PLC0415  a tenth of a second that only those pay who convert

    return pint.UnitRegistry()
