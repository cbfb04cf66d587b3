"""How rows read from the files of a stream become rows of the table, and those become samples.

What the sources room does to a whole table is done here piece by piece. So nothing may be guessed from a piece: the
kinds of all columns are settled beforehand.

Shape letters: M rows of a piece.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.data.column_checks import judge_column
from training.data.config import ColumnCheck, DataConfig
from training.data.raw import Origin
from training.data.sources.draft import Draft, How, is_number, is_text
from training.data.sources.pii import Privacy, privacy_of
from training.data.sources.shape import leave_out_personal, shape_columns
from training.data.stream.files import StreamTable
from training.data.stream.plan import RowGroup
from training.data.stream.split_rule import TRAIN, SplitRule
from training.data.table import Schema, as_float32, class_ids
from training.errors import DataError
from training.package.manifest import InputSpec
from training.package.transforms import FeatureEncoder, Transforms, encoder_inputs

LOOKED_AT_GROUPS, LOOKED_AT_ROWS = 8, 2000  # that settle what a text column holds


@dataclass(frozen=True)
class RowReader:
    """Reads pieces of a table and brings them into the shape that the config declares."""

    table: StreamTable
    data: DataConfig  # with every column's kind, see `settled`
    base: Path
    name: str = "source"  # or "test"
    columns: tuple[str, ...] = ()  # to read, by their names in the files

    def __reduce__(self) -> tuple[Any, ...]:
        """Without the key of personal data, which `_how` holds: whoever reads loads it for himself."""
        return RowReader, (self.table, self.data, self.base, self.name, self.columns)

    @property
    def origin(self) -> Origin:
        """Where rows come from."""
        return Origin(self.table.paths, self.table.first_rows)

    @property
    def said(self) -> str:
        """The location, fit for messages."""
        return self._how.said

    def read(
        self, opened: pq.ParquetFile, group: RowGroup, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, int, Draft]]:
        """Rows `start` to `stop` of a row group, a shaped piece at a time, with its first row and number of rows."""
        stop = group.num_rows if stop is None else stop
        for first_row, raw in self.table.read(opened, group, start, stop, self.columns):
            yield first_row, raw.num_rows, self._shaped(raw, first_row)

    def only(self, names: Sequence[str]) -> "RowReader":
        """One that reads the columns behind these names of the table alone."""
        columns = tuple(name for name in self.columns if self._how.final_name(name.strip()) in names)
        return replace(self, columns=columns, data=_about(self.data, names))

    @cached_property
    def _how(self) -> How:
        uri = self.data.source if self.name == "source" else str(self.data.test)
        return How(self.name, uri, self.data, self.data, self._privacy, self.base)

    @cached_property
    def _privacy(self) -> Privacy:
        return privacy_of(self.data, self.base)

    def _shaped(self, raw: pa.Table, first_row: int) -> Draft:
        unread = set(self.table.schema.names) - set(self.columns)
        draft = Draft(raw, np.arange(first_row, first_row + raw.num_rows), self.origin, dropped=unread)
        leave_out_personal(draft, self._how)
        shape_columns(draft, self._how)
        return draft


def open_rows(table: StreamTable, data: DataConfig, base: Path, name: str = "source") -> RowReader:
    """A reader of all columns, the kinds of which are settled by a look at some rows of the table.

    Raises:
        DataError: what cannot be read or done, as for a table in memory; or not piece by piece.
    """
    how = How(name, data.source if name == "source" else str(data.test), data, data, privacy_of(data, base), base)
    columns = tuple(column for column in table.schema.names if not how.is_dropped(column))
    reader = RowReader(table, data, base, name, columns)
    _refuse_hashed_fractions(table, how)
    return replace(reader, data=settled(reader, how))


def settled(reader: RowReader, how: How) -> DataConfig:
    """The config with the kind of each text column that has none, as `shape_columns` sees it in some rows."""
    groups = reader.table.groups
    looked_at = [groups[i] for i in np.unique(np.linspace(0, len(groups) - 1, LOOKED_AT_GROUPS).astype(int))]
    tables: list[pa.Table] = []
    for group in looked_at:
        with reader.table.open(group.file) as opened:
            pieces = reader.table.read(opened, group, 0, min(group.num_rows, LOOKED_AT_ROWS), reader.columns)
            tables += [piece for _, piece in pieces]
    in_folders = frozenset(name for file in reader.table.files for name, _ in file.folders)
    draft = Draft.whole(pa.concat_tables(tables), how.said, untyped=in_folders)
    leave_out_personal(draft, how)
    before = {how.final_name(field.name): field.type for field in draft.table.schema}
    shape_columns(draft, how)
    data, columns, cast = reader.data, dict(reader.data.columns), dict(reader.data.cast)
    for column in draft.table.schema:
        name, kind = column.name, data.kind_of(column.name)
        if name in cast or not _holds_text(before[name]):
            continue
        if kind == "numeric" or is_number(column.type):
            cast[name] = "number"  # `settle_columns` would keep a piece without any number as text
        elif kind is None and name != data.target_name:
            columns[name] = "date" if pa.types.is_temporal(column.type) else "categorical"
    return data.model_copy(update={"columns": columns, "cast": cast})


def _holds_text(kind: pa.DataType) -> bool:
    return is_text(kind.value_type if pa.types.is_dictionary(kind) else kind)


def _refuse_hashed_fractions(table: StreamTable, how: How) -> None:
    for column in table.schema:
        if how.is_hashed(column.name) and pa.types.is_floating(column.type):
            raise DataError(
                f"data.pii hashes {column.name}, which holds numbers with fractions ({column.type}); whether 7.0 is "
                "hashed as 7 depends on the whole column, and a stream sees pieces of it",
                f"write it as text or whole numbers, or set data.pii.{column.name}: drop, or data.loading: memory",
            )


def _about(data: DataConfig, names: Sequence[str]) -> DataConfig:
    """The config as far as it speaks of these columns: what is not read cannot be cast."""
    keep = set(names)

    def kept(settings: dict[str, Any]) -> dict[str, Any]:
        return {name: setting for name, setting in settings.items() if name in keep}

    checks = data.checks.model_copy(update={"columns": kept(data.checks.columns)})
    return data.model_copy(update={"cast": kept(data.cast), "convert": kept(data.convert), "checks": checks})


@dataclass(frozen=True)
class TrainingRows:
    """Reads training rows: good ones, of the training part."""

    reader: RowReader
    split: SplitRule
    bad_rows: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # numbers of those set aside, rising

    def read(
        self, opened: pq.ParquetFile, group: RowGroup, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """Training rows of a row group, a piece at a time, and their numbers in the whole table (M,)."""
        for _, _, draft in self.reader.read(opened, group, start, stop):
            rows, row_ids_M = as_checked(draft.table, self.reader.data), draft.row_ids
            is_good_M = ~np.isin(row_ids_M, self.bad_rows, assume_unique=True)
            if not is_good_M.all():
                rows, row_ids_M = rows.filter(pa.array(is_good_M)), row_ids_M[is_good_M]
            trains_M = self.split.parts(rows, row_ids_M) == TRAIN
            yield rows.filter(pa.array(trains_M)), row_ids_M[trains_M]


def as_checked(rows: pa.Table, data: DataConfig) -> pa.Table:
    """Columns in the types that `data.checks.columns` asks for, as checking leaves them."""
    for name, check in data.checks.columns.items():
        if check.type is not None:
            column = judge_column(rows.column(name), ColumnCheck(type=check.type)).column
            rows = rows.set_column(rows.column_names.index(name), name, column)
    return rows


@dataclass(frozen=True)
class Encoding:
    """Rows to tensors, by the code that serving uses too."""

    data: DataConfig
    schema: Schema
    transforms: Transforms
    inputs: tuple[InputSpec, ...]

    @cached_property
    def _encoder(self) -> FeatureEncoder:
        return FeatureEncoder(self.transforms)

    def __call__(self, rows: pa.Table) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Tensors by name, in the model's order, and the target (M,)."""
        target = rows.column(self.schema.target)
        is_regression = self.schema.task == "regression"
        target_M = as_float32(target) if is_regression else class_ids(target, self.schema.labels, self.data)
        return self._encoder(encoder_inputs(rows, self.inputs)), target_M
