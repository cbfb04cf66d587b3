"""An experiment's table as it is, before anything trains on it. What stops a run is told here, and stops nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from training.data.checks import Checked, as_one_error, examine_rows
from training.data.column_facts import ColumnFacts, Use, column_facts
from training.data.config import DataConfig
from training.data.constraints import infer_checks, merge_checks
from training.data.held_out import require_held_out_fits
from training.data.labels import labels_of, with_labels
from training.data.leaks import Leak, find_leaks, settle_leaks
from training.data.overlap import part_hashes, settle_overlap
from training.data.quarantine import personal_columns, reasons
from training.data.raw import SourceFacts
from training.data.sources import read_sources
from training.data.split import columns_left_out, sampled, split_rows
from training.data.table import Schema, encode_target, infer_schema
from training.errors import DataError
from training.package.manifest import Task

Found = TypeVar("Found")


@dataclass(frozen=True)
class Parts:
    """The table divided, and what of it a score could be too good for."""

    num_rows: dict[str, int]  # of train, validation and test
    num_overlapping: int  # training rows that are held out too
    leaks: tuple[Leak, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Description:
    """What is known of the data of an experiment; what could not be found out for a problem is None."""

    sources: tuple[SourceFacts, ...]
    counts: dict[str, dict[str, int]]  # by source, main and test: read, bad, duplicates, dropped, kept
    bad: dict[str, int]  # by column and reason
    columns: tuple[ColumnFacts, ...]
    task: Task | None
    classes: dict[str, int] | None  # rows of each, in the order of the model's outputs; of a classification
    parts: Parts | None
    notes: tuple[str, ...]
    problems: tuple[DataError, ...]  # what stops a run


@dataclass(frozen=True)
class Tables:
    """The sources after their checks, which may have found more than a run allows."""

    main: Checked
    test: Checked | None
    schema: Schema | None
    problems: tuple[DataError, ...]
    is_whole: bool = True  # the test source, where there is one, has the columns and classes of the main one


def read_checked(data: DataConfig, base: Path | None = None, code_path: str = "") -> Tables:
    """Read and check the sources. Raises DataError only for what leaves no table to look at.

    Args:
        data: what to read and how.
        base: folder that relative paths start from; the working directory by default.
        code_path: folder that module:function sources are imported from, besides the usual places.
    """
    main = examine_rows(read_sources(data, base, code_path=code_path), data)
    test = examine_rows(read_sources(data, base, data.test, code_path), data) if data.test else None
    main, test = _labelled(main, data), _labelled(test, data) if test else None
    problems = [*main.problems, *(test.problems if test else ())]
    ignored = data.model_copy(update={"ignore": (*data.ignore, *columns_left_out(data.split))})
    schema = _or_problem(lambda: infer_schema(main.raw.table, ignored), problems)
    num_problems = len(problems)
    if schema is not None and test is not None:
        _or_problem(lambda: require_held_out_fits(test.raw.table, schema, data), problems)
    return Tables(main, test, schema, tuple(problems), is_whole=len(problems) == num_problems)


def describe(tables: Tables, data: DataConfig) -> Description:
    """Everything that can be said of a table without training on it."""
    main, test, schema, problems = tables.main, tables.test, tables.schema, list(tables.problems)
    checked = [main, *([test] if test else [])]
    parts = None
    if schema is not None and tables.is_whole:
        parts = _or_problem(lambda: _divide(tables, schema, data, problems), problems)
    notes = [*_notes(main), *(f"data.test: {note}" for note in (_notes(test) if test else ()))]
    return Description(
        sources=tuple(facts for each in checked for facts in each.raw.sources),
        counts={"main": main.counts} | ({"test": test.counts} if test else {}),
        bad=reasons(pa.concat_tables([each.raw.bad for each in checked])),
        columns=tuple(_columns(main.raw.table, schema, data)),
        task=schema.task if schema else None,
        classes=_classes(main.raw.table, schema, data) if schema and schema.labels else None,
        parts=parts,
        notes=(*notes, *(schema.notes if schema else ()), *(parts.notes if parts else ())),
        problems=tuple(problems),
    )


def inferred_checks(tables: Tables, data: DataConfig) -> dict[str, Any]:
    """What every column is, in the main source and in that of the test rows, which are held to the same checks.

    Raises DataError where the columns cannot be told apart into features and target.
    """
    if tables.schema is None:
        raise as_one_error(tables.problems)
    personal = personal_columns(data)
    found = infer_checks(tables.main.raw.table, tables.schema, personal)
    if tables.test is None:
        return found
    return merge_checks(found, infer_checks(tables.test.raw.table, tables.schema, personal))


def _labelled(checked: Checked, data: DataConfig) -> Checked:
    return replace(checked, raw=replace(checked.raw, table=with_labels(checked.raw.table, data)))


def _or_problem(work: Callable[[], Found], problems: list[DataError]) -> Found | None:
    try:
        return work()
    except DataError as error:
        problems.append(error)
        return None


def _notes(checked: Checked) -> tuple[str, ...]:
    """Without that on bad rows, which are listed by reason."""
    return (*checked.raw.notes, *checked.notes[1 if checked.counts["bad"] else 0 :])


def _columns(table: pa.Table, schema: Schema | None, data: DataConfig) -> Iterator[ColumnFacts]:
    personal = personal_columns(data)
    features = schema.features if schema else {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        use: Use = "feature"
        if name == data.target_name:
            use = "target"
        elif name in data.ignore or data.task == "language_modelling":
            use = "ignored"
        elif name in columns_left_out(data.split):
            use = "split"
        kind = features.get(name, data.kind_of(name))
        if use == "target" and schema is not None and schema.task in ("classification", "multilabel"):
            kind = "categorical"
        yield column_facts(name, column, use, kind, name in personal)


def _classes(table: pa.Table, schema: Schema, data: DataConfig) -> dict[str, int]:
    if schema.task == "multilabel":
        return dict(zip(*labels_of(table.column(schema.target)), strict=True))
    counts_K = np.bincount(encode_target(table, schema, data), minlength=len(schema.labels))
    return dict(zip(schema.labels, counts_K.tolist(), strict=True))


def _divide(tables: Tables, schema: Schema, data: DataConfig, problems: list[DataError]) -> Parts:
    table, rows = tables.main.raw.table, tables.main.raw.rows
    held_out = tables.test.raw.table if tables.test else None
    split = split_rows(table, schema, data, held_out.num_rows if held_out is not None else None, rows)
    hashes_N = part_hashes(table, schema, data)
    test_hashes = hashes_N if held_out is None else part_hashes(held_out, schema, data)
    others = {"validation": hashes_N[split.validation], "test": test_hashes[split.test]}
    twice = _or_problem(lambda: settle_overlap(hashes_N[split.train], others, data.checks.overlap), problems)
    split = sampled(
        replace(split, train=split.train[twice.kept] if twice else split.train), table, held_out, schema, data
    )
    leaks = find_leaks(table, schema, data, split.train)
    notes = _or_problem(lambda: settle_leaks(leaks, data.checks.leaks), problems) or ()
    num_rows = {part: len(places) for part, places in split.parts.items()}
    told = (*split.notes, *([twice.note] if twice and twice.note else []), *notes)
    return Parts(num_rows, twice.num_rows if twice else 0, tuple(leaks), told)
