"""Row hashes and digests follow values, not how Arrow holds them; differences are said in words."""

import datetime
import decimal
import io
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.fingerprint import content_digest, differences, logical_type, order_digest, row_hashes

NOON = datetime.datetime(2024, 2, 29, 12, 30, 15, 250_000)
EARLY = datetime.datetime(1066, 10, 14)
SAMPLE: dict[str, tuple[pa.DataType, list[Any]]] = {
    "whole": (pa.int32(), [1, -7, None, 2**31 - 1]),
    "real": (pa.float64(), [1.5, math.nan, None, -0.0]),
    "half": (pa.float16(), [np.float16(0.5), None, np.float16(2), np.float16(3)]),
    "flag": (pa.bool_(), [True, False, None, True]),
    "text": (pa.string(), ["", "ä" * 5, None, "x" * 1000]),
    "blob": (pa.binary(), [b"", b"\x00", None, b"\x00\x00"]),
    "fixed": (pa.binary(3), [b"abc", b"abd", None, b"\x00\x00\x00"]),
    "day": (pa.date32(), [NOON.date(), EARLY.date(), None, NOON.date()]),
    "time": (pa.timestamp("us"), [NOON, EARLY, None, NOON]),
    "clock": (pa.time32("ms"), [NOON.time(), None, datetime.time(0), NOON.time()]),
    "span": (pa.duration("s"), [datetime.timedelta(1), None, datetime.timedelta(2), datetime.timedelta(0)]),
    "money": (pa.decimal128(9, 2), [decimal.Decimal("1.50"), None, decimal.Decimal("-2"), decimal.Decimal(0)]),
    "pixels": (pa.list_(pa.uint8(), 3), [[1, 2, 3], None, [0, 0, 0], [3, 2, 1]]),
    "words": (pa.list_(pa.string()), [["a", ""], [], None, ["a", None]]),
    "holes": (pa.list_(pa.float32()), [[1, None], [1, 0], None, []]),
    "nested": (pa.struct({"a": pa.int8(), "b": pa.string()}), [{"a": 1, "b": "x"}, None, {"a": None, "b": "x"}, {}]),
    "pairs": (pa.map_(pa.string(), pa.int8()), [[("a", 1)], None, [], [("b", 1)]]),
    "nothing": (pa.null(), [None] * 4),
}


def sample() -> pa.Table:
    return pa.table({name: pa.array(values, kind) for name, (kind, values) in SAMPLE.items()})


def hashes_of(values: list[Any], kind: pa.DataType | None = None) -> list[int]:
    return row_hashes(pa.table({"x": pa.array(values, kind)})).tolist()


@pytest.mark.parametrize("name", SAMPLE)
def test_every_type_is_hashed_by_value_whatever_the_chunks(name: str) -> None:
    rows = sample().select([name])
    whole = row_hashes(rows)
    pieces = pa.concat_tables([rows.slice(0, 1), rows.slice(1, 2), rows.slice(3)])
    assert row_hashes(pieces).tolist() == whole.tolist()
    assert row_hashes(rows.take([3, 2, 1, 0])).tolist() == whole[::-1].tolist()
    distinct = len({repr(value) for value in rows.column(0).to_pylist()})
    assert len(set(whole.tolist())) == distinct


def test_a_file_of_parquet_or_arrow_holds_the_same_rows() -> None:
    rows = sample().drop_columns(["half", "span"])
    stored = io.BytesIO()
    pq.write_table(rows, stored)
    again = pq.read_table(io.BytesIO(stored.getvalue()))
    assert row_hashes(again).tolist() == row_hashes(rows).tolist()
    assert content_digest(again) == content_digest(rows)


