"""What a stream cannot do, and what its survey says of the table: bad rows, missing values, classes, the schema."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from training.data.checks import set_aside_note, too_many_bad
from training.data.config import DataConfig
from training.data.quarantine import write_quarantine
from training.data.split.divide import columns_left_out
from training.data.stream.survey import MAX_CLASSES, Survey
from training.data.table import Schema, infer_schema
from training.errors import DataError

ROWS_A_CLASS = 3  # that a class needs to be one


def refuse_impossible(data: DataConfig) -> None:
    """Raise DataError, with all of them, for settings that need the whole table in memory."""
    checks = data.checks
    unique = [name for name, check in checks.columns.items() if check.unique]
    asked = {
        "data.join": bool(data.join),
        f"data.sample: {data.sample}": data.sample is not None,
        f"data.checks.duplicates: {checks.duplicates}": checks.duplicates != "note",
        f"data.checks.overlap: {checks.overlap}": checks.overlap != "note",
        f"data.checks.columns.{', '.join(unique)}: unique": bool(unique),
    }
    if wanted := [setting for setting, is_set in asked.items() if is_set]:
        raise DataError(
            "\n  ".join([f"{data.source} is streamed, window by window, which rules out", *wanted]),
            "set data.loading: memory, if the machine has enough; or do it where the files are written, and take the "
            "settings away",
        )


def judge_survey(survey: Survey, data: DataConfig, quarantine: Path | None) -> tuple[dict[str, int], list[str]]:
    """Counts of rows by what happened to them, and what a person should know; bad rows are written down.

    Raises:
        DataError: too many bad rows or missing values.
        StorageError: the file cannot be written.
    """
    if quarantine is not None:
        write_quarantine(quarantine, survey.bad)
    counts = {"read": survey.num_read, "bad": len(survey.bad_ids)}
    if counts["bad"] > data.checks.max_bad_fraction * counts["read"]:
        raise too_many_bad(counts, survey.bad, data, quarantine)
    notes = [set_aside_note(counts, survey.bad, quarantine)] if counts["bad"] else []
    _refuse_missing(survey, data)
    if num_unused := survey.rows_of["unused"]:
        notes.append(f"{num_unused:,} rows stand in no part: what comes after the fold of data.split is not used")
    return counts | {"kept": survey.num_good}, notes


def require_parts(survey: Survey, least: Mapping[str, int]) -> None:
    """Raise DataError where a part has fewer rows than it needs."""
    for part, needed in least.items():
        if (count := survey.rows_of[part]) < needed:
            raise DataError(
                f"{survey.num_good:,} rows are too few to divide like this: {count} would be left for {part}, at least "
                f"{needed} {'is' if needed == 1 else 'are'} needed",
                "add rows, or change data.split",
            )


def _refuse_missing(survey: Survey, data: DataConfig) -> None:
    lines = []
    for name, check in data.checks.columns.items():
        allowed, num_missing = check.max_missing_fraction, survey.missing[name]
        if allowed is not None and num_missing > allowed * survey.num_read:
            share = num_missing / survey.num_read
            lines.append(
                f"{name}: missing in {num_missing:,} of {survey.num_read:,} rows ({share:.4g}), {allowed:g} allowed"
            )
    if lines:
        raise DataError(
            "\n  ".join(["columns lack more values than data.checks.columns allows", *lines]),
            "correct the source, raise max_missing_fraction in data.checks.columns, or use data.ignore",
        )


def schema_of(sample: pa.Table, survey: Survey, data: DataConfig) -> Schema:
    """Kinds by a sample of the training rows, task and labels by all rows.

    Raises:
        DataError: as for a table in memory.
    """
    if len(survey.classes) > MAX_CLASSES and data.task == "classification":
        raise DataError(
            f"the target {data.target_name} has more than {MAX_CLASSES:,} distinct values, too many to be classes",
            "data.task: regression predicts an amount; else data.target should name another column",
        )
    if survey.classes:
        target = _all_classes(survey.classes, sample.num_rows, sample.schema.field(data.target_name).type)
        sample = sample.slice(0, len(target))
        sample = sample.set_column(sample.column_names.index(data.target_name), data.target_name, target)
    undivided = data.split.model_copy(update={"stratify": False})
    ignore = tuple(dict.fromkeys((*data.ignore, *columns_left_out(data.split))))
    return infer_schema(sample, data.model_copy(update={"split": undivided, "ignore": ignore}))


def _all_classes(classes: Counter[Any], num_rows: int, kind: pa.DataType) -> pa.Array:
    """A target column of that length at most in which every class stands as often as in the stream, or often enough."""
    frequent = classes.most_common()
    values: list[Any] = [value for value, count in frequent for _ in range(min(count, ROWS_A_CLASS))]
    spare = num_rows - len(values)
    return pa.array((values + [frequent[0][0]] * spare)[:num_rows], kind)


def class_counts(survey: Survey, schema: Schema, data: DataConfig) -> tuple[int, ...]:
    """Training rows of each label."""
    by_label: Counter[str] = Counter()
    for value, count in survey.training_classes.items():
        by_label[_label(value, data)] += count
    return tuple(by_label[label] for label in schema.labels)


def _label(value: Any, data: DataConfig) -> str:
    text = str(pa.scalar(value).cast(pa.string()))
    return data.rename_labels.get(text, text)


def lacking_classes(counts: Iterable[int], schema: Schema) -> list[str]:
    """A note where the training part has no row of a class."""
    absent = [repr(label) for label, count in zip(schema.labels, counts, strict=True) if not count]
    return [f"no training row has the class {', '.join(absent)}: a stream is not stratified"] if absent else []
