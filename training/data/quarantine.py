"""Bad rows as a file beside the run: where each came from and what is wrong with it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.data.config import DataConfig
from training.data.raw import BAD_ROWS
from training.errors import StorageError


def write_quarantine(path: Path, bad: pa.Table) -> None:
    """Write the bad rows, a line a reason, in one step: nobody sees half a file. Without bad rows, take the file away.

    Raises:
        StorageError: the file cannot be written.
    """
    half = path.with_name(f".{path.name}.part")
    try:
        if bad.num_rows == 0:
            path.unlink(missing_ok=True)  # of an earlier try, on a source that is corrected by now
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(bad.cast(BAD_ROWS), half)
        half.replace(path)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}", "the bad rows are kept there"
        ) from error


def without_personal_values(bad: pa.Table, data: DataConfig) -> pa.Table:
    """The same rows with no value of personal columns; where a whole row is meant, with none at all."""
    if not data.pii or bad.num_rows == 0:
        return bad
    tells = pc.is_in(bad.column("column"), pa.array(["", *personal_columns(data)], pa.string()))
    hidden = pc.if_else(tells, pa.scalar(None, pa.string()), bad.column("value"))
    return bad.set_column(bad.schema.get_field_index("value"), "value", hidden)


def personal_columns(data: DataConfig) -> frozenset[str]:
    """Columns that hold personal data, or pseudonyms of it, by their names before and after renaming."""
    renamed = (new for shape in (data, *data.join) for old, new in shape.rename.items() if old in data.pii)
    keys = (here for join in data.join for here, there in join.keys.items() if there in data.pii)
    return frozenset([*data.pii, *renamed, *keys])


def reasons(bad: pa.Table) -> dict[str, int]:
    """Bad rows by what is wrong, the most frequent first: `age: is below 0`."""
    counted = bad.group_by(["column", "reason"]).aggregate([([], "count_all")])
    lines = sorted(counted.to_pylist(), key=lambda line: (-line["count_all"], line["column"], line["reason"]))
    return {": ".join(filter(None, (line["column"], line["reason"]))): line["count_all"] for line in lines}