def test_how_arrow_holds_values_does_not_count() -> None:
    texts = pa.chunked_array([["a", None], ["b", "a"]])
    kinds = [texts, texts.cast(pa.large_string()), texts.dictionary_encode(), texts.cast(pa.string_view())]
    assert len({content_digest(pa.table({"x": held})) for held in kinds}) == 1
    whole = pa.array([1, 2, None])
    assert content_digest(pa.table({"x": whole})) == content_digest(pa.table({"x": whole.cast(pa.uint8())}))
    times = pa.array([NOON.replace(microsecond=0), EARLY]).cast(pa.timestamp("s"))
    assert content_digest(pa.table({"x": times})) == content_digest(pa.table({"x": times.cast(pa.timestamp("ms"))}))
    assert row_hashes(pa.table({"x": [1, 2]})).tolist() == row_hashes(pa.table({"x": [1.0, 2.0]})).tolist()
    lists = pa.array([[1, 2], [3, 4]], pa.list_(pa.int64(), 2))
    assert content_digest(pa.table({"x": lists})) == content_digest(pa.table({"x": lists.cast(pa.list_(pa.int64()))}))


def test_values_that_differ_are_told_apart() -> None:
    unlike = [
        *hashes_of([None, ""], pa.string()), *hashes_of([0, 1, -1, 2**62, 2**62 + 1]),
        *hashes_of([math.nan, math.inf, -math.inf, 0.5, -0.5, 2.0**70], pa.float64()),
        *hashes_of([2**64 - 1, 2**63], pa.uint64()), *hashes_of(["0", "1", "a", "a\0", "\0a", "\0", "ab", "a" * 8]),
        *hashes_of([[], [0], [0, 0]], pa.list_(pa.int64())),
    ]  # fmt: skip
    assert len(set(unlike)) == len(unlike)
    assert hashes_of([0.0]) == hashes_of([-0.0])


def test_names_count_and_their_order_does_not() -> None:
    rows = pa.table({"a": [1, 2], "b": [2, 1]})
    assert row_hashes(rows).tolist() == row_hashes(rows.select(["b", "a"])).tolist()
    assert row_hashes(rows)[0] != row_hashes(rows)[1]  # 1, 2 is not 2, 1
    assert row_hashes(rows)[0] != row_hashes(rows.rename_columns(["a", "c"]))[0]
    assert row_hashes(rows, ["b"]).tolist() == row_hashes(rows.select(["b"])).tolist()
    with pytest.raises(KeyError, match="zzz"):
        row_hashes(rows, ["zzz"])


def test_a_hash_stays_what_it_was() -> None:
    """Runs and packages store digests: one that changes with a release would refuse every resume."""
    rows = pa.table({"n": [1, None], "x": [0.5, math.nan], "t": ["a text of more than 8 bytes", ""], "b": [True, None]})
    assert content_digest(rows) == "0bf9d5ab4fec9650af4f9196fe10bb31"
    assert content_digest(sample().drop_columns(["pairs"])) == "764369397397ede2407d06f4c6e12813"


values = st.one_of(st.none(), st.text(max_size=12))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(values, st.one_of(st.none(), st.integers(-9, 9))), max_size=20), st.randoms(), st.integers(0, 20)
)
def test_the_digest_is_that_of_the_multiset_of_rows(rows: list[tuple], random: Any, cut: int) -> None:
    def table(rows: list[tuple]) -> pa.Table:
        return pa.table(
            {"t": pa.array([row[0] for row in rows], pa.string()), "n": pa.array([row[1] for row in rows], pa.int64())}
        )

    shuffled = random.sample(rows, len(rows))
    pieces = pa.concat_tables([table(shuffled[:cut]), table(shuffled[cut:])])
    assert content_digest(pieces) == content_digest(table(rows))
    assert (order_digest(pieces) == order_digest(table(rows))) == (shuffled == rows)
    assert content_digest(table([*rows, ("", 0)])) != content_digest(table(rows))
    if rows:
        assert content_digest(table([*rows, rows[0], rows[0]])) != content_digest(table(rows))
        assert content_digest(table(rows[1:])) != content_digest(table(rows))


