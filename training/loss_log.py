"""What the steps' losses were, without waiting for the device at each of them. Shape letters: S steps, R ranks."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from training.session import Place

STEPS_A_LOOK = 512  # a device that is read this seldom does not notice it
NUM_BASELINE_STEPS = 20
EXPLODED = 100.0  # times the mean loss of the first steps


class Diverged(Exception):
    """A step's loss, or a weight after it, is no number or has exploded. Raised on every rank at the same place."""

    def __init__(self, place: Place, what: str, rows: Sequence[int] = ()) -> None:
        super().__init__(place, what, rows)
        self.place, self.what, self.rows = place, what, tuple(rows)


class LossLog:
    """Sum of the steps' losses in an epoch, and a look at each of them from time to time.

    Args:
        rank: of this process.
        world_size: ranks that look together.
        device: where losses come from.
    """

    def __init__(self, rank: int, world_size: int, device: torch.device) -> None:
        self._rank, self._world_size, self._device = rank, world_size, device
        self._sum = torch.zeros((), dtype=torch.float64, device=device)
        self._unseen: list[tuple[Place, Tensor, Tensor]] = []
        self.baseline, self.num_baseline = 0.0, 0

    def add(self, place: Place, loss: Tensor, rows_B: Tensor) -> None:
        """A step's loss, on the device, and the rows that this rank made it of. Raises Diverged when it looks."""
        self._sum += loss
        self._unseen.append((place, loss, rows_B))
        if len(self._unseen) >= STEPS_A_LOOK:
            self.look()

    def look(self) -> None:
        """Read the losses since the last look. Every rank looks at the same places. Raises Diverged."""
        unseen, self._unseen = self._unseen, []
        if not unseen:
            return
        losses = torch.stack([loss for _, loss, _ in unseen]).double()
        if self._world_size > 1:  # the loss of the global batch, which has the same verdict on every rank
            torch.distributed.all_reduce(losses)
            losses /= self._world_size
        for (place, _, rows_B), loss in zip(unseen, losses.tolist(), strict=True):
            if not self._is_sound(loss):
                raise Diverged(place, f"the loss became {loss:g}", self._rows_of_all(rows_B))

    def _is_sound(self, loss: float) -> bool:
        if not math.isfinite(loss):
            return False
        if self.num_baseline < NUM_BASELINE_STEPS:
            self.num_baseline += 1
            self.baseline += (loss - self.baseline) / self.num_baseline
            return True
        return loss <= EXPLODED * max(self.baseline, 1e-6)

    def _rows_of_all(self, rows_B: Tensor) -> list[int]:
        mine: list[int] = rows_B.tolist()
        if self._world_size == 1:
            return mine
        shares: list[list[int]] = [[] for _ in range(self._world_size)]
        torch.distributed.all_gather_object(shares, mine)
        return [row for share in shares for row in share]

    def sums(self) -> Tensor:
        """Sum so far of each rank's share, float64 (R,) on the CPU. Every rank calls it."""
        if self._world_size == 1:
            return self._sum.cpu()[None].clone()
        sums_R = torch.zeros(self._world_size, dtype=torch.float64, device=self._device)
        sums_R[self._rank] = self._sum
        torch.distributed.all_reduce(sums_R)
        return sums_R.cpu()

    def begin(self, sums_R: Tensor | None = None) -> None:
        """A new epoch, or one whose sums were kept; at another number of ranks the first takes what all had."""
        self._unseen.clear()
        self._sum.zero_()
        if sums_R is None:
            return
        if len(sums_R) == self._world_size:
            self._sum += float(sums_R[self._rank])
        elif self._rank == 0:
            self._sum += float(sums_R.mean()) * self._world_size
