"""Batches: every sample once an epoch for any kill point and any workers, weights, memory that is shared."""

from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.data.ahead import one_ahead
from training.data.batches import LoaderState, sample_order, shares
from training.data.memory import SLOW_ORDER, MemoryLoader, Rows, contiguous
from training.data.prepared import Part

CPU = torch.device("cpu")


def loaders(num_rows: int, batch: int, workers: int, seed: int = 7) -> list[MemoryLoader]:
    part = Part({"numeric": np.arange(num_rows, dtype=np.float32)[:, None]}, np.arange(num_rows))
    rows, order = Rows.of(part, CPU), partial(sample_order, num_rows, seed)
    return [MemoryLoader(rows, order, batch, rank, workers) for rank in range(workers)]


def global_batches(of_ranks: list[MemoryLoader], state: LoaderState) -> list[list[int]]:
    """Rows of each global batch, sorted, as all ranks together see them."""
    steps = [list(loader.batches(state)) for loader in of_ranks]
    assert len({len(batches) for batches in steps}) == 1  # or one rank would wait for ever
    found = []
    for batches in zip(*steps, strict=True):
        assert all(len(batch.row_ids_B) for batch in batches)
        assert all(torch.equal(batch.row_ids_B, batch.target_B) for batch in batches)
        assert all(torch.equal(batch.tensors[0][:, 0].long(), batch.target_B) for batch in batches)
        rows = sorted(row for batch in batches if batch.weight for row in batch.row_ids_B.tolist())
        assert {batch.num_samples for batch in batches} == {len(rows)}
        found.append(rows)
    return found


@given(
    num_rows=st.integers(1, 200), batch=st.integers(1, 64), workers=st.integers(1, 5), more=st.integers(1, 5),
    killed_at=st.floats(0, 1), epoch=st.integers(0, 3),
)  # fmt: skip
def test_every_sample_once_an_epoch_whenever_it_is_killed_and_whoever_goes_on(
    num_rows: int, batch: int, workers: int, more: int, killed_at: float, epoch: int
) -> None:
    batch = max(batch, workers, more)
    unbroken = global_batches(loaders(num_rows, batch, 1), LoaderState(epoch))
    assert Counter(row for rows in unbroken for row in rows) == Counter(range(num_rows))
    num_done = int(killed_at * len(unbroken))
    done = global_batches(loaders(num_rows, batch, workers), LoaderState(epoch))[:num_done]
    state = LoaderState(epoch, sum(len(rows) for rows in done))
    assert done + global_batches(loaders(num_rows, batch, more), state) == unbroken


@given(st.integers(1, 97), st.integers(1, 32), st.integers(1, 5))
def test_weighted_means_over_workers_are_the_mean_of_the_global_batch(num_rows: int, batch: int, workers: int) -> None:
    batch = max(batch, workers)
    losses = np.random.default_rng(0).random(num_rows)
    of_ranks = [list(shares(num_rows, 0, batch, rank, workers)) for rank in range(workers)]
    for step, start in enumerate(range(0, num_rows, batch)):
        mine = [of_rank[step] for of_rank in of_ranks]
        over_workers = np.mean([losses[share.start : share.stop].mean() * share.weight for share in mine])
        assert over_workers == pytest.approx(losses[start : start + batch].mean())


def test_the_same_seed_gives_the_same_order_and_another_one_another() -> None:
    def epochs(seed: int) -> list[list[int]]:
        (loader,) = loaders(SLOW_ORDER, 1000, 1, seed)  # large enough that orders are drawn ahead
        return [next(iter(loader.batches(LoaderState(epoch)))).row_ids_B.tolist() for epoch in (0, 1, 2, 1)]

    first = epochs(seed=1)
    assert first == epochs(seed=1)
    assert first[1] == first[3]
    assert len({tuple(rows) for rows in (*first[:3], *epochs(seed=2)[:3])}) == 6


def test_rows_are_not_copied_on_a_cpu() -> None:
    part = Part({"numeric": np.ones((5, 3), np.float32)}, np.zeros(5, np.int64))
    part.tensors["numeric"].flags.writeable = False  # as arrays from the object store are
    rows = Rows.of(contiguous(part), CPU)
    assert rows.tensors[0].data_ptr() == part.tensors["numeric"].ctypes.data
    turned = contiguous(Part({"numeric": np.ones((3, 5), np.float32).T}, part.target))
    assert turned.tensors["numeric"].flags.c_contiguous


def test_one_item_is_made_ahead_and_no_more() -> None:
    made: list[int] = []

    def make() -> object:
        for item in range(4):
            made.append(item)
            yield item

    items = one_ahead(make())
    assert next(items) == 0
    assert next(items) == 1
    assert len(made) <= 3
    assert list(items) == [2, 3]


def test_an_error_ahead_comes_where_its_item_would_have() -> None:
    def make() -> object:
        yield 1
        raise ValueError("second")

    items = one_ahead(make())
    assert next(items) == 1
    with pytest.raises(ValueError, match="second"):
        next(items)
