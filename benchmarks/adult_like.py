"""A table like Adult (UCI census income) of any length: 6 numeric and 8 categorical columns, a few values missing."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

CHUNK = 500_000  # rows made at a time, so that the benchmark itself stays small
CATEGORIES = {
    "workclass": 8, "education": 16, "marital_status": 7, "occupation": 14, "relationship": 6, "race": 5, "sex": 2,
    "native_country": 41,
}  # fmt: skip
MISSING = {"workclass": 0.056, "occupation": 0.057, "native_country": 0.018}  # shares, those of Adult
MARKER = "?"  # what stands in a CSV file for a missing value


def write(path: Path, num_rows: int) -> None:
    """The table as Parquet or CSV, by the file's ending; the same rows in both."""
    if path.suffix == ".parquet":
        with pq.ParquetWriter(path, _chunk(0, 1).schema) as parquet:
            for chunk in _chunks(num_rows):
                parquet.write_table(chunk)
        return
    with pacsv.CSVWriter(path, _chunk(0, 1).schema) as csv:
        for chunk in _chunks(num_rows):
            csv.write_table(_with_markers(chunk))


def _chunks(num_rows: int) -> Iterator[pa.Table]:
    for number, start in enumerate(range(0, num_rows, CHUNK)):
        yield _chunk(number, min(CHUNK, num_rows - start))


def _chunk(number: int, num_rows: int) -> pa.Table:
    draw = np.random.default_rng([7, number])
    age = draw.integers(17, 91, num_rows)
    education_num = np.clip(np.rint(draw.normal(10, 2.6, num_rows)), 1, 16).astype(np.int64)
    hours = np.clip(np.rint(draw.normal(40, 12, num_rows)), 1, 99).astype(np.int64)
    gain = np.where(draw.random(num_rows) < 0.08, np.rint(draw.lognormal(8.5, 1, num_rows)), 0).astype(np.int64)
    loss = np.where(draw.random(num_rows) < 0.05, np.rint(draw.normal(1870, 380, num_rows)), 0).astype(np.int64)
    columns: dict[str, pa.Array] = {
        "age": pa.array(age),
        "fnlwgt": pa.array(np.rint(draw.lognormal(12, 0.5, num_rows)).astype(np.int64)),
        "education_num": pa.array(education_num),
        "capital_gain": pa.array(gain),
        "capital_loss": pa.array(loss),
        "hours_per_week": pa.array(hours),
    } | {name: _texts(name, size, num_rows, draw) for name, size in CATEGORIES.items()}
    chance = 0.03 * (age - 45) + 0.35 * (education_num - 10) + 0.03 * (hours - 40) + gain / 6000 - 1.6
    is_rich = draw.random(num_rows) < 1 / (1 + np.exp(-chance))
    return pa.table(columns | {"income": pa.array([">50K", "<=50K"]).take(pa.array(np.where(is_rich, 0, 1)))})


def _texts(name: str, size: int, num_rows: int, draw: np.random.Generator) -> pa.Array:
    """Values as uneven as categories are: the second comes half as often as the first, the third a third."""
    weights = 1 / np.arange(1, size + 1)
    codes = np.searchsorted(np.cumsum(weights / weights.sum())[:-1], draw.random(num_rows))
    is_missing = draw.random(num_rows) < MISSING.get(name, 0)
    words = pa.array([f"{name.replace('_', '-')}-{i}" for i in range(size)])
    return words.take(pa.array(codes, mask=is_missing))


def _with_markers(chunk: pa.Table) -> pa.Table:
    for name in MISSING:
        place = chunk.schema.get_field_index(name)
        chunk = chunk.set_column(place, name, chunk.column(name).fill_null(MARKER))
    return chunk
