"""Fit feature transforms on data larger than memory, by a Ray Data aggregation. Needs a running Ray.

Every block is summarised where it lies; only the summaries travel. What they hold is bounded: 8,192 numbers of each
resolution of a column, the counts of a million texts, sums over 64 images of a block.
"""

import pickle
from typing import Any

import pyarrow as pa
import ray.data
from ray.data.aggregate import AggregateFnV2
from ray.data.block import Block, BlockAccessor

from training.data.config import DataConfig
from training.data.table import Schema
from training.errors import DataError
from training.features.fit import Fitted, Summary
from training.features.images import MAX_IMAGES_OF_BLOCK
from training.features.sketch import CAPACITY

_NAME = "summary"


class Summarise(AggregateFnV2[bytes | None, bytes | None]):
    """The summary of all columns of a dataset, pickled; None where no row was seen.

    Between two blocks of one job: nothing here comes from outside of it. Objects would be pickled by Ray in any case,
    after it had tried, and warned, to make Arrow of them.
    """

    def __init__(self, schema: Schema, data: DataConfig) -> None:
        self._schema, self._data = schema, data
        super().__init__(_NAME, zero_factory=lambda: None, on=None, ignore_nulls=True)

    def aggregate_block(self, block: Block) -> bytes | None:
        """Of one block."""
        rows: pa.Table = BlockAccessor.for_block(block).to_arrow()
        if not rows.num_rows:
            return None
        summary = Summary.of(rows, self._schema, self._data, capacity=CAPACITY, max_images=MAX_IMAGES_OF_BLOCK)
        return pickle.dumps(summary)

    def combine(self, current_accumulator: bytes | None, new: bytes | None) -> bytes | None:
        """Of two parts of the data."""
        if current_accumulator is None or new is None:
            return current_accumulator or new
        return pickle.dumps(_load(current_accumulator).merge(_load(new)))


def fit_streamed(dataset: ray.data.Dataset, schema: Schema, data: DataConfig, hash_key_check: str = "") -> Fitted:
    """As `fit_transforms`, of training rows that need not fit into memory.

    Means and deviations are the same but for rounding, counts and vocabularies the same as long as a column has no
    more than a million distinct texts. Quantiles (median, clip, robust, quantile) are right within a share of 0.001 of
    the rows; mean and deviation of clipped columns are those of the sketch. Images are normalised by 64 of each block.

    Args:
        dataset: the training rows, read as `schema` was inferred from: cast, stripped, missing values null.
        schema: what their columns are.
        data: how they become model inputs.
        hash_key_check: see `fit_transforms`.

    Raises:
        DataError: there are no rows, a column has nothing to fit on, or an image cannot be read.
    """
    try:
        found: bytes | None = dataset.aggregate(Summarise(schema, data))[_NAME]
    except ray.exceptions.RayTaskError as error:
        raise _own(error) from error
    if found is None:
        raise DataError("the stream has no training rows", "point data.source at files with rows")
    summary = _load(found)
    summary.require_known_categories(data)  # what the schema was inferred from may have been a part of the rows
    return summary.finish(schema, data, hash_key_check)


def _load(pickled: bytes) -> Summary:
    summary: Summary = pickle.loads(pickled)  # noqa: S301 - our own, see `Summarise`
    return summary


def _own(error: ray.exceptions.RayTaskError) -> Exception:
    """Our own error out of Ray's, which says the same in a page of traces."""
    cause: Any = error
    while cause is not None and not isinstance(cause, DataError):
        cause = getattr(cause, "cause", None) or cause.__cause__
    return cause or error
