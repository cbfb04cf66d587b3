"""How many rows go through the model at a time, with models that run out of memory above a number of rows."""

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

from training.errors import TrainingFailed
from training.micro_batch import find_micro_batch, is_out_of_memory, split, with_optimizer_state
from training.optim import build_optimizer
from training.train_config import TrainConfig


@pytest.mark.parametrize(("num_rows", "micro"), [(1, 1), (7, 3), (8, 8), (8, 100), (10, 4), (97, 32)])
def test_slices_cover_all_rows_once_evenly(num_rows: int, micro: int) -> None:
    slices = split(num_rows, micro)
    assert [row for part in slices for row in range(num_rows)[part]] == list(range(num_rows))
    sizes = [part.stop - part.start for part in slices]
    assert max(sizes) <= micro
    assert max(sizes) - min(sizes) <= 1


class Small(nn.Module):
    """A machine with memory for so many rows."""

    def __init__(self, limit: int, error: type[Exception], message: str) -> None:
        super().__init__()
        self.layer, self.limit, self.error, self.message = nn.Linear(3, 2), limit, error, message
        self.tried: list[int] = []
        self.graphs: list[weakref.ref[Tensor]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.tried.append(len(x))
        y = self.layer(x)
        self.graphs.append(weakref.ref(y))
        if len(x) > self.limit:
            raise self.error(self.message)
        return y


KINDS = [
    (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 20.00 MiB"),
    (RuntimeError, "CUDA error: out of memory"),
    (RuntimeError, "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    (RuntimeError, "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    (MemoryError, ""),
]


@pytest.mark.parametrize(("error", "message"), KINDS)
def test_halves_until_it_fits_and_leaves_no_graph_behind(error: type[Exception], message: str) -> None:
    model = Small(9, error, message)
    collected = []

    def attempt(num_rows: int) -> None:
        collected.append([ref() is None for ref in model.graphs])
        model(torch.randn(num_rows, 3)).sum().backward()

    assert find_micro_batch(attempt, 50) == 7
    assert model.tried == [50, 25, 13, 7]
    assert collected[-1] == [True, True, True]  # what failed was free before the next attempt


def test_all_of_the_share_where_it_fits() -> None:
    model = Small(50, torch.OutOfMemoryError, "")
    assert find_micro_batch(lambda num_rows: model(torch.randn(num_rows, 3)).sum().backward(), 50) == 50
    assert model.tried == [50]


def test_not_even_one_row_is_said() -> None:
    model = Small(0, torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 1 PiB")
    with pytest.raises(TrainingFailed, match=r"not even one row fits into memory: CUDA out of memory(.|\n)*bf16"):
        find_micro_batch(lambda num_rows: model(torch.randn(num_rows, 3)).sum().backward(), 4)
    assert model.tried == [4, 2, 1]


def test_other_errors_pass() -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        find_micro_batch(lambda num_rows: nn.Linear(3, 2)(torch.randn(num_rows, 4)).sum().backward(), 4)


@pytest.mark.parametrize(("kind", "copies"), [("adamw", 2), ("sgd", 1), ("lion", 1)])
def test_an_attempt_leaves_room_for_the_optimizers_state(kind: str, copies: int) -> None:
    layer = nn.Linear(123, 321)

    def num_alike() -> int:
        return sum(type(o) is Tensor and o.shape == layer.weight.shape for o in gc.get_objects())

    optimizer = build_optimizer(layer, TrainConfig.model_validate({"optimizer": {"kind": kind}}), torch.device("cpu"))
    before = num_alike()
    with with_optimizer_state(optimizer):
        assert num_alike() == before + copies
    assert num_alike() == before
    layer(torch.randn(2, 123)).sum().backward()
    optimizer.step()
    assert sum(state.numel() for state in optimizer.state[layer.weight].values() if state.ndim) == copies * 123 * 321
    after = num_alike()
    with with_optimizer_state(optimizer):  # it has its state by now
        assert num_alike() == after
