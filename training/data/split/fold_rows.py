"""All folds of some rows at once, as `data.split` divides: for a cross-validation that leaves the test part alone.

Shape letters: P rows of the pool, K strata.
"""

import numpy as np
import pyarrow as pa

from training.data.config import DataConfig, FoldsConfig
from training.data.split.divide import Cut, divider_of
from training.data.split.parts import MIN_HELD_OUT
from training.data.split.strata import Strata, strata_of
from training.data.table import Schema
from training.errors import DataError


def fold_rows(
    table: pa.Table, schema: Schema, data: DataConfig, count: int, pool: np.ndarray, rows: np.ndarray | None = None
) -> tuple[Cut, ...]:
    """Places of the rows to train on and of those held out, for each fold.

    Random, group and hash folds hold out each row of the pool once. Folds by time train on earlier rows only, so that
    the earliest rows are held out by none.

    Args:
        table: the main source, checked.
        schema: what is predicted.
        data: `data.split` says how to divide.
        count: folds, at least 2.
        pool: places (P,) of the rows to divide, rising.
        rows: number (N,) of each row in the source as read, for messages; None where no row was left out.

    Raises:
        DataError: too few rows, rows of a class, groups or times for so many folds.
    """
    folded = data.model_copy(update={"split": data.split.model_copy(update={"folds": FoldsConfig(count=count)})})
    is_even = data.split.stratify and data.split.kind in ("random", "group")
    strata = strata_of(table, schema, folded) if is_even else None
    if data.split.kind == "random":
        _require_enough(strata, count, pool, schema.target)
    divider = divider_of(table, folded, strata, rows)
    cuts = tuple(divider.fold(pool, FoldsConfig(count=count, index=i), parts_left=1) for i in range(count))
    for number, (kept, held) in enumerate(cuts):
        if not len(kept) or len(held) < MIN_HELD_OUT:
            raise DataError(
                f"fold {number} of {count} (the first is 0) would train on {len(kept)} and hold out {len(held)} of the "
                f"{len(pool):,} rows of training and validation; at least 1 and {MIN_HELD_OUT} are needed",
                "ask for fewer folds, or add rows",
            )
    return cuts


def _require_enough(strata: Strata | None, count: int, pool: np.ndarray, target: str) -> None:
    if len(pool) < MIN_HELD_OUT * count:
        raise DataError(
            f"{len(pool)} rows of training and validation are too few for {count} folds of {MIN_HELD_OUT} rows",
            f"at most {len(pool) // MIN_HELD_OUT} folds are possible",
        )
    if strata is None:
        return
    counts_K = strata.counts(pool)
    if not len(rare := np.flatnonzero(counts_K < count)):
        return
    listed = ", ".join(f"{strata.names[i]!r} ({counts_K[i]})" for i in rare[:5])
    least = int(counts_K.min())
    fewer = f"ask for at most {least} folds, " if least >= 2 else ""
    raise DataError(
        f"classes of {target} with too few rows of training and validation to stand in each of {count} folds: {listed}",
        f"{fewer}add rows of these classes, join them to others with data.rename_labels, or set "
        "data.split.stratify: false",
    )
