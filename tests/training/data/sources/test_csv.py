"""CSV files, good and bad: what is wrong is a message with a place, or a bad row, and never another table."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.data.sources.asking import bad, config
from training.data.sources import read_sources, read_table
from training.errors import DataError


def write(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_text_is_stripped_and_markers_are_missing(tmp_path: Path) -> None:
    table = read_table(config(write(tmp_path, "a, b ,y\n1, x ,u\n?, ?,v\n3,y,u\n"), missing=["?"]))
    assert table.column("a").to_pylist() == [1, None, 3]
    assert table.column("b").to_pylist() == ["x", None, "y"]


def test_names_replace_a_header(tmp_path: Path) -> None:
    table = read_table(config(write(tmp_path, "1,x\n2,y\n"), names=["n", "y"]))
    assert table.to_pylist() == [{"n": 1, "y": "x"}, {"n": 2, "y": "y"}]


def test_a_declared_category_keeps_its_text_also_under_a_padded_name(tmp_path: Path) -> None:
    table = read_table(config(write(tmp_path, " zip ,y\n01234,1\n00001,0\n"), columns={"zip": "categorical"}))
    assert table.column("zip").to_pylist() == ["01234", "00001"]


def test_tabs_and_compression_go_by_the_ending(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv.gz"
    path.write_bytes(gzip.compress(b"a\ty\n1\tu,v\n"))
    assert read_table(config(path)).to_pylist() == [{"a": 1, "y": "u,v"}]


def test_a_cut_off_gzip_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,y\n" + b"".join(b"%d,u\n" % i for i in range(9999)))[:-900])
    with pytest.raises(DataError, match=r"t\.csv\.gz cannot be read as CSV"):
        read_sources(config(path))


def test_quoted_line_breaks_belong_to_the_value(tmp_path: Path) -> None:
    raw = read_sources(config(write(tmp_path, 'a,y\n"one\ntwo, three",u\n"x ""y""",v\n')))
    assert raw.table.column("a").to_pylist() == ["one\ntwo, three", 'x "y"']


def test_ragged_rows_are_bad_rows_with_file_and_number(tmp_path: Path) -> None:
    write(tmp_path, "a,b,y\n1,2,u\n\n1,2\n2,3,v\n1,2,3,4\n3,4,u\n", "1.csv")
    write(tmp_path, "a,b,y\n4,5,u\n", "0.csv")
    raw = read_sources(config(tmp_path))
    assert raw.table.column("a").to_pylist() == [4, 1, 2, 3]
    assert bad(raw) == [
        ("1.csv", 1, "", "has 2 fields instead of 3", "1,2"),
        ("1.csv", 3, "", "has 4 fields instead of 3", "1,2,3,4"),
    ]
    assert raw.rows.tolist() == [0, 1, 3, 5]
    assert raw.num_read == 6
    with pytest.raises(DataError, match=r"1\.csv, row 1 \(the first is 0\): has 2 fields instead of 3 \('1,2'\)"):
        read_table(config(tmp_path))


def test_ragged_rows_of_a_file_without_a_header_and_over_many_blocks(tmp_path: Path) -> None:
    lines = [f"{i},u" if i % 100_000 else f"{i},u,extra" for i in range(400_000)]
    raw = read_sources(config(write(tmp_path, "\n".join(lines)), names=["a", "y"]))
    assert raw.bad.column("row").to_pylist() == [0, 100_000, 200_000, 300_000]
    assert raw.rows[:2].tolist() == [1, 2]
    assert raw.table.column("a")[0].as_py() == 1


def test_where_every_row_is_ragged_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no row fits the 2 columns of the header; row 0 has 3 fields"):
        read_sources(config(write(tmp_path, "a,y\n1,2,3\n4,5,6\n")))


@pytest.mark.parametrize("num_rows", [20, 400_000], ids=["one block", "many blocks"])
@pytest.mark.parametrize("open_at", ['"1,u', '1,"u'], ids=["ragged", "as many fields"])
def test_a_quote_that_is_never_closed_loses_no_rows_in_silence(tmp_path: Path, num_rows: int, open_at: str) -> None:
    lines = ["1,u"] * num_rows
    lines[7] = open_at
    with pytest.raises(DataError, match=r'a quote \("\) that opens in row 7 \(the first is 0\) is never closed'):
        read_sources(config(write(tmp_path, "a,y\n" + "\n".join(lines) + "\n")))


def test_a_quote_sign_within_a_value_opens_nothing(tmp_path: Path) -> None:
    raw = read_sources(config(write(tmp_path, 'a,y\n5" pipe,u\n6" pipe,1,u\n7,"one\ntwo"\n')))
    assert raw.table.column("y").to_pylist() == ["u", "one\ntwo"]
    assert bad(raw) == [("t.csv", 1, "", "has 3 fields instead of 2", '6" pipe,1,u')]


def test_a_value_longer_than_a_block_is_read(tmp_path: Path) -> None:
    long = "x" * 3_000_000
    assert read_table(config(write(tmp_path, f"a,y\n{long},u\n1,v\n"))).column("a").to_pylist() == [long, "1"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"a,y\n", "no rows"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is not UTF-8 text: the header holds the byte 0x89, at offset 0"),
        (b"a,a\n1,2\n", "has the column a more than once"),
        (b"a, a\n1,2\n", "has the column a more than once"),
        ("a,y\n1,u\n2,caf\u00e9\n".encode("latin-1"), r"row 1 \(the first is 0\), in the column y holds the byte 0xe9"),
        ('a,y\n"1\n2",u\n2,caf\u00e9\n'.encode("latin-1"), r"row 1 \(the first is 0\)"),
        (b"a,y\n" + b"1,u\n" * 500_000 + b"2,\xff\n", r"row 500000 .* 0xff, at offset 2000006"),
        ("a,y\n1,u\n".encode("utf-16"), "it looks like UTF-16"),
        (b"a\x00,y\n1,2\n", "its header holds NUL bytes"),
    ],
)
def test_bad_csv_says_what_is_wrong(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said) as error:
        read_table(config(write(tmp_path, content, "bad.csv")))
    assert "bad.csv" in str(error.value)


@pytest.mark.parametrize(("written", "said"), [("cp1252", "-f windows-1252 "), ("utf-16", "-f utf-16 ")])
def test_another_encoding_is_told_with_what_turns_it(tmp_path: Path, written: str, said: str) -> None:
    with pytest.raises(DataError) as error:
        read_table(config(write(tmp_path, "a,y\n5 \u20ac,u\n".encode(written))))
    assert said in error.value.hint


def test_bytes_that_are_not_utf8_in_a_declared_column_are_found_too(tmp_path: Path) -> None:
    path = write(tmp_path, b"a,y\n1,u\n\xe9,v\n")
    with pytest.raises(DataError, match=r"row 1 \(the first is 0\) holds the byte 0xe9, at offset 8"):
        read_sources(config(path, columns={"a": "categorical"}))


@given(rows=st.lists(st.tuples(st.integers(-9, 9), st.sampled_from(["u", "v w", 'q"q', "l\nl", "c,c"])), min_size=1))
@settings(max_examples=25, deadline=None)
def test_what_python_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str]]) -> None:
    import csv

    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("n", "y"), *rows])
    assert [tuple(row.values()) for row in read_table(config(path)).to_pylist()] == rows