def test_no_two_of_many_rows_share_a_hash() -> None:
    whole = pa.table({"a": np.repeat(np.arange(1000), 1000), "b": np.tile(np.arange(1000), 1000)})
    assert len(np.unique(row_hashes(whole))) == whole.num_rows
    texts = pc.cast(pa.array(np.arange(300_000)), pa.string())
    assert len(set(row_hashes(pa.table({"t": texts})).tolist())) == 300_000


def test_csv_and_parquet_of_one_table_agree() -> None:
    rows = pa.table({"i": [3, 1], "x": [0.25, None], "t": ["p", "q"]})
    text = io.BytesIO()
    pacsv.write_csv(rows, text)
    assert row_hashes(pacsv.read_csv(io.BytesIO(text.getvalue()))).tolist() == row_hashes(rows).tolist()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (pa.int8(), "integer"),
        (pa.float32(), "number"),
        (pa.large_string(), "text"),
        (pa.dictionary(pa.int32(), pa.large_string()), "text"),
        (pa.date64(), "date"),
        (pa.timestamp("ms"), "timestamp[]"),
        (pa.timestamp("ns", "UTC"), "timestamp[, tz=UTC]"),
        (pa.list_(pa.uint8(), 3), "list<integer>"),
        (pa.decimal256(40, 2), "decimal(40, 2)"),
        (pa.bool_(), "boolean"),
    ],
)
def test_logical_types(kind: pa.DataType, said: str) -> None:
    assert logical_type(kind) == said


def facts(**more: Any) -> dict[str, Any]:
    file = {"path": "d/a.csv", "size_bytes": 1000, "modified_at": "2026-01-01T00:00:00Z"}
    plain = {
        "name": "source",
        "uri": "d/a.csv",
        "num_rows": 100,
        "columns": {"x": "int64"},
        "digest": "d",
        "files": [file],
    }
    return plain | more


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({}, []),
        ({"files": [{"path": "d/a.csv", "size_bytes": 1000, "modified_at": "2026-02-02T00:00:00Z"}]}, []),  # touched
        ({"digest": "e", "num_rows": 1200}, ["source: 100 rows before, 1,200 now"]),
        ({"digest": "e"}, ["source: as many rows and the same columns, but other values"]),
        ({"order": "o"}, ["source: the same rows stand in another order"]),
        (
            {"digest": "e", "columns": {"y": "string"}},
            ["source: column x is gone", "source: column y is new"],
        ),
        ({"digest": "e", "columns": {"x": "double"}}, ["source: column x was int64, is double"]),
        (
            {
                "digest": "e",
                "num_rows": 99,
                "uri": "d",
                "files": [{"path": "d/b.csv", "size_bytes": 1, "modified_at": ""}],
            },
            [
                "source: read from d, before from d/a.csv",
                "source: 100 rows before, 99 now",
                "source: file d/a.csv is gone",
                "source: file d/b.csv is new",
            ],
        ),
        (
            {
                "digest": "e",
                "files": [{"path": "d/a.csv", "size_bytes": 1001, "modified_at": "2026-02-02T00:00:00Z"}],
            },
            [
                "source: as many rows and the same columns, but other values",
                "source: file d/a.csv changed: 1,000 bytes before, 1,001 now; written 2026-02-02T00:00:00Z, "
                "before 2026-01-01T00:00:00Z",
            ],
        ),
    ],
)  # fmt: skip
def test_differences_say_what_changed(now: dict[str, Any], said: list[str]) -> None:
    assert differences([facts()], [facts(**now)]) == said


def test_differences_name_sources_that_came_and_went() -> None:
    assert differences([facts(), facts(name="test", uri="t.csv")], [facts(), facts(name="join.0", uri="j.csv")]) == [
        "test (t.csv) is no longer read",
        "join.0 (j.csv) was not read before",
    ]
