"""`train.deterministic`: torch's switches while it trains and not after, and plain words for what cannot be so."""

import os

import pytest
import torch

from training.determinism import REPEATABLE, WORKSPACE, as_failure, deterministic
from training.errors import TrainingFailed
from training.train_config import TrainConfig

ASKED, NOT_ASKED = TrainConfig(deterministic=True), TrainConfig()


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, "")  # restored afterwards, whatever a test sets
    monkeypatch.delenv(WORKSPACE)


def switches() -> tuple[bool, ...]:
    backend = torch.backends.cudnn
    return torch.are_deterministic_algorithms_enabled(), backend.benchmark, backend.deterministic


def test_switches_are_on_inside_and_as_before_outside() -> None:
    before = switches()
    with deterministic(NOT_ASKED):
        assert switches() == before
        assert WORKSPACE not in os.environ
    with deterministic(ASKED):
        assert switches() == (True, False, True)
        assert os.environ[WORKSPACE] == REPEATABLE[0]
        torch.empty(3)
    assert switches() == before
    with pytest.raises(KeyError), deterministic(ASKED):
        raise KeyError("another error comes through as it is")
    assert switches() == before


def test_an_operation_without_such_a_kernel_is_named() -> None:
    said = r"put_ has no kernel that gives the same bits twice"
    with pytest.raises(TrainingFailed, match=said) as failed, deterministic(ASKED):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
    assert "train.deterministic: false" in failed.value.hint
    torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))  # which is fine where nobody asks


def test_what_cublas_says_is_told_in_our_words_and_other_errors_are_left_alone() -> None:
    said = (
        "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or ..., but this "
        "operation is not deterministic because it uses CuBLAS and you have CUDA >= 10.2."
    )
    failure = as_failure(RuntimeError(said))
    assert failure is not None
    assert "a cuBLAS matrix product" in failure.message
    assert as_failure(RuntimeError("shapes do not match")) is None


def test_cuda_that_started_without_it_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(TrainingFailed, match="before CUDA starts"), deterministic(ASKED):
        pass
    monkeypatch.setenv(WORKSPACE, ":16:8")
    with deterministic(ASKED):  # a person set one that serves
        assert os.environ[WORKSPACE] == ":16:8"
