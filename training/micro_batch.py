"""How many rows go through the model at a time."""

import contextlib
import gc
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch.optim import Optimizer

from training.errors import TrainingFailed

_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|ALLOC_FAILED", re.IGNORECASE)
_STATES_A_WEIGHT = {"AdamW": 2, "SGD": 1, "Lion": 1}


def split(num_rows: int, micro: int) -> list[slice]:
    """Slices of at most `micro` rows, of sizes that differ by one at most, in order."""
    assert min(num_rows, micro) >= 1, f"{num_rows} rows in parts of {micro}"
    num_parts = -(-num_rows // micro)
    bounds = [num_rows * part // num_parts for part in range(num_parts + 1)]
    return [slice(first, last) for first, last in pairwise(bounds)]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device or the machine had no memory left, in any of torch's ways to say so."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


def free_memory() -> None:
    """Give back what a failed attempt held. Call it after the `except` block: the error in it holds the graph."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        gc.collect()  # what hangs in a cycle is no free memory yet; on a CPU it does not matter when it goes
        torch.cuda.empty_cache()


def find_micro_batch(try_rows: Callable[[int], None], share: int) -> int:
    """The most rows of share, share / 2, share / 4, ... (rounded up) that fit into memory.

    Raises TrainingFailed if a single row does not fit; other errors of `try_rows` pass.

    Args:
        try_rows: forward and backward with so many rows, leaving weights and random state as they were, within
            `with_optimizer_state`. Without collectives under DDP: a peer that ran out of memory would not come to them.
        share: rows of a global batch that come to one worker.
    """
    assert share >= 1, f"a share of {share} rows"
    rows = share
    while True:
        said = _attempt(try_rows, rows)
        if said is None:
            return rows
        free_memory()
        if rows == 1:
            raise TrainingFailed(
                f"not even one row fits into memory: {said}",
                "take a smaller model, train.precision: bf16, train.activation_checkpointing: true, or "
                "train.parallel: fsdp on more workers",
            )
        rows = -(-rows // 2)


def _attempt(try_rows: Callable[[int], None], rows: int) -> str | None:
    """None if it fit, else what was said; the error itself must not outlive this, it holds the graph."""
    try:
        try_rows(rows)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return (str(error) or type(error).__name__).splitlines()[0]
    return None


@contextlib.contextmanager
def with_optimizer_state(optimizer: Optimizer) -> Iterator[None]:
    """Hold the memory that the optimizer will want at its first step, so that an attempt does not use it up."""
    num_states = 0 if optimizer.state else _STATES_A_WEIGHT.get(type(optimizer).__name__, 2)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    held = [torch.empty_like(parameter) for parameter in parameters for _ in range(num_states)]
    yield
    held.clear()
