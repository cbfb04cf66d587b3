"""A package as a callable: load it verified, replay its golden rows, predict."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from serving.errors import BadInput, NoKey
from serving.protocol.inputs import check_names, inputs_from_records
from serving.protocol.tensors import to_float32
from serving.tensor_checks import checked
from training.package.answers import answer_table, outputs_of, plain, records_of
from training.package.errors import NoPiiKey, PackageError, UnreadableValue
from training.package.machine import this_machine
from training.package.manifest import InputSpec, Variant
from training.package.pick import pick_variant
from training.package.pii import KEY_VARIABLE, Pseudonymiser
from training.package.read import Package, load_with
from training.package.replay import check_golden
from training.package.runtime import open_runner, why_not_here
from training.package.tensor_specs import TensorSpec, tensor_specs_of
from training.package.transforms import FeatureEncoder, inputs_from_table

KEY_FILE_VARIABLE = f"{KEY_VARIABLE}_FILE"
TEXTS_PER_CALL = 16  # scored by a language model
Arrays = Mapping[str, np.ndarray]
ROWS_PER_CALL = 4096  # a larger batch is cut, so that memory does not grow with what a client sends


@dataclass(frozen=True)
class CallTime:
    """Seconds of one call: a fixed part and one for each row."""

    fixed_s: float
    row_s: float

    def __call__(self, num_rows: int) -> float:
        """Estimate for a batch."""
        return self.fixed_s + self.row_s * num_rows


class Predictor:
    """One variant of a package, ready to answer. Shape letters: N rows, K classes."""

    def __init__(self, package: Package, variant: Variant, num_threads: int = 1, reason: str = "") -> None:
        self.package, self.variant = package, variant
        self.manifest, self.reason = package.manifest, reason
        self._encode = FeatureEncoder(package.transforms, _pseudonymiser(package))
        self._run = open_runner(package.folder, variant, num_threads)
        # What a language model gives for a text before it is summed up is far larger than the text.
        self._rows_per_call = TEXTS_PER_CALL if self.manifest.task == "language_modelling" else ROWS_PER_CALL

    @classmethod
    def load(cls, folder: Path, variant: str | None = None, num_threads: int = 1) -> Self:
        """Load a verified package, with the variant for this machine; `reason` says why it is that one.

        Args:
            folder: the package.
            variant: its name; None leaves it to what was measured, see `training.package.pick`.
            num_threads: threads of one call.

        Raises:
            PackageError: it does not verify, or has no such variant, or none that can run here.
        """
        return load_with(folder, lambda package: cls._of(package, variant, num_threads))

    @classmethod
    def _of(cls, package: Package, variant: str | None, num_threads: int) -> Self:
        machine = this_machine()
        picked = pick_variant(package.manifest, machine, lambda known: why_not_here(known, machine), variant)
        return cls(package, picked.variant, num_threads, picked.reason)

    def predict(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, see `training.package.answers.outputs_of`: texts (N,) str, numbers float32.

        Args:
            inputs: numeric (N,) float with NaN where missing, categorical and text (N,) str or None, date (N,)
                datetime64 with NaT where missing, image (N, C, H, W).

        Raises:
            NoKey: see `pseudonymise`.
        """
        return self._answer(self.pseudonymise(inputs), self._encode)

    def predict_tensors(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The same for what the model itself takes: transforms are skipped, so they must have been applied.

        Args:
            tensors: by the names of `tensor_specs`, float32 or int64; those that are laid out in order are not copied.

        Raises:
            BadInput: a tensor is missing, too much, of another type or shape, or holds what no transform gives.
        """
        return self._answer(checked(tensors, self.tensor_specs), lambda part: part)

    @property
    def tensor_specs(self) -> dict[str, TensorSpec]:
        """What the model itself takes."""
        return tensor_specs_of(self.package.transforms)

    def _answer(
        self, values: Mapping[str, np.ndarray], tensors_of: Callable[[Arrays], Arrays]
    ) -> dict[str, np.ndarray]:
        num_rows, size = len(next(iter(values.values()))), self._rows_per_call
        scores = [
            self._run(tensors_of({name: column[start : start + size] for name, column in values.items()}))
            for start in range(0, num_rows, size)
        ]
        joined = scores[0] if len(scores) == 1 else np.concatenate(scores)
        return outputs_of(self.manifest.task, self.manifest.labels, joined, self.manifest.threshold)

    def pseudonymise(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Inputs with raw personal data replaced as in training; the same object for a model that knows of none.

        Raises:
            NoKey: there is a raw value, and no key was given where the model is served.
        """
        try:
            return self._encode.pseudonymise(inputs)
        except NoPiiKey as error:
            raise NoKey(error.message, error.hint) from None

    def predict_table(self, table: pa.Table) -> pa.Table:
        """One row of answers a row: `label` or `labels` with one `probability_<label>` each, or the number.

        Columns that the model does not take are ignored. Raises BadInput for a missing or unreadable column.
        """
        outputs = self.predict(inputs_of_table(table, self.manifest.inputs))
        return answer_table(self.manifest.task, self.manifest.labels, outputs)

    def predict_records(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One answer a record, see `training.package.answers.records_of`. Raises BadInput."""
        outputs = self.predict(inputs_from_records(records, self.manifest.inputs))
        return [plain(record) for record in records_of(outputs, self.manifest.labels)]

    def warm_up(self) -> CallTime:
        """Run the sizes that requests bring, so the first client does not wait; returns how long calls take here."""
        one_s, many_s = (self._fastest_s(num_rows) for num_rows in (1, 64))
        return CallTime(fixed_s=one_s, row_s=max(0.0, (many_s - one_s) / 63))

    def _fastest_s(self, num_rows: int) -> float:
        inputs = self.package.golden.arrays(self.manifest.inputs)
        batch = {name: np.resize(values, (num_rows, *values.shape[1:])) for name, values in inputs.items()}
        elapsed: list[float] = []
        for _ in range(5):
            started = time.perf_counter()
            self.predict(batch)
            elapsed.append(time.perf_counter() - started)
        return min(elapsed)

    def self_test(self) -> None:
        """Replay the golden rows on this machine. Raises PackageError when an answer leaves its tolerance."""
        inputs = self.package.golden.arrays(self.manifest.inputs) if self.package.golden.num_rows else {}
        answered = self.predict(inputs) if inputs else {}
        check_golden(self.package, self.variant, answered)


def inputs_of_table(table: pa.Table, specs: tuple[InputSpec, ...]) -> dict[str, np.ndarray]:
    """What `Predictor.predict` takes, from a table that may have more columns. Raises BadInput, as for a request."""
    wanted = [name for spec in specs for name in (spec.columns or (spec.name,))]
    check_names([name for name in table.column_names if name in set(wanted)], wanted, "column")
    if table.num_rows == 0:
        raise BadInput("the table has no rows")
    try:
        with np.errstate(over="ignore"):  # what is beyond float32 becomes an infinity, which is refused below
            inputs = inputs_from_table(table, specs)
    except pa.ArrowInvalid as error:
        raise BadInput(f"a numeric column holds something else: {error}") from error
    except UnreadableValue as error:
        raise BadInput(error.message) from error
    for spec in specs:
        if spec.kind in ("numeric", "image") and np.isinf(inputs[spec.name]).any():
            to_float32(f"column {spec.name!r}", inputs[spec.name].ravel())  # refuses it; a copy, so only where needed
        if spec.kind == "image" and np.isnan(inputs[spec.name]).any():
            raise BadInput(f"{spec.name!r}: an image has no missing pixels")
    return inputs


def _pseudonymiser(package: Package) -> Pseudonymiser | None:
    """With the key of the environment, or None where there is none, or no need of one. Raises PackageError."""
    key_file = os.environ.get(KEY_FILE_VARIABLE)
    if not package.transforms.hashed or not (key_file or os.environ.get(KEY_VARIABLE)):
        return None
    try:
        return Pseudonymiser.load(Path(key_file) if key_file else None)
    except NoPiiKey as error:
        raise PackageError(
            f"{package.folder} knows personal data by pseudonyms: {error.message}", error.hint
        ) from error
