"""What a person should know of a division that came out otherwise than asked."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from training.data.config import DataConfig, SplitConfig
from training.data.split.parts import Split
from training.data.split.strata import class_strata
from training.data.table import Schema

SHARE_MISSED = 0.02  # of the rows: less than that is not worth a line
WHY = {
    "random": "small tables hold out a row of each class",
    "group": "groups stay whole",
    "time": "rows of one time stay together",
    "hash": "a hash deals by chance, and equal rows or ids stay together",
}


def notes_on(split: Split, table: pa.Table, schema: Schema, data: DataConfig) -> Split:
    """The same split with its notes."""
    notes = [*_missed_shares(split, table.num_rows, data.split), *_unused(split, table.num_rows, data.split)]
    if schema.task == "classification":
        notes += _lacking_classes(split, table, schema, data)
    return replace(split, notes=tuple(notes))


def _missed_shares(split: Split, num_rows: int, config: SplitConfig) -> list[str]:
    if config.kind == "time" and config.folds:
        return []
    notes = []
    for part, asked in _asked(config, split.test_is_separate).items():
        got = len(split.parts[part]) / num_rows
        if abs(got - asked) > SHARE_MISSED:
            notes.append(f"{part} holds {got:.1%} of the {num_rows} rows, {asked:.1%} were asked: {WHY[config.kind]}")
    return notes


def _asked(config: SplitConfig, test_is_separate: bool) -> dict[str, float]:
    """Share of the main source's rows that each part should hold."""
    folds = config.folds
    if folds is not None and folds.part == "test":
        return {"validation": config.validation, "test": 1 / folds.count}
    asked = {} if test_is_separate else {"test": config.test}
    share = config.validation if folds is None else (1 - asked.get("test", 0.0)) / folds.count
    return {"validation": share} | asked


def _unused(split: Split, num_rows: int, config: SplitConfig) -> list[str]:
    if config.kind != "time" or config.folds is None:
        return []
    in_main = ("train", "validation") if split.test_is_separate else ("train", "validation", "test")
    unused = num_rows - sum(len(split.parts[part]) for part in in_main)
    folds = config.folds
    return [
        f"fold {folds.index} of {folds.count} by time (the first is 0) trains on the {len(split.train)} rows before "
        f"it; {unused} later rows are in no part, and the earliest rows are held out by no fold"
    ]


def _lacking_classes(split: Split, table: pa.Table, schema: Schema, data: DataConfig) -> list[str]:
    strata = class_strata(table.column(schema.target), data.rename_labels)
    in_main = ("train", "validation") if split.test_is_separate else ("train", "validation", "test")
    notes = []
    for part in in_main:
        lacking = np.flatnonzero(strata.counts(split.parts[part]) == 0)
        if len(lacking):
            listed = ", ".join(repr(strata.names[i]) for i in lacking[:5])
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            notes.append(f"{part} holds no row of the classes {listed}{more} of {schema.target}")
    return notes
