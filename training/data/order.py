"""In which order the rows of an epoch come, where it is not a plain shuffle. Pure functions of (seed, epoch).

Shape letters: N rows.
"""

import numpy as np


def balanced_order(target_N: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Row numbers of one epoch, (N,), in which every class comes equally often.

    Classes share the N draws evenly; where they do not divide, each gets the one more in turn over the epochs. The
    rows of a class go round in one order: within an epoch each comes floor or ceil of (draws / rows) times, and
    the next epoch goes on where the last one ended, so that a common class is seen whole in the end.

    Args:
        target_N: class ids from 0; a class without rows has no share.
        seed: of the order.
        epoch: epochs done before.
    """
    counts = np.bincount(target_N)
    narrow_N = target_N.astype(np.min_scalar_type(len(counts)))  # up to 16 bits, numpy sorts by radix: ten times faster
    by_class = [rows for rows in np.split(np.argsort(narrow_N, kind="stable"), np.cumsum(counts)[:-1]) if len(rows)]
    num_rows, num_classes = len(target_N), len(by_class)
    draws = []
    for number, rows in enumerate(by_class):
        # Summed over the classes, floor((x + number) / classes) is x: so the shares add up to N in every epoch.
        first, end = ((passes * num_rows + number) // num_classes for passes in (epoch, epoch + 1))
        circle = np.random.default_rng([seed, number]).permutation(rows)
        draws.append(circle[np.arange(first, end) % len(rows)])
    return np.random.default_rng([seed, epoch, num_classes]).permutation(np.concatenate(draws))
