"""Random numbers that depend on their place alone: (key, sample, element). No state is kept or advanced.

Whatever worker, batch or device asks for a sample's numbers gets the same ones, also after a resume. The bits are
SplitMix64's (Steele, Lea and Flood, OOPSLA 2014), in int64 arithmetic that wraps on CPUs and GPUs alike.
Shape letters: B samples of a batch, E elements of a sample.
"""

import math
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

LARGEST = (1 << 63) - 1  # of int64; bits & LARGEST is a number from 0 on

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_POISSON_1 = tuple(sum(math.exp(-1) / math.factorial(k) for k in range(n + 1)) for n in range(12))  # its CDF


class Use(IntEnum):
    """What numbers are drawn for. Each use has a stream of its own: two uses of one stream would go together."""

    BOOTSTRAP = 1
    FLIP = 2
    SHIFT = 3
    ROTATE = 4
    CROP = 5
    CROP_PLACE = 6
    ERASE = 7
    NOISE = 8
    DROP = 9
    PARTNER = 10
    SHARE = 11
    BOX = 12
    MIXUP_OR_CUTMIX = 13
    CODES = 14


@dataclass(frozen=True)
class Place:
    """Samples of an epoch, and the random numbers that are theirs."""

    seed: int
    epoch: int
    ids_B: Tensor
    is_partner: bool = False  # of the sample that stands there: it is changed in its own way

    def uniform(self, use: Use, num_elements: int, part: int = 0) -> Tensor:
        """In [0, 1), float32 (B, E)."""
        return uniform(self._key(use, part), self.ids_B, num_elements)

    def normal(self, use: Use, num_elements: int, part: int = 0) -> Tensor:
        """Standard normal, float32 (B, E)."""
        return normal(self._key(use, part), self.ids_B, num_elements)

    def bits(self, use: Use) -> Tensor:
        """64 of them, int64 (B,)."""
        return bits(self._key(use, 0), self.ids_B)

    def _key(self, use: Use, part: int) -> int:
        return stream_key(self.seed, self.epoch, use, part, self.is_partner)


def stream_key(*parts: int) -> int:
    """The key of a stream of numbers, from a seed and whatever else tells streams apart. A signed 64-bit number."""
    key = 0
    for part in parts:
        key = _mix_int((key + _GOLDEN) ^ _mix_int(part * _GOLDEN & _MASK))
    return _signed(key)


def bits(key: int, ids_B: Tensor) -> Tensor:
    """64 random bits a sample, int64 (B,)."""
    return _mix(ids_B.to(torch.int64) * _signed(_GOLDEN) + key)


def element_bits(key: int, ids_B: Tensor, num_elements: int) -> Tensor:
    """64 random bits an element, int64 (B, E). An element's bits do not depend on how many there are."""
    elements_E = torch.arange(1, num_elements + 1, device=ids_B.device) * _signed(_GOLDEN)
    return _mix(bits(key, ids_B)[:, None] + elements_E)


def uniform(key: int, ids_B: Tensor, num_elements: int) -> Tensor:
    """Uniform numbers in [0, 1), float32 (B, E)."""
    return _unit(element_bits(key, ids_B, num_elements))


def normal(key: int, ids_B: Tensor, num_elements: int) -> Tensor:
    """Standard normal numbers, float32 (B, E); none is farther out than 5.2."""
    # Two numbers from each 64 bits: the mixing is what takes the time.
    halves_BE = element_bits(key, ids_B, (num_elements + 1) // 2)
    high_BE, low_BE = (halves_BE >> 41) & 0x7FFFFF, halves_BE & 0x7FFFFF
    numbers_BE = torch.stack([high_BE, low_BE], dim=2).flatten(1)[:, :num_elements]
    # Half a step inside (0, 1), in 23 bits, which float32 holds exactly: erfinv of 1 would be infinite.
    return torch.erfinv((numbers_BE.float() + 0.5) * 2.0**-22 - 1) * math.sqrt(2)


def poisson_1(key: int, ids_B: Tensor, num_elements: int) -> Tensor:
    """How often a bootstrap of very many rows draws one, float32 (B, E): Poisson numbers of mean 1."""
    cdf = torch.tensor(_POISSON_1, dtype=torch.float32, device=ids_B.device)
    return torch.bucketize(uniform(key, ids_B, num_elements), cdf, right=True).float()


def _mix(numbers: Tensor) -> Tensor:
    numbers = (numbers ^ _shifted(numbers, 30)) * _signed(_FIRST)
    numbers = (numbers ^ _shifted(numbers, 27)) * _signed(_SECOND)
    return numbers ^ _shifted(numbers, 31)


def _shifted(numbers: Tensor, by: int) -> Tensor:
    """To the right with zeros coming in; torch's own shift brings in the sign."""
    return (numbers >> by) & ((1 << (64 - by)) - 1)


def _unit(numbers: Tensor) -> Tensor:
    """The highest 24 bits, which float32 holds exactly, as a number in [0, 1)."""
    return _shifted(numbers, 40).float() * 2.0**-24


def _mix_int(number: int) -> int:
    number = (number ^ (number >> 30)) * _FIRST & _MASK
    number = (number ^ (number >> 27)) * _SECOND & _MASK
    return number ^ (number >> 31)


def _signed(number: int) -> int:
    number &= _MASK
    return number - (1 << 64) if number >> 63 else number
