"""`train.deterministic`: only kernels that give the same bits twice, and a plain error where there is none."""

import contextlib
import importlib
import os
import re
from collections.abc import Iterator
from typing import Any

import torch

from training.errors import TrainingFailed
from training.train_config import TrainConfig

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
REPEATABLE = (":4096:8", ":16:8")  # cuBLAS gives the same bits with one of these; the first one is the faster
_LACKS = re.compile(r"(\S+) does not have a deterministic implementation")


@contextlib.contextmanager
def deterministic(config: TrainConfig) -> Iterator[None]:
    """Around a training: the same bits on the same machine, number of workers and threads. Nothing where not asked for.

    What was set before is set again afterwards, since a process may train something else next.

    Raises:
        TrainingFailed: the model needs an operation without such a kernel, or CUDA was started too early to be told.
    """
    if not config.deterministic:
        yield
        return
    prepare_cublas()
    with _switched(), _compiled_alike() if config.compile else contextlib.nullcontext():
        try:
            yield
        except RuntimeError as error:
            if (failed := as_failure(error)) is None:
                raise
            raise failed from error


def prepare_cublas() -> None:
    """Set what cuBLAS reads once, when CUDA starts. Raises TrainingFailed where that was before and without it."""
    if os.environ.get(WORKSPACE) in REPEATABLE:
        return
    if torch.cuda.is_initialized():
        found = os.environ.get(WORKSPACE)
        raise TrainingFailed(
            f"train.deterministic needs {WORKSPACE}={REPEATABLE[0]} before CUDA starts, and this process has used CUDA "
            f"already with {f'{WORKSPACE}={found}' if found else 'it unset'}",
            f"export {WORKSPACE}={REPEATABLE[0]} where Ray or the notebook starts, or train in a fresh process",
        )
    os.environ[WORKSPACE] = REPEATABLE[0]


@contextlib.contextmanager
def _switched() -> Iterator[None]:
    backend = torch.backends.cudnn
    memory: Any = torch.utils.deterministic  # typed as a plain module, which it is not
    before = (
        torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
        memory.fill_uninitialized_memory, backend.benchmark, backend.deterministic,
    )  # fmt: skip
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory would only make a bug repeatable that reads it, and costs a pass over every tensor.
    memory.fill_uninitialized_memory = False
    backend.benchmark, backend.deterministic = False, True  # benchmark picks a kernel by the time it took
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = before[2]
        backend.benchmark, backend.deterministic = before[3], before[4]


def _compiled_alike() -> contextlib.AbstractContextManager[None]:
    """torch.compile else picks kernels by the time they took."""
    found: contextlib.AbstractContextManager[None]
    found = importlib.import_module("torch._inductor.config").patch(deterministic=True)
    return found


def as_failure(error: BaseException) -> TrainingFailed | None:
    """What torch says of an operation without a deterministic kernel, in our words; None for any other error."""
    text = str(error)
    if found := _LACKS.search(text):
        operation = found.group(1)
    elif "uses CuBLAS" in text and "deterministic" in text.lower():
        operation = "a cuBLAS matrix product"
    else:
        return None
    return TrainingFailed(
        f"train.deterministic is true, and {operation} has no kernel that gives the same bits twice",
        f"use another operation than {operation} in the model or loss, or set train.deterministic: false: the results "
        "then differ in their last digits from run to run",
    )
