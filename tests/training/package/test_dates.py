"""Dates: one reading for tables and clients, and what cannot be one is named."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.package.columns import UnreadableColumn, inputs_from_table
from training.package.dates import DateReader, arrow_dates, date_part, iso_texts
from training.package.errors import UnreadableValue
from training.package.fitted import DatePart
from training.package.manifest import InputSpec

PARTS: list[tuple[DatePart, object]] = [
    ("year", lambda date: date.year), ("month", lambda date: date.month), ("day", lambda date: date.day),
    ("weekday", lambda date: date.weekday()), ("day_of_year", lambda date: date.timetuple().tm_yday),
    ("hour", lambda date: date.hour), ("minute", lambda date: date.minute),
]  # fmt: skip


def read(*texts: str | None, **how: object) -> list[datetime | None]:
    return DateReader(**how)(list(texts)).tolist()  # type: ignore[arg-type]


@given(st.lists(st.datetimes(), min_size=1, max_size=4))
def test_parts_are_those_of_the_calendar(dates: list[datetime]) -> None:
    array = np.array(dates, "datetime64[us]")
    for part, of in PARTS:
        assert date_part(array, part).tolist() == [of(date) for date in dates], part  # type: ignore[operator]
    seconds = [(date - datetime(1970, 1, 1)).total_seconds() for date in dates]
    np.testing.assert_allclose(date_part(array, "timestamp"), seconds, rtol=1e-12)
    assert np.isnan(date_part(np.array(["NaT"], "datetime64[us]"), "month")).all()


@settings(max_examples=60)
@given(st.lists(st.none() | st.datetimes(timezones=st.none() | st.just(UTC)), max_size=5))
def test_texts_of_a_table_and_of_a_client_are_the_same_instants(dates: list[datetime | None]) -> None:
    texts = [None if date is None else date.isoformat() for date in dates]
    of_client = DateReader(of_client=True)(texts)
    of_table = DateReader()(pa.chunked_array([texts], pa.string()))
    np.testing.assert_array_equal(of_client, of_table)
    assert of_client.tolist() == [None if date is None else date.replace(tzinfo=None) for date in dates]
    np.testing.assert_array_equal(DateReader(of_client=True)(iso_texts(of_client)), of_client)


def test_an_offset_counts_and_spaces_and_markers_do_not() -> None:
    noon = datetime(2024, 3, 1, 12)
    assert read("2024-03-01T14:00+02:00", " 2024-03-01 12:00 ", "", "n/a", None, missing=("n/a",)) == [
        noon, noon, None, None, None,
    ]  # fmt: skip
    berlin = pa.array([noon.replace(tzinfo=timezone(timedelta(hours=1)))], pa.timestamp("ms", "Europe/Berlin"))
    assert arrow_dates(pa.chunked_array([berlin])).tolist() == [datetime(2024, 3, 1, 11)]


def test_a_format_is_for_tables_and_for_clients_where_it_cannot_be_taken_for_iso() -> None:
    day = datetime(2024, 3, 25)
    assert read("25.03.2024", date_format="%d.%m.%Y") == [day]
    assert read("25.03.2024", "2024-03-25", date_format="%d.%m.%Y", of_client=True) == [day, day]
    assert read("2024-25-03", date_format="%Y-%d-%m") == [day]
    with pytest.raises(UnreadableValue, match="ISO 8601 such as") as error:
        read("2024-03-25", "2024-25-03", date_format="%Y-%d-%m", of_client=True)
    assert error.value.index == 1
    with pytest.raises(UnreadableValue, match=r"is '2024-03-25', expected a date of the form %d\.%m\.%Y"):
        read("2024-03-25", date_format="%d.%m.%Y")


@pytest.mark.parametrize("bad", ["soon", "2024-02-30", "2024-3-1", "25.03.2024", "0000-01-01", "2024-03-25T25:00"])
def test_what_is_no_date_is_refused_with_its_row(bad: str) -> None:
    spec = InputSpec(name="when", kind="date", datatype="BYTES")
    rows = pa.table({"when": ["2024-01-01", "2024-01-01", bad, bad]})
    with pytest.raises(UnreadableColumn, match=r"column when: row 2 \(the first is 0\) is .* ISO 8601"):
        inputs_from_table(rows, (spec,))
    with pytest.raises(UnreadableValue) as error:
        DateReader(of_client=True)(["2024-01-01", bad])
    assert error.value.index == 1


def test_dates_that_no_calendar_has_are_refused() -> None:
    beyond = pa.chunked_array([pa.array([0, 2**62], pa.int64()).cast(pa.timestamp("us"))])
    with pytest.raises(UnreadableValue, match="years 1 to 9999"):
        arrow_dates(beyond)


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ns")])
def test_every_arrow_type_of_dates_is_read(kind: pa.DataType) -> None:
    column = pa.chunked_array([pa.array([datetime(2024, 3, 25), None], pa.timestamp("us")).cast(kind)])
    assert arrow_dates(column).tolist() == [datetime(2024, 3, 25), None]
