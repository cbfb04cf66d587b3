"""What the tests of sources share: a config in one line, and bad rows as plain tuples."""

from typing import Any

from training.data.config import DataConfig
from training.data.raw import Raw


def config(source: object, **more: Any) -> DataConfig:
    """A config of one source; the target is `y`, which reading does not ask for."""
    return DataConfig.model_validate({"source": str(source), "target": "y", **more})


def bad(raw: Raw) -> list[tuple[str, int, str, str, str | None]]:
    """Bad rows as (file name, row, column, reason, value)."""
    return [
        (row["source"].rpartition("/")[2], row["row"], row["column"], row["reason"], row["value"])
        for row in raw.bad.to_pylist()
    ]
