"""Which checkpoints go."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.checkpoint.manifest import Saved

MB = 1e6


@dataclass(frozen=True)
class Retention:
    """What to delete, and what is then left."""

    delete: tuple[Saved, ...]
    left_mb: float  # with the best weights that are still referred to
    is_over: bool  # even the best and the newest alone take more than the limit


def retained(saved: Sequence[Saved], keep: int, keep_mb: float | None) -> Retention:
    """Choose by count, then by bytes. The newest and the best are always kept, and the best does not count.

    Args:
        saved: oldest first.
        keep: newest ones to keep.
        keep_mb: most megabytes (10^6 bytes) in all; None for no limit.
    """
    left = [each for i, each in enumerate(saved) if i >= len(saved) - max(keep, 1) or each.is_best]
    for each in tuple(left[:-1]):
        if keep_mb is None or total_mb(left) <= keep_mb:
            break
        if not each.is_best:
            left.remove(each)
    left_mb = total_mb(left)
    delete = tuple(each for each in saved if each not in left)
    return Retention(delete, left_mb, keep_mb is not None and left_mb > keep_mb)


def total_mb(saved: Sequence[Saved]) -> float:
    """Megabytes of these together; best weights that several refer to count once."""
    best = {file.path: file.num_bytes for each in saved for file in each.manifest.best}
    return (sum(each.num_bytes for each in saved) + sum(best.values())) / MB
