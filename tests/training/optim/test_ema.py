"""Averages of the weights."""

from pathlib import Path

import pytest
import torch
from torch import nn

from training.errors import TrainingFailed
from training.optim import Ema


def walk(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


def test_the_average_is_the_one_written_out() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    ema = Ema(model, decay=0.5)
    expected = [parameter.detach().clone() for parameter in model.parameters()]
    for step in range(20):
        walk(model, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = [decay * e + (1 - decay) * p.detach() for e, p in zip(expected, model.parameters(), strict=True)]
        ema.update(step)
    for average, wanted in zip(ema.state_dict().values(), expected, strict=True):
        torch.testing.assert_close(average, wanted)


def test_swapped_in_without_a_copy_and_out_again_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    ema = Ema(model, decay=0.9)
    walk(model, 0)
    ema.update(0)
    weights = [(parameter, parameter.data_ptr(), parameter.detach().clone()) for parameter in model.parameters()]
    averages = [(average.data_ptr(), average.clone()) for average in ema.state_dict().values()]
    inside: list[nn.Parameter] = []

    def fail_inside() -> None:
        with ema.swapped(model):
            inside.extend(model.parameters())
            assert [parameter.data_ptr() for parameter in inside] == [pointer for pointer, _ in averages]
            assert all(torch.equal(p, average) for p, (_, average) in zip(inside, averages, strict=True))
            assert not torch.equal(inside[0], weights[0][2])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert inside
    for now, (parameter, pointer, value) in zip(model.parameters(), weights, strict=True):
        assert now is parameter
        assert now.data_ptr() == pointer
        assert torch.equal(now, value)


def test_frozen_parameters_and_buffers_are_the_models_own() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model[0].weight.requires_grad_(False)
    assert list(Ema(model, 0.9).state_dict()) == ["0.bias", "1.weight", "1.bias"]


def test_goes_on_from_a_file_that_is_safe_to_load(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    first = Ema(model, 0.9)
    walk(model, 0)
    first.update(0)
    torch.save(first.state_dict(), tmp_path / "ema.pt")
    second = Ema(model, 0.9)
    second.load_state_dict(torch.load(tmp_path / "ema.pt", weights_only=True))
    walk(model, 1)
    for ema in (first, second):
        ema.update(1)
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_averages_of_another_model_are_refused() -> None:
    with pytest.raises(TrainingFailed, match=r"lacks \['bias', 'weight'\], and has besides \['0.bias', '0.weight'\]"):
        Ema(nn.Linear(3, 2), 0.9).load_state_dict(Ema(nn.Sequential(nn.Linear(3, 2)), 0.9).state_dict())
