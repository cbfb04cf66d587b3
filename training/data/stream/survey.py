"""One pass over all rows of a stream before anything is fitted: checks, counts, a digest, and rows that are kept.

Shape letters: K blocks of a row group, M rows of a piece.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.column_checks import as_numbers, is_number, missing_rows
from training.data.config import DataConfig
from training.data.examine import examine_columns
from training.data.fingerprint import RunningDigest
from training.data.quarantine import without_personal_values
from training.data.raw import Raw, no_bad_rows
from training.data.sources.draft import Draft
from training.data.stream.kept_rows import KeptRows, merged_rows
from training.data.stream.plan import BLOCK_ROWS, RowGroup
from training.data.stream.rows import RowReader
from training.data.stream.split_rule import PART_NAMES, TRAIN, UNUSED, SplitRule
from training.features.moments import Moments

MAX_CLASSES = 10_000  # distinct targets that are counted; with more they are no classes


@dataclass(frozen=True)
class Keeping:
    """How many rows of each part are kept."""

    limits: Mapping[int, int]  # by part
    below: Mapping[int, float]  # by part: draws from which on no row need be looked at


@dataclass(frozen=True)
class Survey:
    """What some row groups hold, in their order."""

    num_read: int
    bad: pa.Table  # BAD_ROWS
    bad_ids: np.ndarray  # numbers of the bad rows, rising
    counts_K: np.ndarray  # training rows in each block
    rows_by_part: np.ndarray  # (4,)
    missing: Counter[str]  # missing values of the columns that have a limit
    classes: Counter[Any]  # good rows by target
    training_classes: Counter[Any]
    moments: Moments  # of the training rows' target, where it is a number
    digest: RunningDigest  # of the rows before checking
    columns: dict[str, str]  # name -> Arrow type
    kept: Mapping[int, KeptRows]  # by part

    @property
    def num_good(self) -> int:
        """Rows that are in some part, or unused."""
        return int(self.rows_by_part.sum())

    @property
    def rows_of(self) -> dict[str, int]:
        """Rows by the name of their part."""
        return dict(zip(PART_NAMES, self.rows_by_part.tolist(), strict=True))


def merged(surveys: Sequence[Survey]) -> Survey:
    """All of them, in the order of their row groups."""
    first = surveys[0]
    return Survey(
        num_read=sum(one.num_read for one in surveys),
        bad=pa.concat_tables([one.bad for one in surveys]),
        bad_ids=np.concatenate([one.bad_ids for one in surveys]),
        counts_K=np.concatenate([one.counts_K for one in surveys]),
        rows_by_part=np.sum([one.rows_by_part for one in surveys], axis=0),
        missing=_summed([one.missing for one in surveys]),
        classes=_summed([one.classes for one in surveys]),
        training_classes=_summed([one.training_classes for one in surveys]),
        moments=reduce(Moments.merge, [one.moments for one in surveys]),
        digest=reduce(RunningDigest.merge, [one.digest for one in surveys]),
        columns=first.columns,
        kept={part: merged_rows([one.kept[part] for one in surveys]) for part in first.kept},
    )


def survey_group(reader: RowReader, split: SplitRule, keeping: Keeping, group: RowGroup) -> Survey:
    """Look at every row of one row group. Raises DataError where the checks do not fit the table."""
    training_ids: list[np.ndarray] = []
    pieces: list[Survey] = []
    with reader.table.open(group.file) as opened:
        for first_row, num_read, draft in reader.read(opened, group):
            read_ids = np.arange(first_row, first_row + num_read)
            survey, training_ids_M = _survey_piece(reader, split, keeping, draft, read_ids)
            pieces.append(survey)
            training_ids.append(training_ids_M)
    blocks = (np.concatenate(training_ids) - group.first_row) // BLOCK_ROWS
    counts_K = np.bincount(blocks, minlength=group.num_blocks).astype(np.uint8)
    return replace(merged(pieces), counts_K=counts_K)


def _survey_piece(
    reader: RowReader, split: SplitRule, keeping: Keeping, draft: Draft, read_ids: np.ndarray
) -> tuple[Survey, np.ndarray]:
    """Of one piece, its training rows not yet counted by block; and their numbers."""
    data, target = reader.data, reader.data.target_name
    digest = RunningDigest()
    digest.add(draft.table)
    found = examine_columns(Raw(draft.table, draft.row_ids, draft.origin, no_bad_rows(), ()), data)
    is_good_M = ~found.is_bad_N
    rows, row_ids_M = found.table.filter(pa.array(is_good_M)), draft.row_ids[is_good_M]
    parts_M = split.parts(rows, row_ids_M)
    in_training = rows.column(target).filter(pa.array(parts_M == TRAIN))
    survey = Survey(
        num_read=len(read_ids),
        bad=without_personal_values(pa.concat_tables([draft.bad, *found.bad]), data),
        bad_ids=np.setdiff1d(read_ids, row_ids_M, assume_unique=True),
        counts_K=np.empty(0, np.uint8),
        rows_by_part=np.bincount(parts_M, minlength=UNUSED + 1),
        missing=_missing(draft.table, reader),
        classes=_classes(rows.column(target), data),
        training_classes=_classes(in_training, data),
        moments=_moments(in_training),
        digest=digest,
        columns={column.name: str(column.type) for column in draft.table.schema},
        kept={part: _kept(rows, row_ids_M, parts_M, part, split, keeping) for part in keeping.limits},
    )
    return survey, row_ids_M[parts_M == TRAIN]


def _kept(
    rows: pa.Table, row_ids_M: np.ndarray, parts_M: np.ndarray, part: int, split: SplitRule, keeping: Keeping
) -> KeptRows:
    is_in_part_M = parts_M == part
    ids_M = row_ids_M[is_in_part_M]
    draws_M = split.draws(ids_M, f"keep {PART_NAMES[part]}")
    limit, below = keeping.limits[part], keeping.below[part]
    return KeptRows.of(rows.filter(pa.array(is_in_part_M)), ids_M, draws_M, limit, below)


def _missing(rows: pa.Table, reader: RowReader) -> Counter[str]:
    limited = [name for name, check in reader.data.checks.columns.items() if check.max_missing_fraction is not None]
    return Counter({name: int(missing_rows(rows.column(name)).sum()) for name in limited})


def _classes(target: pa.ChunkedArray, data: DataConfig) -> Counter[Any]:
    """Values with their counts, none for numbers with fractions that are not declared to be classes."""
    if pa.types.is_floating(target.type) and data.task != "classification":
        return Counter()
    counted = pc.value_counts(target)
    if len(counted) > MAX_CLASSES:
        return Counter(dict.fromkeys(counted.field("values").slice(0, MAX_CLASSES + 1).to_pylist(), 1))
    return Counter(dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)))


def _summed(counters: Iterable[Counter[Any]]) -> Counter[Any]:
    """One more than is counted says that there are too many."""
    total: Counter[Any] = Counter()
    for counts in counters:
        if len(total) <= MAX_CLASSES:
            total.update(counts)
    return total if len(total) <= MAX_CLASSES else Counter(dict(list(total.items())[: MAX_CLASSES + 1]))


def _moments(target: pa.ChunkedArray) -> Moments:
    return Moments.of(as_numbers(target)) if is_number(target) else Moments()
