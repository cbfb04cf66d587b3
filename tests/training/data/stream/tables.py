"""Tables in Parquet files for the tests of streams."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.data.config import DataConfig

NUM_ROWS = 1500


def rows(num_rows: int = NUM_ROWS, seed: int = 0) -> pa.Table:
    """Numbers, categories, dates as text, an id, and a target that two of them decide."""
    random = np.random.default_rng(seed)
    number = random.normal(size=num_rows)
    word = random.choice(["low", "mid", "high"], num_rows)
    target = np.where(number + (word == "high") + 0.3 * random.normal(size=num_rows) > 0, "yes", "no")
    days = pa.array([f"2024-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(num_rows)])
    group = random.integers(0, num_rows // 10, num_rows)
    return pa.table({"id": np.arange(num_rows), "x": number, "word": word, "day": days, "group": group, "y": target})


def write(folder: Path, table: pa.Table, seed: int = 0, num_files: int = 3) -> Path:
    """Files of ragged row groups: each holds up to 200 rows."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    cuts = np.sort(random.choice(np.arange(1, table.num_rows), num_files - 1, replace=False))
    for number, (start, stop) in enumerate(zip([0, *cuts], [*cuts, table.num_rows], strict=True)):
        left = table.slice(start, stop - start)
        with pq.ParquetWriter(folder / f"part-{number}.parquet", table.schema) as writer:
            while left.num_rows:
                size = int(random.integers(1, 200))
                writer.write_table(left.slice(0, size))
                left = left.slice(size)
    return folder


def config(folder: Path, **settings: Any) -> DataConfig:
    """How these files are streamed."""
    return DataConfig.model_validate(
        {"source": str(folder), "target": "y", "ignore": ["id", "group"], "loading": "stream", "window_mb": 1}
        | settings
    )
