"""The masks that a trial by itself would have drawn, for all lanes at once.

torch draws a mask by comparing uniform numbers with the probability to keep. Lanes that stand at the same place draw
the same numbers, so these are drawn once, and only the comparison is each lane's own.
Shape letters: L lanes, G of them that draw alike, B rows of a batch.
"""

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from training.models.attention import Attention


@dataclass(frozen=True)
class Site:
    """One dropout of a forward pass."""

    setting: str  # of the model, that says its probability; empty: it is `constant`
    constant: float
    shape: tuple[int, ...]  # of what it is applied to, in one lane


@dataclass
class Masks:
    """What the dropouts of one forward pass multiply with, in the order in which they are met."""

    queue: Iterator[Tensor | None] = field(default_factory=lambda: iter(()))
    seen: list[Site] | None = None  # where sites are only noted

    def next(self, setting: str, constant: float, like: Tensor) -> Tensor | None:
        """The mask for the dropout that is met; None: nothing is dropped."""
        if self.seen is None:
            return next(self.queue)
        self.seen.append(Site(setting, constant, tuple(like.shape)))
        return None


class MaskedDropout(nn.Dropout):
    """Takes its mask instead of drawing it."""

    masks: Masks
    setting: str

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # torch's name
        """What is left."""
        mask = self.masks.next(self.setting, self.p, input) if self.training else None
        return input if mask is None else input * mask


class MaskedAttention(Attention):
    """Attention written out: torch's kernels draw masks inside, and cannot be stacked on CPUs."""

    masks: Masks
    setting: str

    def forward(self, hidden_BSD: Tensor, is_token_BS: Tensor | None, num_asking: int | None) -> Tensor:
        """What each of the first `num_asking` tokens saw, (B, Q, D)."""
        query_BSD, key_BSD, value_BSD = self.query_key_value(hidden_BSD).chunk(3, dim=2)
        query_BHQE, key_BHSE = self._by_head(query_BSD[:, :num_asking]), self._by_head(key_BSD)
        looks_BHQS = query_BHQE @ key_BHSE.transpose(2, 3) * query_BHQE.shape[3] ** -0.5
        if is_token_BS is not None:
            looks_BHQS = looks_BHQS.masked_fill(~is_token_BS[:, None, None, :], -torch.inf)
        looks_BHQS = looks_BHQS.softmax(dim=3)
        mask = self.masks.next(self.setting, self.dropout, looks_BHQS) if self.training else None
        if mask is not None:
            looks_BHQS = looks_BHQS * mask
        seen_BHQE = looks_BHQS @ self._by_head(value_BSD)
        return self.out(seen_BHQE.transpose(1, 2).flatten(2))


def take_masks(model: nn.Module, settings: Mapping[float, str]) -> Masks:
    """Have a model's dropouts take masks, changing it in place.

    Args:
        model: built with a probability of its own for each setting, by which its dropouts are told apart.
        settings: by that probability.
    """
    masks = Masks()
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = MaskedDropout
            probability = module.p
        elif type(module) is Attention:
            module.__class__ = MaskedAttention
            probability = module.dropout
        else:
            continue
        taking: MaskedDropout | MaskedAttention = module  # type: ignore[assignment]  # the class was changed above
        taking.masks, taking.setting = masks, settings.get(probability, "")
    return masks


def seed_of(*place: int) -> int:
    """The seed that `training.step.seed_torch` gives to a place."""
    return int.from_bytes(hashlib.blake2b(str(place).encode(), digest_size=8).digest(), "little") >> 1


@functools.cache
def draws_by_threshold() -> bool:
    """Whether torch's Bernoulli numbers are uniform ones below the probability; with MKL's generator they are not."""
    for probability in (0.9, 0.5, 0.123456789):
        one, two = (torch.Generator().manual_seed(7) for _ in range(2))
        drawn = torch.empty(1000).bernoulli_(probability, generator=one)
        uniform = torch.rand(1000, dtype=torch.float64, generator=two)
        if not torch.equal(drawn, (uniform < probability).float()) or not torch.equal(one.get_state(), two.get_state()):
            return False
    return True


class MaskDrawer:
    """Draws the masks of a step.

    On CPUs they are bit for bit those of each trial by itself. On GPUs torch draws inside its kernels: there the lanes'
    masks are other ones of the same distribution.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._generator = torch.Generator(device)

    def draw(
        self, sites: Sequence[Site], probabilities: Sequence[Sequence[float]], places: Sequence[tuple[int, ...]]
    ) -> list[Tensor | None]:
        """A mask (L, ...) of each site, already divided by the probability to keep; None where no lane drops any.

        Args:
            sites: in the order of the forward pass.
            probabilities: to drop, of each lane at each site.
            places: of the lanes; those that are equal draw alike.
        """
        num_lanes = len(places)
        masks: list[Tensor | None] = [None] * len(sites)
        for lanes, seed in self._alike(probabilities, places):
            self._generator.manual_seed(seed)
            for number, site in enumerate(sites):
                keeps = [1 - probabilities[lane][number] for lane in lanes]
                if keeps[0] == 1:
                    continue
                drawn, mask = self._drawn(site.shape, keeps), masks[number]
                if len(lanes) == num_lanes:
                    masks[number] = drawn
                    continue
                mask = torch.ones(num_lanes, *site.shape, device=self._device) if mask is None else mask
                masks[number] = mask.index_copy_(0, torch.tensor(lanes, device=self._device), drawn)
        return masks

    def _alike(
        self, probabilities: Sequence[Sequence[float]], places: Sequence[tuple[int, ...]]
    ) -> Iterator[tuple[list[int], int]]:
        """Lanes that draw the same numbers, and the seed. A site that drops nothing draws nothing."""
        groups: dict[tuple[tuple[bool, ...], tuple[int, ...]], list[int]] = {}
        for lane, place in enumerate(places):
            pattern = tuple(probability > 0 for probability in probabilities[lane])
            groups.setdefault((pattern, place), []).append(lane)
        for (pattern, place), lanes in groups.items():
            if any(pattern):
                yield lanes, seed_of(*place)

    def _drawn(self, shape: tuple[int, ...], keeps: Sequence[float]) -> Tensor:
        """Masks (G, ...) of lanes that draw alike."""
        num_lanes, along = len(keeps), (-1, *[1] * len(shape))
        scale_G = 1 / torch.tensor(keeps)
        if self._device.type == "cuda":
            drawn = torch.rand(num_lanes, *shape, device=self._device, generator=self._generator)
            return drawn.lt_(torch.tensor(keeps, device=self._device).view(along)).mul_(scale_G.to(drawn).view(along))
        if not draws_by_threshold():
            state = self._generator.get_state()
            drawn = torch.empty(num_lanes, *shape)
            for lane, keep in enumerate(keeps):
                self._generator.set_state(state)
                drawn[lane].bernoulli_(keep, generator=self._generator)
            return drawn.mul_(scale_G.view(along))
        uniform = torch.rand(shape, dtype=torch.float64, generator=self._generator)
        # Compared in float64 once for all lanes, then as small whole numbers: a third of the time.
        keep_G, rank_G = torch.tensor(keeps, dtype=torch.float64).unique(return_inverse=True)
        num_reached = torch.bucketize(uniform, keep_G, right=True).float()
        return torch.sub(rank_G.float().view(along) + 0.5, num_reached).gt_(0).mul_(scale_G.view(along))
