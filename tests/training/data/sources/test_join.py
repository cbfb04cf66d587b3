"""Further sources joined on keys: who matched, who did not, and what is too much."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.data.sources.asking import bad, config
from training.data.sources import read_sources
from training.data.sources.join_keys import NO_KEY, codes, comparable, first_rows
from training.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "main.csv").write_text("id,y\n3,u\n1,v\n,u\n9,v\n1,u\n")
    (tmp_path / "people.csv").write_text("key,age,size\n1,30,70\n3,40,60\n4,50,50\n")
    return tmp_path


def joined(folder: Path, source: str = "people.csv", **join: Any) -> Any:
    return config(folder / "main.csv", join=[{"source": str(folder / source), "on": {"id": "key"}, **join}])


def test_left_keeps_every_row_in_order_and_inner_those_that_match(folder: Path) -> None:
    raw = read_sources(joined(folder, max_unmatched_fraction=0.4))
    assert raw.table.to_pydict() == {
        "id": [3, 1, None, 9, 1], "y": ["u", "v", "u", "v", "u"], "age": [40, 30, None, None, 30],
        "size": [60, 70, None, None, 70],
    }  # fmt: skip
    assert [facts.name for facts in raw.sources] == ["source", "join.0"]
    assert any("2 of 5 (40.00%) rows of" in note and "keep missing values" in note for note in raw.notes)
    inner = read_sources(joined(folder, max_unmatched_fraction=0.4, how="inner"))
    assert inner.table.column("age").to_pylist() == [40, 30, 30]
    assert inner.rows.tolist() == [0, 1, 4]
    assert any("2 of 5 (40.00%) rows of" in note and "are left out" in note for note in inner.notes)


def test_too_many_rows_without_a_match_stop_with_numbers_and_examples(folder: Path) -> None:
    with pytest.raises(DataError, match=r"2 of 5 \(40\.00%\) rows of .* such as id='None', id='9'; allowed is 30\.00%"):
        read_sources(joined(folder, max_unmatched_fraction=0.3))
    with pytest.raises(DataError, match=r"data\.join\.0\.max_unmatched_fraction"):
        read_sources(joined(folder))


def test_keys_that_stand_twice_are_judged_and_the_first_counts(folder: Path) -> None:
    (folder / "people.csv").write_text("key,age\n1,30\n3,40\n9,1\n,7\n1,31\n3,41\n")
    with pytest.raises(DataError, match=r"2 of 3 \(66\.67%\) keys stand more than once, such as key='1', key='3'"):
        read_sources(joined(folder, max_unmatched_fraction=0.2))
    raw = read_sources(joined(folder, max_unmatched_fraction=0.2, max_duplicate_fraction=0.7))
    assert raw.table.column("age").to_pylist() == [40, 30, None, 1, 30]
    assert any("1 of 6 (16.67%) rows have no key" in note for note in raw.notes)
    assert any("the first row of each counts" in note for note in raw.notes)


def test_each_source_has_its_own_shape(folder: Path) -> None:
    raw = read_sources(
        joined(
            folder,
            rename={"size": "height"},
            convert={"height": "inch -> cm"},
            cast={"age": "number"},
            take=["height"],
            max_unmatched_fraction=1,
        )
    )
    assert raw.table.column_names == ["id", "y", "height"]
    np.testing.assert_allclose(raw.table.column("height")[0].as_py(), 152.4)


def test_bad_rows_of_a_joined_source_are_told_of_and_do_not_match(folder: Path) -> None:
    (folder / "people.csv").write_text("key,age\n1,x\n3,40\n")
    raw = read_sources(joined(folder, cast={"age": "number"}, max_unmatched_fraction=1))
    assert raw.table.column("age").to_pylist() == [40, None, None, None, None]
    assert bad(raw) == [("people.csv", 0, "age", "is no number", "x")]
    assert raw.num_read == 5


@pytest.mark.parametrize(
    ("join", "said"),
    [
        ({"on": "nope"}, r"data\.join\.0\.on names nope"),
        ({"on": {"id": "nope"}}, r"data\.join\.0\.on names nope"),
        ({"take": ["agee"]}, r"data\.join\.0\.take names agee.*\nhint: nearest: age"),
        ({"rename": {"age": "y"}}, r"has the column y, which the rows it is joined to have already\nhint: .*rename"),
        ({"cast": {"key": "text"}}, r"id of .*main\.csv is int64, but key of .*people\.csv is string.*\nhint: .*cast"),
        ({"source": "nowhere.csv"}, "does not exist"),
        ({"max_unmatched_fraction": 1, "how": "inner", "cast": {"key": "boolean"}}, "is bool, so no key can match"),
    ],
)
def test_joins_that_cannot_be(folder: Path, join: dict[str, Any], said: str) -> None:
    (folder / "people.csv").write_text("key,age,size\n1,30,70\n0,50,50\n")
    with pytest.raises(DataError, match=said):
        read_sources(joined(folder, **join))


def test_an_inner_join_that_leaves_no_row_is_refused(folder: Path) -> None:
    (folder / "people.csv").write_text("key,age\n77,30\n")
    with pytest.raises(DataError, match="so none is left"):
        read_sources(joined(folder, how="inner", max_unmatched_fraction=1))


def test_several_joins_in_order_and_a_held_out_source_is_joined_alike(folder: Path) -> None:
    (folder / "more.csv").write_text("age,size,team\n30,70,a\n40,60,b\n")
    (folder / "main.csv").write_text("id,y\n3,u\n1,v\n")
    (folder / "test.csv").write_text("id,y\n1,u\n")
    data = config(
        folder / "main.csv",
        join=[
            {"source": str(folder / "people.csv"), "on": {"id": "key"}},
            {"source": str(folder / "more.csv"), "on": ["age", "size"]},
        ],
    )
    assert read_sources(data).table.column("team").to_pylist() == ["b", "a"]
    held_out = read_sources(data, source=str(folder / "test.csv"))
    assert held_out.table.column("team").to_pylist() == ["a"]
    assert [facts.name for facts in held_out.sources] == ["test", "join.0", "join.1"]


@pytest.mark.parametrize(
    ("left", "right", "matched"),
    [
        (pa.array([1, 2], pa.int32()), pa.array([2, 1], pa.int64()), [1, 0]),
        (pa.array([1, 2], pa.uint8()), pa.array([2.0, 1.0, None]), [1, 0]),
        (pa.array([1.5, 2.0]), pa.array([2, 1]), [NO_KEY, 0]),
        (pa.array([1.5, float("nan")]), pa.array([float("nan"), 1.5]), [1, NO_KEY]),
        (pa.array([2**53 + 1]), pa.array([2**53, 2**53 + 1]), [1]),
        (pa.array([2**64 - 1], pa.uint64()), pa.array([-1]), [NO_KEY]),
        (pa.array(["a", None]), pa.array([None, "a"]), [1, NO_KEY]),
        (pa.array([18262], pa.date32()), pa.array([1577836800], pa.timestamp("s")), [0]),
        (pa.array([None, None]), pa.array(["a"]), [NO_KEY, NO_KEY]),
    ],
)
def test_keys_of_different_widths_meet(left: pa.Array, right: pa.Array, matched: list[int]) -> None:
    pair = comparable(pa.chunked_array([left]), pa.chunked_array([right]))
    assert pair is not None
    left_N, right_M = codes([pair[0]], [pair[1]])
    rows, _ = first_rows(right_M)
    assert [NO_KEY if code == NO_KEY else rows[code] for code in left_N] == matched


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pa.array([1]), pa.array(["1"])),
        (pa.array([True]), pa.array([1])),
        (pa.array([0], pa.timestamp("s")), pa.array([0], pa.timestamp("s", "UTC"))),
        (pa.array([[1]]), pa.array([[1]])),
    ],
)
def test_keys_of_different_kinds_do_not(left: pa.Array, right: pa.Array) -> None:
    assert comparable(pa.chunked_array([left]), pa.chunked_array([right])) is None


KEYS = st.lists(st.tuples(st.none() | st.integers(0, 3), st.none() | st.sampled_from("ab")), max_size=12)


@given(left=KEYS, right=KEYS)
@settings(deadline=None)
def test_keys_of_two_columns_match_as_a_dictionary_would(left: list[Any], right: list[Any]) -> None:
    def columns(keys: list[Any]) -> list[pa.ChunkedArray]:
        kinds = (pa.int64(), pa.string())
        return [pa.chunked_array([pa.array([key[i] for key in keys], kinds[i])]) for i in range(2)]

    first: dict[Any, int] = {}
    for i, key in enumerate(right):
        if None not in key:
            first.setdefault(key, i)
    left_N, right_M = codes(columns(left), columns(right))
    rows, counts = first_rows(right_M)
    assert [None if code == NO_KEY else rows[code] for code in left_N] == [first.get(key) for key in left]
    assert sorted(counts) == sorted(right.count(key) for key in first)


def test_a_join_of_several_pieces_keeps_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.sources.join.PIECE_ROWS", 1000)
    ids = np.random.default_rng(0).permutation(2500)
    pq.write_table(pa.table({"id": ids, "y": ids}), tmp_path / "main.parquet")
    other = pa.table({"id": np.arange(2500, dtype=np.int32)[::-1], "z": np.arange(2500)[::-1]})
    pq.write_table(other, tmp_path / "other.parquet")
    data = config(tmp_path / "main.parquet", join=[{"source": str(tmp_path / "other.parquet"), "on": "id"}])
    table = read_sources(data).table
    np.testing.assert_array_equal(table.column("y"), ids)
    np.testing.assert_array_equal(table.column("z"), ids)
