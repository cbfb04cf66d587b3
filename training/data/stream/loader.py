"""Batches of a stream: gathers from the window at hand, while the next one is on its way.

Shape letters: N samples of a window, B samples of a batch.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from training.data.ahead import staged
from training.data.batches import Batch, LoaderState, Pick, Share, sample_order, shares
from training.data.memory import Rows, shared_tensor
from training.data.prepared import Part
from training.data.stream.part import StreamPart
from training.data.stream.plan import WindowPlan
from training.data.stream.windows import Coming, Feeder, Window

Piece = tuple[Tensor, tuple[Tensor, ...], Tensor]  # row ids, tensors, target


class StreamLoader:
    """Batches of rows that do not fit in memory."""

    def __init__(
        self, part: StreamPart, feeder: Feeder, seed: int, global_batch_size: int, rank: int, world_size: int,
        device: torch.device, pick: Pick | None = None,
    ) -> None:  # fmt: skip
        self._pick = pick
        self._part, self._feeder, self._seed, self._device = part, feeder, seed, device
        self._global_batch_size, self._rank, self._world_size = global_batch_size, rank, world_size
        self.num_samples = len(part)

    def batches(self, state: LoaderState) -> Iterator[Batch]:
        """This rank's batches from `state` to the end of its epoch. Windows before it are not read."""
        gathered = self._gather(state)
        return staged(gathered, self._device) if self._device.type == "cuda" else gathered

    def _gather(self, state: LoaderState) -> Iterator[Batch]:
        # A global batch lies in two windows at most, so that ranks are never more than one window apart.
        plans = self._part.plan_windows(self._seed, state.epoch, min_samples=self._global_batch_size)
        left = [plan for plan in plans if plan.stop > state.samples]
        reader = _Reader(self._feeder, left, self._seed, self._device, self._pick)
        for share in shares(self.num_samples, state.samples, self._global_batch_size, self._rank, self._world_size):
            (ids_B, tensors, target_B), picked = reader.take(share)
            others = picked and picked[1:]
            num_samples = share.batch_stop - share.batch_start
            yield Batch(ids_B, tensors, target_B, share.weight, num_samples, share.start, others)


class _Reader:
    """Goes through windows in order, with one at hand and at most one on its way."""

    def __init__(
        self, feeder: Feeder, plans: Sequence[WindowPlan], seed: int, device: torch.device, pick: Pick | None
    ) -> None:
        self._feeder, self._plans, self._seed, self._device, self._pick = feeder, plans, seed, device, pick
        self._at = -1
        self._open: _OpenWindow | None = None
        self._coming: Coming | None = None

    def take(self, share: Share) -> tuple[Piece, Piece | None]:
        """Samples of a share, each window's in the order of the sequence; and rows of the same windows to mix with."""
        pieces: list[Piece] = []
        others: list[Piece] = []
        start = share.start
        while start < share.stop:
            window = self._open_at(start)
            stop = min(share.stop, window.plan.stop)
            pieces.append(window.take(start, stop))
            if self._pick is not None:
                others.append(window.take_picked(self._pick(torch.arange(start, stop), window.plan.epoch)))
            start = stop
            del window  # or it would stay in memory while the next one is waited for
            # Once a whole batch lies in this window no peer reads the one before it, so a third is never held.
            if self._open is not None and share.batch_start >= self._open.plan.start:
                self._request_next()
        return _joined(pieces), _joined(others) if others else None

    def _open_at(self, place: int) -> "_OpenWindow":
        while self._open is None or place >= self._open.plan.stop:
            self._request_next()
            assert self._coming is not None
            self._open = None  # before waiting: the memory is for the next one
            self._at += 1
            self._open = _OpenWindow(self._plans[self._at], self._coming.result(), self._seed, self._device)
            self._coming = None
        return self._open

    def _request_next(self) -> None:
        if self._coming is None and self._at + 1 < len(self._plans):
            self._coming = self._feeder.request(self._plans[self._at + 1])


class _OpenWindow:
    """A decoded window and its place in the epoch."""

    def __init__(self, plan: WindowPlan, window: Window, seed: int, device: torch.device) -> None:
        self.plan = plan
        order_N = sample_order(plan.stop - plan.start, seed, plan.epoch, plan.number)
        self._rows = Rows.on_host(Part(window.tensors, window.target), device)
        self._row_ids_N, self._order_N = shared_tensor(window.row_ids), torch.from_numpy(order_N)

    def take(self, start: int, stop: int) -> Piece:
        """Samples `start` to `stop` of the epoch's sequence."""
        index_B = self._order_N[start - self.plan.start : stop - self.plan.start].long()
        return self._row_ids_N.index_select(0, index_B), *self._rows.take(index_B)

    def take_picked(self, numbers_B: Tensor) -> Piece:
        """Samples by any numbers from 0 on, taken modulo how many there are."""
        index_B = numbers_B % len(self._order_N)
        return self._row_ids_N.index_select(0, index_B), *self._rows.take(index_B)


def _joined(pieces: Sequence[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces[0]
    ids, tensors, targets = zip(*pieces, strict=True)
    return torch.cat(ids), tuple(torch.cat(columns) for columns in zip(*tensors, strict=True)), torch.cat(targets)
