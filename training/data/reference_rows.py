"""Which training rows the package's reference is made of."""

import numpy as np
import pyarrow as pa

MAX_ROWS = 100_000  # more tell nothing further of 20 quantiles, and would be held for the length of a run
MAX_BYTES = 1 << 28  # a row may hold an image


def reference_rows(training_rows: pa.Table) -> pa.Table:
    """The rows to sketch: all of them, or so many drawn at random, always the same ones."""
    fitting = MAX_BYTES * training_rows.num_rows // max(training_rows.nbytes, 1)
    return drawn(training_rows, max(1, min(MAX_ROWS, fitting)))


def drawn(rows: pa.Table, max_rows: int) -> pa.Table:
    """All rows in their order, or so many drawn at random."""
    if rows.num_rows <= max_rows:
        return rows
    return rows.take(np.sort(np.random.default_rng(0).choice(rows.num_rows, max_rows, replace=False)))
