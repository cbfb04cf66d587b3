"""The same transforms from a stream of files as from one table in memory."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data

from tests.kinds import config, table
from training.data.table import infer_schema
from training.errors import DataError
from training.features import fit_transforms
from training.features.sketch import CAPACITY, RANK_ERROR
from training.features.streamed import fit_streamed
from training.package.fitted import NumericTransform

NUM_COPIES = 300  # of 60 rows: twice what a sketch holds


def many_rows() -> pa.Table:
    """Every kind but images; numbers of a column are all different."""
    rows = pa.concat_tables([table().drop_columns(["photo"])] * NUM_COPIES).combine_chunks()
    assert rows.num_rows > 2 * CAPACITY
    for name in ("height", "price", "rank"):
        noise = np.random.default_rng(1).normal(1, 0.01, rows.num_rows)
        column = pa.array(rows[name].to_numpy() * noise, from_pandas=True)
        rows = rows.set_column(rows.column_names.index(name), name, column)
    return rows


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    folder, rows = tmp_path_factory.mktemp("stream"), many_rows()
    for i in range(3):
        pq.write_table(rows.slice(i * rows.num_rows // 3, rows.num_rows // 3), folder / f"{i}.parquet")
    return folder, rows


def ranks(transform: NumericTransform, numbers: np.ndarray) -> np.ndarray:
    """Where the knots of a rank transform place its numbers, as shares."""
    known = np.sort(numbers[~np.isnan(numbers)])
    return np.searchsorted(known, transform.knots) / len(known)


def test_a_stream_of_files_is_fitted_like_the_table(ray_2_cpus: None, stream: tuple[Path, pa.Table]) -> None:
    folder, rows = stream
    data = config(image_shape=None)
    schema = infer_schema(rows, data)
    expected, expected_specs = fit_transforms(rows, schema, data)
    got, got_specs = fit_streamed(ray.data.read_parquet(str(folder)), schema, data)
    assert got_specs == expected_specs
    assert (got.categorical, got.texts, got.missing_texts) == (
        expected.categorical, expected.texts, expected.missing_texts,
    )  # fmt: skip
    for ours, exact in zip(got.dates[0].parts[:-1], expected.dates[0].parts[:-1], strict=True):
        assert (ours.fill, ours.part) == (exact.fill, exact.part)
        assert (ours.mean, ours.scale) == pytest.approx((exact.mean, exact.scale), rel=1e-9)
    by_name = {column.name: column for column in expected.numeric}
    for ours in got.numeric:
        exact = by_name[ours.name]
        if ours.clip is None:
            assert (ours.mean, ours.scale) == pytest.approx((exact.mean, exact.scale), rel=1e-5)
            continue
        known = np.sort(rows[ours.name].drop_null().to_numpy())
        near = np.searchsorted(known, [*ours.clip, ours.fill, ours.mean]) / len(known)
        np.testing.assert_allclose(near, [0.05, 0.95, 0.5, 0.5], atol=RANK_ERROR + 1 / len(known))
    quantiles = next(column for column in got.numeric if column.knots)
    even = np.linspace(0, 1, len(quantiles.knots))
    np.testing.assert_allclose(ranks(quantiles, rows["rank"].to_numpy()), even, atol=3 * RANK_ERROR)


@pytest.mark.slow
def test_what_cannot_be_fitted_is_said_as_in_memory(ray_2_cpus: None, stream: tuple[Path, pa.Table]) -> None:
    folder, rows = stream
    data = config(image_shape=None)
    schema = infer_schema(rows, data)
    wrong = config(
        image_shape=None, columns={"born": {"kind": "date", "format": "%Y"}, "review": "text", "title": "text"}
    )
    with pytest.raises(DataError, match=r"born: training row \d+ .* expected a date of the form %Y"):
        fit_streamed(ray.data.read_parquet(str(folder)).limit(100), schema, wrong)
