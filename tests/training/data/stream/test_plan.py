"""Every sample once an epoch from a stream, for any windows, batch, workers and kill point."""

from collections import Counter
from concurrent.futures import Future

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.data.stream import tables
from training.data.batches import LoaderState
from training.data.stream.loader import StreamLoader
from training.data.stream.part import StreamPart
from training.data.stream.plan import BLOCK_ROWS, RowGroup, WindowPlan, cut_groups, plan_windows
from training.data.stream.prepare import prepare_stream
from training.data.stream.windows import ThreadFeeder, Window

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> StreamPart:
    folder = tables.write(tmp_path_factory.mktemp("stream"), tables.rows())
    train = prepare_stream(tables.config(folder)).train
    assert isinstance(train, StreamPart)
    return train


@pytest.fixture(scope="module")
def whole(part: StreamPart) -> Window:
    """All training rows, in the order of the files."""
    return part.decode(WindowPlan(0, 0, 0, len(part), cut_groups(part.table.groups, part.counts_K, 10**9)))


class CutFeeder:
    """Cuts windows out of rows that were decoded once, which is quicker, and knows which were asked for."""

    def __init__(self, whole: Window) -> None:
        self.whole, self.asked = whole, list[int]()

    def request(self, plan: WindowPlan) -> Future[Window]:
        self.asked.append(plan.number)
        ids, future = self.whole.row_ids, Future[Window]()
        starts = [(stretch.group.first_row + stretch.start, stretch) for stretch in plan.stretches]
        found = [(ids >= first) & (ids < first + stretch.stop - stretch.start) for first, stretch in starts]
        places = np.flatnonzero(np.logical_or.reduce(found))
        tensors = {name: array[places] for name, array in self.whole.tensors.items()}
        future.set_result(Window(tensors, self.whole.target[places], ids[places]))
        return future


def loaders(part: StreamPart, feeder: CutFeeder, batch: int, workers: int, seed: int = 3) -> list[StreamLoader]:
    return [StreamLoader(part, feeder, seed, batch, rank, workers, CPU) for rank in range(workers)]


def global_batches(of_ranks: list[StreamLoader], state: LoaderState) -> list[list[int]]:
    """Row numbers of each global batch, sorted, as all ranks together see them."""
    steps = [list(loader.batches(state)) for loader in of_ranks]
    assert len({len(batches) for batches in steps}) == 1
    for batches in steps:
        assert all(len(batch.row_ids_B) == len(batch.target_B) == len(batch.tensors[0]) > 0 for batch in batches)
    return [
        sorted(row for batch in batches if batch.weight for row in batch.row_ids_B.tolist())
        for batches in zip(*steps, strict=True)
    ]


@given(
    window_kb=st.integers(1, 60), batch=st.integers(1, 300), workers=st.integers(1, 4), more=st.integers(1, 4),
    killed_at=st.floats(0, 1), epoch=st.integers(0, 2),
)  # fmt: skip
def test_every_sample_once_an_epoch_whenever_it_is_killed_and_whoever_goes_on(
    part: StreamPart, whole: Window, window_kb: int, batch: int, workers: int, more: int, killed_at: float, epoch: int
) -> None:
    batch = max(batch, workers, more)
    part = part.with_windows_of(window_kb << 10)
    unbroken = global_batches(loaders(part, CutFeeder(whole), batch, 1), LoaderState(epoch))
    assert Counter(row for rows in unbroken for row in rows) == Counter(whole.row_ids.tolist())
    num_done = int(killed_at * len(unbroken))
    done = global_batches(loaders(part, CutFeeder(whole), batch, workers), LoaderState(epoch))[:num_done]
    state = LoaderState(epoch, sum(len(rows) for rows in done))
    feeder = CutFeeder(whole)
    assert done + global_batches(loaders(part, feeder, batch, more), state) == unbroken
    skipped = [plan.number for plan in part.plan_windows(3, epoch, batch) if plan.stop <= state.samples]
    assert not set(skipped) & set(feeder.asked)  # what was consumed is not read again


@given(st.lists(st.integers(1, 500), min_size=1, max_size=12), st.integers(1, 400), st.integers(0, 5), st.data())
def test_windows_hold_each_sample_once_and_no_more_than_they_may(
    sizes: list[int], batch: int, epoch: int, data: st.DataObject
) -> None:
    firsts = np.cumsum([0, *sizes[:-1]]).tolist()
    groups = [RowGroup(0, i, size, first) for i, (size, first) in enumerate(zip(sizes, firsts, strict=True))]
    counts_K = np.concatenate([
        [min(BLOCK_ROWS, group.num_rows - BLOCK_ROWS * i) for i in range(group.num_blocks)] for group in groups
    ])  # fmt: skip
    counts_K = counts_K - data.draw(st.integers(0, 1)) * (counts_K > 3)  # not every row trains
    stretches = cut_groups(groups, counts_K, 2 * BLOCK_ROWS)
    covered = [row for s in stretches for row in range(s.group.first_row + s.start, s.group.first_row + s.stop)]
    assert len(covered) == len(set(covered)) == sum(sizes)
    windows = plan_windows(stretches, 4 * BLOCK_ROWS, seed=1, epoch=epoch)
    assert sorted(s for window in windows for s in map(hash, window.stretches)) == sorted(map(hash, stretches))
    assert [window.start for window in windows] == [0, *(window.stop for window in windows[:-1])]
    assert windows[-1].stop == counts_K.sum()
    assert all(window.stop - window.start <= 4 * BLOCK_ROWS for window in windows)
    assert windows == plan_windows(stretches, 4 * BLOCK_ROWS, seed=1, epoch=epoch)


def test_windows_are_decoded_as_planned_and_read_for_no_longer_than_two_at_a_time(
    part: StreamPart, whole: Window
) -> None:
    """The real reader gives what is cut out of the whole, in files, row groups and stretches of them."""
    part = part.with_windows_of(6 << 10)
    (real,) = loaders(part, ThreadFeeder(part.decode), 50, 1)  # type: ignore[arg-type]
    (cut,) = loaders(part, CutFeeder(whole), 50, 1)
    for one, other in zip(real.batches(LoaderState(1, 100)), cut.batches(LoaderState(1, 100)), strict=True):
        assert torch.equal(one.row_ids_B, other.row_ids_B)
        assert torch.equal(one.target_B, other.target_B)
        assert all(map(torch.equal, one.tensors, other.tensors))


def test_the_next_window_is_asked_for_once_no_peer_needs_the_one_before(part: StreamPart, whole: Window) -> None:
    part = part.with_windows_of(6 << 10)
    plans = part.plan_windows(3, 0, 50)
    assert len(plans) > 3
    feeder = CutFeeder(whole)
    loader = loaders(part, feeder, 50, workers=2)[0]
    for batch in loader.batches(LoaderState()):
        at_hand = max(plan.number for plan in plans if plan.start <= batch.start + 24)
        assert len(feeder.asked) <= at_hand + 2


def test_order_depends_on_seed_and_epoch_alone(part: StreamPart, whole: Window) -> None:
    def first(seed: int, epoch: int) -> list[int]:
        loader = loaders(part, CutFeeder(whole), 100, 1, seed)[0]
        return next(iter(loader.batches(LoaderState(epoch)))).row_ids_B.tolist()

    assert first(1, 0) == first(1, 0)
    assert len({tuple(first(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4
