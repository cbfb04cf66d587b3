"""Count, mean and deviation of numbers that come in parts. Shape letters: N numbers."""

import math
from dataclasses import dataclass

import numpy as np

BLOCK = 65_536  # numbers taken to float64 at a time: they stay in the processor's cache


@dataclass(frozen=True)
class Moments:
    """Of finite numbers."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared distances from the mean
    minimum: float = math.inf
    maximum: float = -math.inf

    @classmethod
    def of(cls, numbers: np.ndarray) -> "Moments":
        """Of an array of any shape, in float64."""
        flat_N = numbers.reshape(-1)
        found = cls()
        for start in range(0, len(flat_N), BLOCK):
            found = found.merge(cls._of_block(flat_N[start : start + BLOCK].astype(np.float64)))
        return found

    @classmethod
    def _of_block(cls, block_N: np.ndarray) -> "Moments":
        mean = float(block_N.mean())
        # The second term takes back what the rounding of the mean brought in.
        apart_N = block_N - mean
        squares = float((apart_N * apart_N).sum()) - float(apart_N.sum()) ** 2 / len(block_N)
        return cls(len(block_N), mean, max(squares, 0.0), float(block_N.min()), float(block_N.max()))

    @classmethod
    def repeated(cls, number: float, count: int) -> "Moments":
        """Of one number, `count` times."""
        return cls(count, number, 0.0, number, number) if count else cls()

    @classmethod
    def weighted(cls, numbers_N: np.ndarray, weights_N: np.ndarray) -> "Moments":
        """Of numbers, each repeated by its whole weight."""
        if not len(numbers_N):
            return cls()
        mean = float(np.average(numbers_N, weights=weights_N))
        squares = float(np.dot(weights_N, (numbers_N - mean) ** 2))
        return cls(int(weights_N.sum()), mean, squares, float(numbers_N.min()), float(numbers_N.max()))

    def merge(self, other: "Moments") -> "Moments":
        """Both together. Source: Chan, Golub, LeVeque, Updating formulae (1979)."""
        if not (self.count and other.count):
            return self if self.count else other
        count = self.count + other.count
        gap = other.mean - self.mean
        return Moments(
            count,
            self.mean + gap * other.count / count,
            self.squares + other.squares + gap * gap * self.count * other.count / count,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    @property
    def deviation(self) -> float:
        """Standard deviation, 1 where all numbers are the same: it will be divided by."""
        if self.minimum >= self.maximum:
            return 1.0
        return math.sqrt(self.squares / self.count) or 1.0
