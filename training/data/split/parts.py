"""Which rows are for training, which judge, and which are held out to the end."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import DataError

MIN_HELD_OUT = 2  # rows of validation and of test: a single one has no variance to explain


@dataclass(frozen=True)
class Split:
    """Places of the rows of each part in the checked table, rising. Rows in no part are not used.

    With a separate test source, `test` holds places in that source's table.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    test_is_separate: bool
    notes: tuple[str, ...] = ()  # what a person should know: shares that were missed, classes that a part lacks

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """The three by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def save(self, path: Path, rows: np.ndarray | None, test_rows: np.ndarray | None = None) -> None:
        """One row of the file for each row of a part: `row`, `part`, and `source` (main or test).

        Args:
            path: a Parquet file to write.
            rows: number (N,) of each row of the checked table in the main source as read; None where none was left out.
            test_rows: the same of the separate test source.
        """
        codes = np.repeat(np.arange(3, dtype=np.int8), [len(places) for places in self.parts.values()])
        numbers = {"test": test_rows if self.test_is_separate else rows}
        row = [
            places if (known := numbers.get(part, rows)) is None else known[places]
            for part, places in self.parts.items()
        ]
        is_other = (codes == 2) & self.test_is_separate
        columns = {
            "row": np.concatenate(row),
            "part": _texts(codes, list(self.parts)),
            "source": _texts(is_other.astype(np.int8), ["main", "test"]),
        }
        pq.write_table(pa.table(columns), path)


def _texts(codes: np.ndarray, words: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(codes, words).cast(pa.string())


def require_rows(split: Split, num_rows: int) -> None:
    """Raise DataError where a part is too small to learn from or to judge by."""
    needed = {"train": 1, "validation": MIN_HELD_OUT, "test": MIN_HELD_OUT}
    if split.test_is_separate:
        needed.pop("test")  # whatever it holds was chosen by a person
    for part, least in needed.items():
        if (count := len(split.parts[part])) < least:
            raise DataError(
                f"{num_rows} rows are too few to divide like this: {count} would be left for {part}, "
                f"at least {least} {'is' if least == 1 else 'are'} needed",
                "add rows, raise data.split.validation or data.split.test, or ask for fewer folds",
            )
