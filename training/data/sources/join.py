"""Join a further source to the rows of the main one, and judge what did not match."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from training.data.config import JoinConfig
from training.data.sources.draft import Draft, How
from training.data.sources.join_keys import NO_KEY, codes, comparable, first_rows
from training.data.sources.words import listed, require_columns, share_words
from training.errors import DataError

PIECE_ROWS = 1 << 20  # rows gathered at a time: Arrow's plain text ends at 2 GiB an array
MAX_EXAMPLES = 5


@dataclass(frozen=True)
class Side:
    """One of the two tables."""

    table: pa.Table
    how: How

    @property
    def said(self) -> str:
        """The table, for a message."""
        return self.how.said


def join_source(main: Draft, how: How, other: Draft, other_how: How, join: JoinConfig) -> None:
    """Add the columns of `other` to the rows of `main`, whose order and numbers stay.

    Raises:
        DataError: keys that are not there or of different kinds, columns that both have, or more rows without a
            match, or keys that stand twice, than the config allows.
    """
    left, right = Side(main.table, how), Side(other.table, other_how)
    taken = _taken(left, right, join)
    left_N, right_M = _codes(left, right, join)
    rows, counts = first_rows(right_M)
    _judge_duplicates(right, join, main.notes, rows, counts)
    matched_N = np.where(left_N == NO_KEY, NO_KEY, rows[left_N] if len(rows) else NO_KEY)
    _judge_unmatched(left, right, join, main.notes, matched_N)
    if num_lacking := int((right_M == NO_KEY).sum()):
        main.notes.append(f"{right.said}: {share_words(num_lacking, len(right_M))} rows have no key and match nothing")
    if join.how == "inner":
        keep = matched_N != NO_KEY
        main.table, main.row_ids = main.table.filter(pa.array(keep)), main.row_ids[keep]
        matched_N = matched_N[keep]
    for name, column in zip(taken, _gathered(right.table.select(taken), matched_N), strict=True):
        main.table = main.table.append_column(name, column)


def _taken(left: Side, right: Side, join: JoinConfig) -> list[str]:
    where = f"data.{right.how.name}"
    ours, theirs, hides = left.table.column_names, right.table.column_names, left.how.hides
    require_columns(f"{where}.on", join.keys, ours, left.said, hides)
    require_columns(f"{where}.on", join.keys.values(), theirs, right.said, hides)
    require_columns(f"{where}.take", join.take or (), theirs, right.said, hides)
    keys = set(join.keys.values())
    wanted = right.table.column_names if join.take is None else list(join.take)
    taken = [name for name in wanted if name not in keys]
    if common := [name for name in taken if name in left.table.column_names]:
        raise DataError(
            f"{where}: {right.said} has the column {listed(common)}, which the rows it is joined to have already",
            f"{where}.rename gives it another name, {where}.take leaves it out",
        )
    return taken


def _codes(left: Side, right: Side, join: JoinConfig) -> tuple[np.ndarray, np.ndarray]:
    lefts, rights = [], []
    for here, there in join.keys.items():
        _refuse_half_hashed(left, right, here, there)
        ours, theirs = left.table.column(here), right.table.column(there)
        pair = comparable(ours, theirs)
        if pair is None:
            raise DataError(
                f"data.{right.how.name}.on: {here} of {left.said} is {ours.type}, but {there} of {right.said} is "
                f"{theirs.type}, so no key can match",
                f"read both alike: data.cast.{here}: text, or data.{right.how.name}.cast.{there}: text",
            )
        lefts.append(pair[0])
        rights.append(pair[1])
    return codes(lefts, rights)


def _refuse_half_hashed(left: Side, right: Side, here: str, there: str) -> None:
    if left.how.is_personal(here) != right.how.is_personal(there):
        raise DataError(
            f"data.{right.how.name}.on: data.pii hashes one of {here} of {left.said} and {there} of {right.said}, "
            "so no key can match",
            f"name both {here} and {there} in data.pii",
        )


def _judge_duplicates(right: Side, join: JoinConfig, notes: list[str], rows: np.ndarray, counts: np.ndarray) -> None:
    num_twice = int((counts > 1).sum())
    if not num_twice:
        return
    said = f"{right.said}: {share_words(num_twice, len(counts))} keys stand more than once"
    if num_twice > join.max_duplicate_fraction * len(counts):
        keys = _keys(right, list(join.keys.values()), rows[counts > 1])
        raise DataError(
            f"{said}{keys}; allowed is {join.max_duplicate_fraction:.2%}",
            f"make the keys of {right.said} unique, or allow it with data.{right.how.name}.max_duplicate_fraction: "
            "the first row of a key counts then",
        )
    notes.append(f"{said}; the first row of each counts")


def _judge_unmatched(left: Side, right: Side, join: JoinConfig, notes: list[str], matched_N: np.ndarray) -> None:
    is_alone = matched_N == NO_KEY
    num_alone = int(is_alone.sum())
    if not num_alone:
        return
    said = f"{share_words(num_alone, len(matched_N))} rows of {left.said} have no match in {right.said}"
    if num_alone > join.max_unmatched_fraction * len(matched_N):
        raise DataError(
            f"{said}{_keys(left, list(join.keys), np.flatnonzero(is_alone))}; "
            f"allowed is {join.max_unmatched_fraction:.2%}",
            f"add the keys to {right.said}, or allow it with data.{right.how.name}.max_unmatched_fraction",
        )
    if join.how == "inner" and num_alone == len(matched_N):
        raise DataError(f"{said}, so none is left", f"look at the keys, or write data.{right.how.name}.how: left")
    what = "are left out" if join.how == "inner" else "keep missing values"
    notes.append(f"{said} and {what}")


def _keys(side: Side, names: list[str], rows: np.ndarray) -> str:
    """A few keys for a message, but none that is personal data."""
    if any(side.how.is_personal(name) for name in names):
        return ""
    found = side.table.select(names).take(pa.array(rows[:MAX_EXAMPLES])).to_pylist()
    texts = [" and ".join(f"{name}={str(value)[:40]!r}" for name, value in row.items()) for row in found]
    return f", such as {listed(list(dict.fromkeys(texts)))}"


def _gathered(table: pa.Table, matched_N: np.ndarray) -> list[pa.ChunkedArray]:
    pieces = [
        table.take(pa.array(part, mask=part == NO_KEY))
        for part in (matched_N[start : start + PIECE_ROWS] for start in range(0, max(len(matched_N), 1), PIECE_ROWS))
    ]
    return pa.concat_tables(pieces).columns if table.num_columns else []
