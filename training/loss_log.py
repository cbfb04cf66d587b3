"""What the steps' losses were, without waiting for the device at each of them. Shape letters: S steps, R ranks."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from training.session import Place

STEPS_A_LOOK = 512  # a device that is read this seldom does not notice it
NUM_BASELINE_STEPS = 20
EXPLODED = 100.0  # times the mean loss of the first steps
# One step may be as large for a row that is far out, or of a rare class that counts much: it is clipped and forgotten.
NUM_EXPLODED_STEPS = 10
ROWS_TOLD = 10  # of a batch that a training diverged on


class Diverged(Exception):
    """A step's loss, or a weight after it, is no number or has exploded. Raised on every rank at the same place."""

    def __init__(self, place: Place, what: str, rows: Sequence[int] = ()) -> None:
        super().__init__(place, what, rows)
        self.place, self.what, self.rows = place, what, tuple(rows)

    @property
    def told(self) -> str:
        """For a person."""
        first = ", ".join(str(row) for row in self.rows[:ROWS_TOLD])
        more = f" and {len(self.rows) - ROWS_TOLD} more" if len(self.rows) > ROWS_TOLD else ""
        rows = f" on the training rows {first}{more}" if self.rows else ""
        return f"training diverged: {self.what} in epoch {self.place.epoch + 1}, step {self.place.step + 1}{rows}"


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
        self._unseen: list[tuple[Place, Tensor, Tensor, Tensor | None]] = []
        self._large: list[tuple[Place, float, Tensor]] = []  # steps in a row whose loss was very large
        # The last step, where its gradient was too large to be clipped: weights are no numbers if a part was infinite.
        self._overflowed: tuple[Place, Tensor] | None = None
        self.baseline, self.num_baseline = 0.0, 0

    @property
    def is_suspect(self) -> bool:
        """Whether the last loss that was looked at may turn out to be of a training that explodes."""
        return bool(self._large)

    def add(self, place: Place, loss: Tensor, rows_B: Tensor, norm: Tensor | None = None) -> None:
        """A step's loss, on the device, and the rows that this rank made it of. Raises Diverged when it looks.

        `norm` is the gradient's, the same on every rank: a finite loss may have a slope that is no number, which the
        loss of the next step would show, beside rows that are not to blame.
        """
        self._sum += loss
        self._unseen.append((place, loss, rows_B, norm))
        if len(self._unseen) >= STEPS_A_LOOK:
            self.look()

    def look(self) -> None:
        """Read the losses since the last look. Every rank looks at the same places. Raises Diverged."""
        unseen, self._unseen = self._unseen, []
        if not unseen:
            return
        losses = torch.stack([loss for _, loss, _, _ in unseen]).double()
        norms = torch.stack([loss.new_zeros(()) if norm is None else norm for _, loss, _, norm in unseen])
        if self._world_size > 1:  # the loss of the global batch, which has the same verdict on every rank
            torch.distributed.all_reduce(losses)
            losses /= self._world_size
        for (place, _, rows_B, _), loss, norm in zip(unseen, losses.tolist(), norms.tolist(), strict=True):
            self._require_finite(place, loss, norm, rows_B)
            self._compare(place, loss, rows_B)

    def _require_finite(self, place: Place, loss: float, norm: float, rows_B: Tensor) -> None:
        before, self._overflowed = self._overflowed, (place, rows_B) if math.isinf(norm) else None
        if not math.isfinite(loss) and before is not None:
            raise Diverged(before[0], "the gradient's norm became inf", self._rows_of_all(before[1]))
        if not math.isfinite(loss):
            raise Diverged(place, f"the loss became {loss:g}", self._rows_of_all(rows_B))
        if math.isnan(norm):
            raise Diverged(place, "the gradient's norm became nan", self._rows_of_all(rows_B))

    def _compare(self, place: Place, loss: float, rows_B: Tensor) -> None:
        """With the first steps' losses, which may be negative where they are of somebody's own."""
        if self.num_baseline < NUM_BASELINE_STEPS:
            self.num_baseline += 1
            self.baseline += (abs(loss) - self.baseline) / self.num_baseline
            return
        if loss <= EXPLODED * max(self.baseline, 1e-6):
            self._large.clear()
            return
        self._large.append((place, loss, rows_B))
        if len(self._large) >= NUM_EXPLODED_STEPS:
            place, loss, rows_B = self._large[0]
            what = f"the loss became {loss:g} and stayed above {EXPLODED:g} times that of the first steps"
            raise Diverged(place, what, self._rows_of_all(rows_B))

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
        self._large, self._overflowed = [], None
        if len(sums_R) == self._world_size:
            self._sum += float(sums_R[self._rank])
        elif self._rank == 0:
            self._sum += float(sums_R.mean()) * self._world_size
