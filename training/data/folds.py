"""Folds of a table in memory, and all its rows at once: each prepared by itself, transforms fitted on its own rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from training.data.config import DataConfig
from training.data.overlap import part_hashes, settle_overlap
from training.data.prepare import Tables, encode_split, read_tables
from training.data.prepared import Facts, Part, Prepared
from training.data.sources.pii import privacy_of
from training.data.split import Split, sampled, split_rows
from training.data.split.divide import Cut
from training.data.split.fold_rows import fold_rows

NO_ROWS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class FoldTables:
    """Checked rows and how to encode them: what a worker needs to prepare any fold."""

    tables: Tables
    data: DataConfig
    hash_key_check: str  # a worker may not have the key's file

    def encoded(self, fold: Split) -> tuple[Facts, Part, Part]:
        """Facts, training and held-out rows of a fold; transforms and the target's scale come from the former alone."""
        prepared = _encoded(self, replace(fold, test=fold.train[:1], test_is_separate=False))
        assert isinstance(prepared.train, Part), "tables in memory are not streamed"
        return prepared.facts, prepared.train, prepared.validation


@dataclass(frozen=True)
class Folds:
    """A table divided for a cross-validation."""

    source: FoldTables
    splits: tuple[Split, ...]  # of each fold: what is held out stands in `validation`
    whole: Split  # the same rows all in `train`, none in `validation`
    rows: np.ndarray | None  # number of each checked row in the main source as read; None: all are there

    def numbers(self, fold: int) -> np.ndarray:
        """Number of each held-out row of a fold in the main source as read."""
        places = self.splits[fold].validation
        return places if self.rows is None else self.rows[places]

    def for_workers(self) -> FoldTables:
        """The rows without those of a separate test source, which no fold looks at."""
        return replace(self.source, tables=replace(self.source.tables, test=None))

    def all_rows(self) -> Prepared:
        """Training and validation rows together to train on, none that judge, and the test part as it is."""
        return _encoded(self.source, self.whole)


def read_folds(data: DataConfig, count: int, base: Path | None = None, code_path: str = "") -> Folds:
    """Read and divide the rows of training and validation; the test part is that of an ordinary run.

    `data.checks` is asked of each fold anew: training rows that equal held-out ones are left out where it says so.

    Args:
        data: what to read and how.
        count: folds; 1 divides nothing and holds nothing out, for `all_rows` alone.
        base: folder that relative paths start from; the working directory by default.
        code_path: folder that module:function sources are imported from.

    Raises:
        DataError: the rows cannot be read, or are too few for so many folds.
    """
    tables = read_tables(data, base, code_path=code_path)
    table, held_out = tables.main.raw.table, tables.held_out
    divided = split_rows(table, tables.schema, data, held_out.num_rows if held_out is not None else None)
    # Before the folds: a sample of each fold by itself would together hold other rows than the run has.
    ordinary = sampled(divided, table, held_out, tables.schema, data)
    pool = np.sort(np.concatenate([ordinary.train, ordinary.validation]))
    cuts = fold_rows(table, tables.schema, data, count, pool, tables.main.raw.rows) if count > 1 else ()
    splits = [_split_of(cut, ordinary) for cut in (*cuts, (pool, NO_ROWS))]
    *folds, whole = _apart(tables, data, splits)
    source = FoldTables(tables, data, privacy_of(data, base or Path.cwd()).key_check)
    return Folds(source, tuple(folds), whole, tables.main.raw.rows)


def _split_of(cut: Cut, ordinary: Split) -> Split:
    kept, held = cut
    return Split(kept, held, ordinary.test, ordinary.test_is_separate)


def _apart(tables: Tables, data: DataConfig, splits: Sequence[Split]) -> list[Split]:
    """The same divisions without training rows that stand in another part too, where `data.checks.overlap` asks."""
    if data.checks.overlap == "note":
        return list(splits)
    held_out = tables.held_out
    hashes_N = part_hashes(tables.main.raw.table, tables.schema, data)
    test_hashes = part_hashes(held_out, tables.schema, data) if held_out is not None else hashes_N
    found = []
    for split in splits:
        others = {"validation": hashes_N[split.validation], "test": test_hashes[split.test]}
        overlap = settle_overlap(hashes_N[split.train], others, data.checks.overlap)
        found.append(replace(split, train=split.train[overlap.kept]))
    return found


def _encoded(source: FoldTables, split: Split) -> Prepared:
    """As `encode_split`; a part may be empty, which encoders are not asked to take."""
    lent = replace(split, validation=split.train[:1]) if not len(split.validation) else split
    prepared = encode_split(source.tables, source.data, lent, source.hash_key_check)
    if lent is split:
        return prepared
    validation = prepared.validation
    none = Part({name: array[:0] for name, array in validation.tensors.items()}, validation.target[:0])
    return replace(prepared, validation=none, split=split)
