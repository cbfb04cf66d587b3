"""Tables that a function of the person's own returns."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.sources.asking import bad, config
from training.data.sources import read_sources, read_table
from training.errors import DataError

CODE = """
import pyarrow as pa

def table(rows=3):
    return pa.table({"a": range(rows), "y": ["u"] * rows})

def reader():
    return pa.RecordBatchReader.from_batches(table().schema, table().to_batches())

def frame():
    import pandas
    return pandas.DataFrame({"a": [1.0, None], "m": [1, "x"], "y": ["u", None]})

def mixed():
    import pandas
    return pandas.DataFrame({"m": [*range(99), "x"]})

def twice():
    import pandas
    return pandas.DataFrame([[1, 2]], columns=["a", "a"])

def fails():
    raise RuntimeError("the moon is full")

def nothing():
    return None

def empty():
    return table(0)

number = 7
"""


@pytest.fixture
def module(tmp_path: Path) -> Iterator[str]:
    name = f"made_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(CODE)
    before = list(sys.path)
    yield name
    sys.path[:] = before
    sys.modules.pop(name, None)


def test_tables_readers_and_frames(module: str, tmp_path: Path) -> None:
    assert read_table(config(f"{module}:table", args={"rows": 5}), base=tmp_path).num_rows == 5
    assert read_table(config(f"{module}:reader"), base=tmp_path).column("a").to_pylist() == [0, 1, 2]
    frame = read_table(config(f"{module}:frame"), base=tmp_path)
    assert frame.to_pylist() == [{"a": 1.0, "m": "1", "y": "u"}, {"a": None, "m": "x", "y": None}]


def test_the_folder_of_the_experiment_is_looked_into(module: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    raw = read_sources(config(f"{module}:table"), base=elsewhere, code_path=str(tmp_path))
    assert raw.table.num_rows == 3


def test_mixed_python_values_are_settled_by_their_share(module: str, tmp_path: Path) -> None:
    raw = read_sources(config(f"{module}:mixed"), base=tmp_path)
    assert raw.table.column("m").to_pylist() == list(range(99))
    assert [(row, value) for _, row, _, _, value in bad(raw)] == [(99, "x")]


@pytest.mark.parametrize(
    ("function", "more", "said"),
    [
        ("fails", {}, r"raised RuntimeError: the moon is full at .*\.py:23"),
        ("nothing", {}, "returns a NoneType\nhint: it must return a pyarrow Table"),
        ("empty", {}, "returns a table without rows"),
        ("twice", {}, "has the column a more than once"),
        ("tabel", {}, "has no function tabel\nhint: it has: table, reader"),
        ("number", {}, "has no function number"),
        ("table", {"args": {"row": 5}}, r"data\.args do not fit .*'row'\nhint: it takes \(rows=3\)"),
    ],
)
def test_what_can_go_wrong_is_said(
    module: str, tmp_path: Path, function: str, more: dict[str, object], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read_sources(config(f"{module}:{function}", **more), base=tmp_path)


def test_a_module_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No module named 'nowhere_at_all'\nhint: put nowhere_at_all\.py beside"):
        read_sources(config("nowhere_at_all:table"), base=tmp_path)


def test_a_ray_dataset_becomes_a_table(ray_2_cpus: None, module: str, tmp_path: Path) -> None:
    code = """
import numpy as np
import ray.data

def dataset():
    rows = [{"a": i, "y": "uv"[i % 2], "image": np.full((2, 2), i, np.uint8)} for i in range(40)]
    return ray.data.from_items(rows)
"""
    (tmp_path / f"{module}_ray.py").write_text(code)
    table = read_table(config(f"{module}_ray:dataset"), base=tmp_path)
    assert sorted(table.column("a").to_pylist()) == list(range(40))
    image = table.column("image").combine_chunks()
    assert type(image.type).__module__ == "pyarrow.lib"
    at = table.column("a").to_pylist().index(7)
    np.testing.assert_array_equal(image.to_numpy_ndarray()[at], np.full((2, 2), 7))
