"""From an experiment to a stream: footers, a survey of all rows, transforms fitted, and the rows that judge kept."""

from pathlib import Path

from training.data.config import DataConfig
from training.data.held_out import require_held_out_fits
from training.data.leaks import find_leaks, settle_leaks
from training.data.prepared import Facts, Part, Prepared, told
from training.data.sources.pii import privacy_of
from training.data.stream.choose import free_memory_bytes
from training.data.stream.judge import (
    class_counts,
    judge_survey,
    lacking_classes,
    refuse_impossible,
    require_parts,
    schema_of,
)
from training.data.stream.part import StreamPart
from training.data.stream.read_stream import Surveyed, survey_source, survey_test
from training.data.stream.rows import Encoding, TrainingRows
from training.data.stream.run import fit_rows
from training.data.stream.split_rule import TEST, TRAIN, VALIDATION, hex_digest
from training.data.table import Schema
from training.errors import DataError

NOT_LOOKED_FOR = "duplicates, and rows in two parts, are not looked for in a stream"
MEMORY_SHARE = 0.5  # of the free memory, that the rows that judge may take
ROW_ID_BYTES = 8
SIZED_ROWS = 64  # that tell how large a decoded row is


def prepare_stream(data: DataConfig, base: Path | None = None, quarantine: Path | None = None) -> Prepared:
    """As `prepare`, of Parquet files that are read window by window later on. All CPUs of a Ray that runs take part.

    Args:
        data: what to read and how.
        base: folder that relative paths start from; the working directory by default.
        quarantine: file for rows that are set aside; nowhere by default.

    Raises:
        DataError: anything that cannot be learned from, or done to a stream.
    """
    base = base or Path.cwd()
    refuse_impossible(data)
    main = survey_source(data, base)
    data, survey = main.reader.data, main.survey
    counts, notes = judge_survey(survey, data, quarantine)
    require_parts(survey, {"train": 1, "validation": 2, "test": 0 if data.test else 2})
    sample = survey.kept[TRAIN].rows
    schema = schema_of(sample, survey, data)
    leaks = settle_leaks(find_leaks(sample, schema, data), data.checks.leaks)
    test = main
    if data.test is not None:
        test = survey_test(main, schema, base)
        of_test = quarantine.with_name(f"{quarantine.stem}_test{quarantine.suffix}") if quarantine else None
        judge_survey(test.survey, data, of_test)
        require_parts(test.survey, {"test": 1})
        require_held_out_fits(test.survey.kept[TEST].rows, schema, data)
    rows = _training_rows(main, schema)
    encoding = _fitted(rows, schema, data, base)
    train = _stream_part(rows, encoding, main)
    validation_rows, test_rows = survey.kept[VALIDATION].rows, test.survey.kept[TEST].rows
    _require_memory(train, validation_rows.num_rows + test_rows.num_rows)
    notes += [*schema.notes, *leaks, *lacking_classes(train.class_counts, schema), NOT_LOOKED_FOR]
    return Prepared(
        facts=_facts(main, test, encoding),
        split=None,
        train=train,
        validation=Part(*encoding(validation_rows)),
        test=Part(*encoding(test_rows)),
        test_rows=test_rows,
        sources=(main.facts,) if test is main else (main.facts, test.facts),
        counts=counts,
        notes=(*notes, *main.unused(VALIDATION), *test.unused(TEST)),
        reference_rows=sample,
    )


def _training_rows(main: Surveyed, schema: Schema) -> TrainingRows:
    """A reader of what training needs: of rows told apart by their content, all of it."""
    needed = [*schema.features, schema.target, *filter(None, [main.split.config.by])]
    by_content = main.split.config.kind == "hash" and main.split.config.by is None
    reader = main.reader if by_content else main.reader.only(needed)
    return TrainingRows(reader, main.split, main.survey.bad_ids)


def _fitted(rows: TrainingRows, schema: Schema, data: DataConfig, base: Path) -> Encoding:
    return Encoding(data, schema, *fit_rows(rows, schema, data, privacy_of(data, base).key_check))


def _stream_part(rows: TrainingRows, encoding: Encoding, main: Surveyed) -> StreamPart:
    sample = main.survey.kept[TRAIN].rows.slice(0, SIZED_ROWS)
    tensors, target = encoding(sample)
    num_bytes = sum(array.nbytes for array in (*tensors.values(), target)) // len(target)
    return StreamPart(
        rows,
        encoding,
        main.survey.counts_K,
        sample_bytes=num_bytes + ROW_ID_BYTES,
        window_bytes=encoding.data.window_mb << 20,
        class_counts=class_counts(main.survey, encoding.schema, encoding.data),
    )


def _require_memory(train: StreamPart, num_rows: int) -> None:
    needed, free = num_rows * train.sample_bytes, free_memory_bytes()
    if needed > MEMORY_SHARE * free:
        most = int(MEMORY_SHARE * free) // train.sample_bytes // 2
        raise DataError(
            f"the {num_rows:,} rows that judge take {needed >> 20:,} MB, more than half of the free memory "
            f"({free >> 20:,} MB)",
            f"set data.max_held_out_rows to {most} or less",
        )


def _facts(main: Surveyed, test: Surveyed, encoding: Encoding) -> Facts:
    is_regression, moments = encoding.schema.task == "regression", main.survey.moments
    digests = [f"{source.facts.digest} {source.facts.order}" for source in ([main] if test is main else [main, test])]
    return Facts(
        task=encoding.schema.task,
        labels=encoding.schema.labels,
        inputs=encoding.inputs,
        transforms=encoding.transforms,
        target_mean=moments.mean if is_regression else 0.0,
        target_scale=moments.deviation if is_regression else 1.0,
        fingerprint=hex_digest("stream", *digests),
        sources=told([main.facts] if test is main else [main.facts, test.facts]),
    )
