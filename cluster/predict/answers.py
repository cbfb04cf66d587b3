"""Lots of rows to tables of answers. Shape letters: N rows of a lot, K labels."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from cluster.predict.lots import BadRow, Lot
from cluster.predict.reading import Reading
from serving.errors import BadInput
from serving.predictor import ROWS_PER_CALL, TEXTS_PER_CALL, Predictor, inputs_of_table
from serving.protocol.inputs import inputs_from_records
from training.data.sources.words import listed
from training.errors import ConfigError, DataError
from training.package.answers import answer_schema, answer_table
from training.package.manifest import Task

Arrays = Mapping[str, np.ndarray]
MAX_TOLD = 3  # bad rows that an error tells of
# What an error says of the place among the rows of a call, where that was a single one.
_OF_ONE_ROW = ("row 0 (the first is 0) ", "element 0 ", "record 0: ")


class Model(Protocol):
    """Who answers: a package here, or an endpoint."""

    task: Task
    labels: tuple[str, ...]

    def __call__(self, inputs: Arrays) -> Arrays:
        """Outputs by name, see `training.package.answers.outputs_of`, of inputs as `Predictor.predict` takes them."""


class PackageModel:
    """A package in this process."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.task, self.labels = predictor.manifest.task, predictor.manifest.labels
        self._rows_per_call = TEXTS_PER_CALL if self.task == "language_modelling" else ROWS_PER_CALL

    def __call__(self, inputs: Arrays) -> Arrays:
        """The same numbers for a row whichever rows it comes with.

        A call of a single row would not give them: onnxruntime sums over an axis in another order where the batch is 1,
        which moves the last bit of a Transformer's answer. So such a call gets the row twice.
        """
        num_rows = len(next(iter(inputs.values())))
        if num_rows % self._rows_per_call != 1:
            return self._predictor.predict(inputs)
        padded = {name: np.concatenate([values, values[-1:]]) for name, values in inputs.items()}
        return {name: values[:num_rows] for name, values in self._predictor.predict(padded).items()}


@dataclass(frozen=True)
class Answered:
    """Answers to a lot: one row for each of its rows in their order, empty for bad ones."""

    table: pa.Table
    lot: Lot
    bad: tuple[BadRow, ...]


@dataclass(frozen=True)
class Answering:
    """How lots are answered. Small but for the model."""

    reading: Reading
    model: Model
    skips_bad: bool = False  # else a bad row is an error

    def __call__(self, lot: Lot) -> Answered:
        """Raises DataError for bad rows, naming file and row, unless they are skipped."""
        rows, numbers, bad = lot.rows, lot.numbers, list(lot.bad)
        self._refuse(lot, bad)
        if isinstance(rows, pa.Table):
            rows, numbers, unfit = self.reading.shaped(lot)
            bad += unfit
            self._refuse(lot, bad)
        parts = list(self._readable(rows, numbers, lot, bad))
        tables = [answer_schema(self.model.task, self.model.labels).empty_table()]
        if parts:
            inputs = [part.inputs for part in parts]
            tables.append(self._table({name: np.concatenate([one[name] for one in inputs]) for name in inputs[0]}))
        answered = np.concatenate([numbers[:0], *(part.numbers for part in parts)])
        return Answered(self._whole(lot, pa.concat_tables(tables), answered, bad), lot, tuple(bad))

    def _readable(self, rows: Any, numbers: np.ndarray, lot: Lot, bad: list[BadRow]) -> Iterator["_Part"]:
        """Inputs of the rows that can be read; the others are added to `bad`. Halves find the one that cannot."""
        if not len(numbers):
            return
        try:
            yield _Part(numbers, self._inputs(rows))
        except (BadInput, pa.ArrowInvalid) as error:
            if len(numbers) == 1:
                bad.append(BadRow(int(numbers[0]), _of_one_row(error)))
                self._refuse(lot, bad)
                return
            half = len(numbers) // 2
            for part in (slice(None, half), slice(half, None)):
                yield from self._readable(rows[part], numbers[part], lot, bad)

    def _inputs(self, rows: Any) -> Arrays:
        specs = self.reading.specs
        return inputs_of_table(rows, specs) if isinstance(rows, pa.Table) else inputs_from_records(rows, specs)

    def _refuse(self, lot: Lot, bad: list[BadRow]) -> None:
        if not bad or self.skips_bad:
            return
        told = "; ".join(lot.said(row) for row in sorted(bad)[:MAX_TOLD])
        more = f"; {len(bad) - MAX_TOLD} more near them" if len(bad) > MAX_TOLD else ""
        raise DataError(
            f"{lot.path}: {told}{more}", "correct what cannot be read; --skip-bad leaves the answers of such rows empty"
        )

    def _table(self, inputs: Arrays) -> pa.Table:
        return answer_table(self.model.task, self.model.labels, self.model(inputs))

    def _whole(self, lot: Lot, answers: pa.Table, numbers: np.ndarray, bad: list[BadRow]) -> pa.Table:
        """Answers with empty ones for the bad rows between them, beside the columns to copy."""
        every = np.sort(np.concatenate([numbers, np.array([row.number for row in bad], dtype=np.int64)]))
        answers = _spread(answers, numbers, every) if bad else answers
        kept = _spread(lot.kept, lot.numbers, every) if bad else lot.kept
        if both := sorted(set(kept.column_names) & set(answers.column_names)):
            raise ConfigError(
                f"--keep copies {listed(both)}, which is also what the model answers",
                f"keep others: {listed(name for name in kept.column_names if name not in both)}",
            )
        names = [*kept.column_names, *answers.column_names]
        return pa.table([*kept.columns, *answers.columns], names)


@dataclass(frozen=True)
class _Part:
    numbers: np.ndarray
    inputs: Arrays


def _spread(rows: pa.Table, numbers: np.ndarray, every: np.ndarray) -> pa.Table:
    """Rows at the places of their numbers among `every`, empty between."""
    if not rows.num_columns:
        return rows
    places = np.searchsorted(numbers, every)
    is_there = np.isin(every, numbers, assume_unique=True)
    return rows.take(pa.array(np.where(is_there, places, 0), mask=~is_there))


def _of_one_row(error: Exception) -> str:
    said = str(error.message) if isinstance(error, BadInput) else str(error)
    for place in _OF_ONE_ROW:
        said = said.replace(place, "")
    return said
