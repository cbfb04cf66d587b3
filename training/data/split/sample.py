"""A part of every part, for cheap exploration.

Shape letters: N rows of a part, K strata.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from training.data.config import DataConfig
from training.data.split.parts import Split
from training.data.split.strata import strata_of
from training.data.table import Schema

MIN_OF_STRATUM = 2  # rows of each class that a part keeps, where it has as many


def sampled(split: Split, table: pa.Table, held_out: pa.Table | None, schema: Schema, data: DataConfig) -> Split:
    """The split that `data.sample` asks for; the same one where it asks for nothing.

    Args:
        split: of the whole table.
        table: the main source.
        held_out: the separate test source, or None.
        schema: what is predicted.
        data: `data.sample` and, for its seed, `data.split`.
    """
    if data.sample is None or data.sample == 1:
        return split
    strata = strata_of(table, schema, data)
    test_strata = strata_of(held_out, schema, data) if held_out is not None else None
    return sample_split(
        split, strata.ids if strata else None, data.sample, data.split.seed, test_strata.ids if test_strata else None
    )


def sample_split(
    split: Split, strata: np.ndarray | None, share: float, seed: int, test_strata: np.ndarray | None = None
) -> Split:
    """A share of every part, each stratum in proportion and with two rows at least where it has them.

    A larger share holds all rows of a smaller one with the same seed, and a row never changes its part.

    Args:
        split: parts of the whole table.
        strata: stratum of each row of the main source, integers from 0; None where all are alike.
        share: to keep, above 0.
        seed: of the choice.
        test_strata: of the separate test source's rows.
    """
    kept = {}
    for step, (part, rows) in enumerate(split.parts.items()):
        ids = test_strata if part == "test" and split.test_is_separate else strata
        ids_N = ids[rows] if ids is not None else np.zeros(len(rows), dtype=np.uint8)
        kept[part] = rows[_keep(ids_N, share, np.random.default_rng([seed, 3, step]))]
    counts = ", ".join(f"{len(kept[part])} of {len(rows)} {part}" for part, rows in split.parts.items())
    return replace(split, **kept, notes=(*split.notes, f"data.sample {share:g} works with {counts} rows"))


def _keep(ids_N: np.ndarray, share: float, draw: np.random.Generator) -> np.ndarray:
    """Which rows (N,) bool stay: the first of each stratum in an order that does not depend on the share."""
    counts_K = np.bincount(ids_N)
    num_kept_K = np.minimum(np.maximum(np.rint(counts_K * share), MIN_OF_STRATUM), counts_K).astype(np.int64)
    shuffled = draw.permutation(len(ids_N))
    order = shuffled[np.argsort(ids_N[shuffled], kind="stable")]
    starts_K = np.cumsum(counts_K) - counts_K
    place_N = np.arange(len(ids_N)) - np.repeat(starts_K, counts_K)  # within the stratum, in `order`
    is_kept_N = np.zeros(len(ids_N), dtype=bool)
    is_kept_N[order[place_N < np.repeat(num_kept_K, counts_K)]] = True
    return is_kept_N
