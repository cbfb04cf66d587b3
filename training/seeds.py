"""The generators that code of somebody's own may draw from. What is ours draws from torch, seeded by place."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's, NumPy's and torch's global generators begin anew with the seed, and are as before afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            seed_others(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def seed_others(*place: int) -> None:
    """Seed Python's and NumPy's global generators by a place."""
    words = np.random.SeedSequence(place).generate_state(4)
    np.random.seed(words)
    random.seed(words.tobytes())
