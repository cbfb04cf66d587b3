"""Divide a checked table as `data.split` says."""

from typing import Protocol

import numpy as np
import pyarrow as pa

from training.data.config import DataConfig, FoldsConfig, SplitConfig
from training.data.fingerprint import row_hashes
from training.data.split.group_rows import GroupRows
from training.data.split.hash_rows import HashRows, id_hashes
from training.data.split.notes import notes_on
from training.data.split.parts import MIN_HELD_OUT, Split, require_rows
from training.data.split.random_rows import RandomRows
from training.data.split.strata import Strata, decoded, distinct_codes, missing_places, require_rows_of_each, strata_of
from training.data.split.time_rows import TimeRows, time_numbers
from training.data.table import Schema
from training.errors import DataError

Cut = tuple[np.ndarray, np.ndarray]  # rows kept, rows held out, both rising


class Divider(Protocol):
    """One way of dividing. It gives the same parts for the same rows, whatever was asked before."""

    def cut(self, rows: np.ndarray, share: float, step: int, parts_left: int) -> Cut:
        """Hold out a share of the rows.

        Args:
            rows: places of the rows to divide, rising.
            share: to hold out.
            step: numbers the cuts of one division, so that each has a chance of its own.
            parts_left: parts that the kept rows will be divided into later.
        """

    def fold(self, rows: np.ndarray, folds: FoldsConfig, parts_left: int) -> Cut:
        """Hold out one fold of the rows; the others as in `cut`."""


def split_rows(
    table: pa.Table, schema: Schema, data: DataConfig, num_test_rows: int | None, rows: np.ndarray | None = None
) -> Split:
    """Divide the rows of a checked table.

    Args:
        table: the main source, target complete.
        schema: what is predicted.
        data: `data.split` says how.
        num_test_rows: rows of the separate test source, or None to hold out a share of the main one.
        rows: number (N,) of each row in the source as read, for messages; None where no row was left out.

    Raises:
        DataError: too few rows, classes, groups or times for what is asked, or values missing in `data.split.by`.
    """
    config, is_separate = data.split, num_test_rows is not None
    strata = strata_of(table, schema, data) if config.stratify and config.kind in ("random", "group") else None
    divider = divider_of(table, data, strata, rows)
    if config.kind == "random":
        _require_enough(table.num_rows, strata, config, is_separate)
        if strata is not None:
            require_rows_of_each(strata, config, schema.target, is_separate)
    train, validation, test = divide_rows(divider, table.num_rows, config, num_test_rows)
    split = Split(train, validation, test, test_is_separate=is_separate)
    require_rows(split, table.num_rows)
    return notes_on(split, table, schema, data)


def columns_left_out(split: SplitConfig) -> tuple[str, ...]:
    """Columns that say where a row belongs and are no features: groups and row ids, not times."""
    return (split.by,) if split.by is not None and split.kind in ("group", "hash") else ()


def divide_rows(
    divider: Divider, num_rows: int, config: SplitConfig, num_test_rows: int | None
) -> tuple[np.ndarray, ...]:
    """Places of the rows to train on, of those of validation and of those of test; see `split_rows`."""
    every, folds = np.arange(num_rows), config.folds
    if folds is not None and folds.part == "test":
        rest, test = divider.fold(every, folds, parts_left=2)
        train, validation = divider.cut(rest, config.validation / (1 - 1 / folds.count), step=1, parts_left=1)
        return train, validation, test
    if num_test_rows is not None:
        rest, test, share, step = every, np.arange(num_test_rows), config.validation, 0
    else:
        rest, test = divider.cut(every, config.test, step=0, parts_left=_parts_of_the_rest(config))
        share, step = config.validation / (1 - config.test), 1
    if folds is not None:
        train, validation = divider.fold(rest, folds, parts_left=1)
    else:
        train, validation = divider.cut(rest, share, step, parts_left=1)
    return train, validation, test


def _parts_of_the_rest(config: SplitConfig) -> int:
    if config.folds is None:
        return 2
    return config.folds.count + (config.kind == "time")  # before the first fold in time there are rows to train on


def divider_of(table: pa.Table, data: DataConfig, strata: Strata | None, rows: np.ndarray | None) -> Divider:
    """The way of dividing that `data.split` asks for; arguments as of `split_rows`. Raises DataError."""
    config = data.split
    by = _by_column(table, data, rows)
    if config.kind == "random":
        return RandomRows(strata, config.seed)
    if config.kind == "hash":
        return HashRows(row_hashes(table) if by is None else id_hashes(by), config.seed)
    assert by is not None
    assert config.by is not None
    if config.kind == "time":
        return TimeRows(time_numbers(by, config.by), config.by)
    return GroupRows(_group_codes(by, config.by), strata, config.seed, config.by)


def _by_column(table: pa.Table, data: DataConfig, rows: np.ndarray | None) -> pa.ChunkedArray | None:
    name = data.split.by
    if name is None:
        return None
    if name not in table.column_names:
        raise DataError(
            f"data.split.by names {name}, but {data.source} has no such column",
            f"columns: {', '.join(table.column_names)}",
        )
    column = decoded(table.column(name))
    places = missing_places(column)
    if len(places):
        first = places[0] if rows is None else rows[places[0]]
        kind = {"group": "group", "time": "time", "hash": "row id"}[data.split.kind]
        raise DataError(
            f"data.split.by {name}: {len(places)} of {table.num_rows} rows have no {kind}, the first of them is row "
            f"{first} (the first is 0)",
            f"fill them in, or have them left out: data.checks.columns: {{{name}: {{nullable: false}}}} with "
            "data.checks.max_bad_fraction",
        )
    return column


def _group_codes(column: pa.ChunkedArray, name: str) -> np.ndarray:
    try:
        return distinct_codes(column)[0]
    except pa.ArrowNotImplementedError as error:
        raise DataError(
            f"data.split.by {name} is of type {column.type}, which cannot name groups", "name a column of single values"
        ) from error


def _require_enough(num_rows: int, strata: Strata | None, config: SplitConfig, is_separate: bool) -> None:
    """Before the first cut: what the second one would say of the rows left to it is hard to understand."""
    least = max(len(strata.names) if strata else 1, MIN_HELD_OUT)
    num_held = least if is_separate else 2 * least
    if config.folds is None and num_rows - num_held < least - (strata is None):
        raise DataError(
            f"{num_rows} rows are too few to divide: {least} at least for each part that is held out leave "
            f"{max(num_rows - num_held, 0)} to train on",
            "add rows",
        )
