"""The numbers of all lanes, one row a lane. Shape letters: L lanes, P weights of a lane."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

WEIGHTS, BEST, FIXED, BEST_FIXED = "weights", "best", "fixed/", "best_fixed/"
Row = dict[str, Tensor]  # of one lane, by the names of the whole


def row_of(weights_P: Tensor, fixed: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> Row:
    """A lane that has no best epoch yet."""
    buffers = {f"{FIXED}{name}": value for name, value in fixed.items()}
    best = {f"{BEST_FIXED}{name}": value for name, value in fixed.items()}
    return {WEIGHTS: weights_P, BEST: weights_P, **moments, **buffers, **best}


def under(row: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What stands under a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


class LaneTensors:
    """Weights, moments of the optimizer, buffers, and the best epoch's weights and buffers, as (L, ...) tensors."""

    def __init__(self, moments: Sequence[str], device: torch.device) -> None:
        self._moments, self._device = tuple(moments), device
        self._all: dict[str, Tensor] = {}
        # Done when somebody asks, with one copy for all lanes that come or go together:
        self._kept: list[int] | None = None  # lanes that stay, of those there are; None: all
        self._waiting: list[Row] = []  # lanes to be put behind them

    @property
    def num_bytes(self) -> int:
        """That they take."""
        return sum(tensor.nbytes for tensor in self._settled().values())

    @property
    def weights(self) -> Tensor:
        """All weights (L, P), to be changed in place."""
        return self._settled()[WEIGHTS]

    @property
    def moments(self) -> list[Tensor]:
        """Of the optimizer, each (L, P), to be changed in place."""
        return [self._settled()[name] for name in self._moments]

    @property
    def fixed(self) -> dict[str, Tensor]:
        """Buffers, and weights that are not trained, (L, ...), to be changed in place."""
        return under(self._settled(), FIXED)

    def append(self, row: Row) -> None:
        """One more lane."""
        self._waiting.append(row)

    def keep(self, rows: Sequence[int]) -> None:
        """Only these lanes, in this order."""
        if self._waiting:
            self._settled()
        self._kept = list(rows) if self._kept is None else [self._kept[row] for row in rows]

    def row(self, number: int) -> Row:
        """A copy of one lane."""
        return {name: tensor[number].clone() for name, tensor in self._settled().items()}

    def copies(self, rows: Sequence[int]) -> Row:
        """A copy of some lanes."""
        index = torch.tensor(rows, dtype=torch.int64, device=self._device)
        return {name: tensor.index_select(0, index) for name, tensor in self._settled().items()}

    def put_back(self, rows: Sequence[int], copies: Row) -> None:
        """Make some lanes what they were."""
        index = torch.tensor(rows, dtype=torch.int64, device=self._device)
        for name, tensor in self._settled().items():
            tensor.index_copy_(0, index, copies[name])

    def remember(self, rows: Sequence[int]) -> None:
        """These lanes are at their best: keep what they are."""
        index = torch.tensor(rows, dtype=torch.int64, device=self._device)
        for best, now in ((BEST, WEIGHTS), *((f"{BEST_FIXED}{name}", f"{FIXED}{name}") for name in self.fixed)):
            self._all[best].index_copy_(0, index, self._all[now].index_select(0, index))

    def _settled(self) -> dict[str, Tensor]:
        if self._kept is not None:
            index = torch.tensor(self._kept, dtype=torch.int64, device=self._device)
            self._all = {name: tensor.index_select(0, index) for name, tensor in self._all.items()}
            self._kept = None
        if self._waiting:
            rows, self._waiting = self._waiting, []
            names = list(rows[0])
            added = {name: torch.stack([row[name].to(self._device) for row in rows]) for name in names}
            self._all = {name: torch.cat([self._all[name], added[name]]) if self._all else added[name]
                         for name in names}  # fmt: skip
        return self._all
