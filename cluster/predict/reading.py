"""How the rows of a file become what a model takes: as the table was read that it learned from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.predict.lots import BadRow, Lot
from training.data.config import DataConfig
from training.data.raw import Origin
from training.data.sources.cast import cast_columns
from training.data.sources.convert import convert_columns
from training.data.sources.draft import Draft, How, is_text
from training.data.sources.pii import Privacy
from training.data.sources.shape import leave_out_personal
from training.data.sources.tidy import tidy_columns
from training.data.sources.words import listed, refuse_repeated, require_columns
from training.errors import DataError
from training.package.manifest import InputSpec

SHAPING = ("rename", "cast", "convert")
WRITTEN = ("delimiter", "missing", "names")
NO_TARGET = "-"  # rows to predict need no target; the name only has to be there


@dataclass(frozen=True)
class Columns:
    """Columns of a file, by their names there."""

    model: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def all(self) -> list[str]:
        """Each once."""
        return list(dict.fromkeys((*self.model, *self.kept)))


@dataclass(frozen=True)
class Reading:
    """What is read of which rows, and how. Small: it travels to whoever reads."""

    source: str  # a file, a folder, a glob, or a URI of one
    specs: tuple[InputSpec, ...]
    shaping: Mapping[str, Any] = field(default_factory=dict)  # of the package's data section
    keep: tuple[str, ...] | None = ()  # columns to copy, by their names in the file; None: all
    base: Path = field(default_factory=Path.cwd)

    @property
    def wanted(self) -> list[str]:
        """Columns of a table that the model takes, by their final names."""
        return [name for spec in self.specs for name in (spec.columns or (spec.name,))]

    @property
    def names_of_new_rows(self) -> tuple[str, ...]:
        """`data.names` without the target; but with it where the model takes it, as a language model does its texts."""
        target, renames = self.shaping.get("target", ()), self.shaping.get("rename") or {}
        targets = {target} if isinstance(target, str) else set(target)
        finals = {name: renames.get(name, name) for name in self.data.names or ()}
        return tuple(name for name, final in finals.items() if final not in targets or final in self.wanted)

    @cached_property
    def data(self) -> DataConfig:
        """How a table is read. Every column's kind is declared, so that nothing is guessed from a piece of it."""
        wanted = set(self.wanted)
        about = {key: _about(self.shaping.get(key) or {}, wanted, by_new_name=key == "rename") for key in SHAPING}
        written = {key: self.shaping[key] for key in WRITTEN if self.shaping.get(key) is not None}
        kinds = {name: _setting(spec) for spec in self.specs for name in (spec.columns or (spec.name,))}
        return DataConfig.model_validate(
            {**written, **about, "source": self.source, "target": NO_TARGET, "columns": kinds}
        )

    def how(self, data: DataConfig) -> How:
        """For what shapes tables. Personal data stays raw: the package makes the pseudonyms."""
        return How("source", self.source, data, data, Privacy({}), self.base)

    def columns(self, names: Sequence[str], path: str) -> Columns:
        """Which of a file's columns are read. Raises DataError for those that are not there, or twice."""
        refuse_repeated([name.strip() for name in names], path, "give the columns distinct names")
        renames, wanted = self.data.rename, set(self.wanted)
        finals = {name: renames.get(name.strip(), name.strip()) for name in names}
        model = tuple(name for name, final in finals.items() if final in wanted)
        refuse_repeated([finals[name] for name in model], f"{path}, after data.rename,", "take one of them away")
        if lacking := [name for name in self.wanted if name not in finals.values()]:
            raise DataError(
                f"{path} lacks {len(lacking)} of the {len(wanted)} columns that the model takes: {listed(lacking, 8)}",
                f"it has: {listed(names, 12)}",
            )
        if self.keep is None:
            return Columns(model, tuple(names))
        by_name = {name.strip(): name for name in names}
        require_columns("--keep", self.keep, by_name, path)
        return Columns(model, tuple(by_name[name] for name in self.keep))

    def kept(self, rows: pa.Table, columns: Columns) -> pa.Table:
        """The columns to copy, their names without surrounding spaces."""
        return rows.select(list(columns.kept)).rename_columns([name.strip() for name in columns.kept])

    def shaped(self, lot: Lot) -> tuple[pa.Table, np.ndarray, list[BadRow]]:
        """Rows of a table renamed, cast and converted as in training, their numbers, and those that cannot be.

        Raises:
            DataError: what is wrong with a whole column.
        """
        assert isinstance(lot.rows, pa.Table)
        data = self.data
        finals = {name: data.rename.get(name.strip(), name.strip()) for name in lot.rows.column_names}
        # As a number, of which every row is one or is bad: what a column holds must not be guessed from a piece of it.
        numbers = {name: "number" for name in self._numbers_as_text(lot.rows, finals) if name not in data.cast}
        how = self.how(data.model_copy(update={"cast": {**data.cast, **numbers}}))
        draft = Draft(lot.rows, lot.numbers, Origin((lot.path,), (0,)))
        leave_out_personal(draft, how)
        draft.table = draft.table.rename_columns([finals[name] for name in lot.rows.column_names])
        for shape in (tidy_columns, cast_columns, convert_columns):
            shape(draft, how)
        draft.leave_out_bad()
        return draft.table, draft.row_ids, _bad_rows(draft.bad)

    def _numbers_as_text(self, rows: pa.Table, finals: Mapping[str, str]) -> list[str]:
        numeric = {name for spec in self.specs if _is_number(spec) for name in (spec.columns or (spec.name,))}
        return [finals[f.name] for f in rows.schema if finals[f.name] in numeric and is_text(_value_type(f.type))]


def _about(shaping: Mapping[str, str], wanted: set[str], *, by_new_name: bool) -> dict[str, str]:
    """Of the columns that the model takes: rows to predict come without the target and what was left out."""
    return {name: value for name, value in shaping.items() if (value if by_new_name else name) in wanted}


def _setting(spec: InputSpec) -> Any:
    if spec.columns:
        return "numeric"
    return {"kind": "date", "format": spec.format} if spec.kind == "date" else spec.kind


def _is_number(spec: InputSpec) -> bool:
    return spec.kind == "numeric" or bool(spec.columns)


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _bad_rows(bad: pa.Table) -> list[BadRow]:
    """Each row once, with its first reason."""
    found: dict[int, BadRow] = {}
    for row in bad.to_pylist():
        value = f" ({row['value']!r})" if row["value"] is not None else ""
        found.setdefault(row["row"], BadRow(row["row"], f"{row['column']}: {row['reason']}{value}"))
    return list(found.values())
