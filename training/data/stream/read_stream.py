"""A source of a stream, read once from end to end: its files, its rows' parts, and the survey of them."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from training.data.config import DataConfig
from training.data.raw import SourceFacts
from training.data.sources.files import Found, versions
from training.data.sources.pii import require_known
from training.data.sources.words import require_columns
from training.data.stream.choose import parquet_files
from training.data.stream.files import StreamTable, open_table
from training.data.stream.plan import RowGroup
from training.data.stream.rows import RowReader, open_rows
from training.data.stream.run import each_group
from training.data.stream.split_rule import PART_NAMES, TEST, TRAIN, VALIDATION, SplitRule, hex_digest, time_borders
from training.data.stream.survey import Keeping, Survey, merged, survey_group
from training.data.table import Schema
from training.errors import DataError
from training.redact import shown

SAMPLE_ROWS = 10_000  # training rows that are looked at for kinds of columns, leaks and the drift reference
TIME_SAMPLE_ROWS = 1_000_000  # that the borders of a division by time are taken from
MERGED_AT_A_TIME = 32  # surveys: one by one, the rows kept so far would be copied for every row group
MAX_BAD_ROWS = 1_000_000  # whose reasons are held, where the run will stop for them
SPARE = 2.0  # rows looked at for each that is kept: parts may be smaller than their share


@dataclass(frozen=True)
class Surveyed:
    """A source, and what was found in it."""

    found: Found
    reader: RowReader
    split: SplitRule
    survey: Survey

    @property
    def facts(self) -> SourceFacts:
        """For the lineage of a run. The order is told by the footers: rows of the same files stand as they stood."""
        table, survey = self.reader.table, self.survey
        return SourceFacts(
            name=self.reader.name,
            uri=self.reader.said,
            num_rows=survey.num_read,
            columns=survey.columns,
            digest=survey.digest.content,
            files=versions(self.found.filesystem, self.found.paths),
            order=hex_digest(*(file.footer_digest for file in table.files)),
        )

    def unused(self, part: int) -> list[str]:
        """A note where not all rows of a part are kept."""
        total, kept = int(self.survey.rows_by_part[part]), self.survey.kept[part].rows.num_rows
        if kept == total:
            return []
        return [
            f"{kept:,} of {total:,} rows of {PART_NAMES[part]} are kept, drawn at random; the others are not used "
            "(data.max_held_out_rows)"
        ]


def survey_source(data: DataConfig, base: Path) -> Surveyed:
    """Look at every row of the main source. Raises DataError for what cannot be read, done, or divided."""
    found, table = _open(data, "data.source", data.source, base)
    reader = open_rows(table, data, base)
    require_known(data, {*table.schema.names, *data.rename.values()})
    split = SplitRule(data.split, test_is_separate=data.test is not None)
    if data.split.by is not None:
        names = [data.rename.get(name, name) for name in table.schema.names]
        require_columns("data.split.by", [data.split.by], names, shown(data.source))
    if data.split.kind == "time":
        split = replace(split, borders=_time_borders(reader, split))
    limits = {TRAIN: SAMPLE_ROWS, VALIDATION: data.max_held_out_rows, TEST: data.max_held_out_rows}
    below = {part: SPARE * limits[part] / max(1.0, _share(part, data) * table.num_rows) for part in limits}
    return Surveyed(found, reader, split, _survey(reader, split, Keeping(limits, below)))


def survey_test(main: Surveyed, schema: Schema, base: Path) -> Surveyed:
    """The same of the separate test source, its columns read as those of the main one."""
    data = main.reader.data
    found, table = _open(data, "data.test", str(data.test), base)
    names = {name: data.rename.get(name, name) for name in table.schema.names}
    if lacking := [name for name in [*schema.features, schema.target] if name not in names.values()]:
        raise DataError(
            f"data.test {shown(str(data.test))} lacks the columns {', '.join(lacking)} of data.source",
            f"it has: {', '.join(names.values())}",
        )
    known = {data.rename.get(name, name) for name in main.reader.columns}  # not those of personal data to drop
    columns = tuple(name for name, final in names.items() if final in known)
    reader = replace(main.reader, table=table, name="test", columns=columns)
    split = replace(main.split, only=TEST)
    below = SPARE * data.max_held_out_rows / table.num_rows
    survey = _survey(reader, split, Keeping({TEST: data.max_held_out_rows}, {TEST: below}))
    return Surveyed(found, reader, split, survey)


def _open(data: DataConfig, key: str, source: str, base: Path) -> tuple[Found, StreamTable]:
    found = parquet_files(data, source, base)
    if found is None:
        raise DataError(
            f"{key} {shown(source)} is not made of Parquet files alone, and only they are streamed",
            "write it as Parquet, in files of a few hundred MB, or set data.loading: memory",
        )
    return found, open_table(found, shown(source))


def _survey(reader: RowReader, split: SplitRule, keeping: Keeping) -> Survey:
    """All row groups; fewer where the run will stop, and there are more bad rows than anybody reads."""
    num_rows, waiting = reader.table.num_rows, list[Survey]()
    num_bad = 0
    for survey in each_group(partial(survey_group, reader, split, keeping), reader.table):
        waiting.append(survey)
        num_bad += len(survey.bad_ids)
        if len(waiting) >= MERGED_AT_A_TIME:
            waiting = [merged(waiting)]
        if num_bad > max(MAX_BAD_ROWS, reader.data.checks.max_bad_fraction * num_rows):
            break
    survey = merged(waiting)
    return replace(survey, bad=survey.bad.sort_by([("source", "ascending"), ("row", "ascending")]))


def _time_borders(reader: RowReader, split: SplitRule) -> tuple[tuple[float, int], ...]:
    by = str(split.config.by)
    about_time = reader.only([by])
    below = TIME_SAMPLE_ROWS / reader.table.num_rows

    def times(group: RowGroup) -> np.ndarray:
        found = []
        with reader.table.open(group.file) as opened:
            for _, _, draft in about_time.read(opened, group):
                is_drawn = split.draws(draft.row_ids, "time") < below
                found.append(split.times(draft.table.filter(pa.array(is_drawn)), draft.row_ids[is_drawn]))
        return np.concatenate(found)

    sample = np.concatenate(list(each_group(times, reader.table)))
    return time_borders(sample, split.config, split.test_is_separate)


def _share(part: int, data: DataConfig) -> float:
    """About the share of the rows that a part has."""
    config = data.split
    fold = 1 / config.folds.count if config.folds else 0.0
    held_for = config.folds.part if config.folds else ""
    test = 0.0 if data.test else fold if held_for == "test" else config.test
    validation = fold if held_for == "validation" else config.validation
    return {TRAIN: 1 - validation - test, VALIDATION: validation, TEST: test}[part]
