"""Precisions, loss scaling and clipping. Loss scaling runs on the CPU here, where torch has a scaler too."""

import math

import pytest
import torch
from torch import nn

from training.errors import ConfigError
from training.optim import Precision, build_optimizer, check_precision
from training.train_config import TrainConfig

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "said"),
    [("tf32", "trains on cpu(.|\n)*bf16"), ("fp16", "trains on cpu(.|\n)*needs loss scaling(.|\n)*bf16")],
)
def test_what_a_cpu_cannot_do_is_said_early(precision: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_precision(TrainConfig.model_validate({"precision": precision}), CPU)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_a_cpu_can_do_is_done(precision: str) -> None:
    settings = TrainConfig.model_validate({"precision": precision})
    check_precision(settings, CPU)
    ours, layer = Precision(settings.precision, CPU), nn.Linear(4, 2)
    with ours.autocast():
        output = layer(torch.randn(3, 4))
    assert output.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    ours.backward(output.float().sum())
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    assert ours.state_dict() == {}


def test_precision_leaves_the_cpus_own_switches() -> None:
    before = torch.get_float32_matmul_precision()
    Precision("fp32", CPU)
    assert torch.get_float32_matmul_precision() == before


def test_clipping_gives_the_norm_before_and_scales_to_the_norm() -> None:
    layer = nn.Linear(2, 2)
    settings = TrainConfig()
    optimizer, parameters = build_optimizer(layer, settings, CPU), list(layer.parameters())
    layer.weight.grad, layer.bias.grad = torch.full((2, 2), 3.0), torch.zeros(2)
    norm = Precision("fp32", CPU).clip(optimizer, parameters, 2.0)
    assert float(norm) == pytest.approx(6.0)
    assert float(layer.weight.grad.norm()) == pytest.approx(2.0, rel=1e-5)


def scaled(start: float = 1024.0) -> Precision:
    precision = Precision("fp32", CPU)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=start)
    return precision


@pytest.mark.parametrize("kind", ["adamw", "sgd", "lion"])
def test_scaled_steps_are_the_unscaled_ones(kind: str) -> None:
    settings = TrainConfig.model_validate({"optimizer": {"kind": kind}, "weight_decay": 0.5})
    weights = []
    for precision in (Precision("fp32", CPU), scaled()):
        torch.manual_seed(0)
        layer = nn.Linear(3, 2)
        optimizer = build_optimizer(layer, settings, CPU)
        for is_clipped in (True, False, True):
            optimizer.zero_grad()
            precision.backward(layer(torch.ones(4, 3)).square().mean())
            if is_clipped:
                precision.clip(optimizer, list(layer.parameters()), 0.1)
            precision.step(optimizer)
        weights.append(layer.weight.detach())
    torch.testing.assert_close(weights[0], weights[1])


@pytest.mark.parametrize("is_clipped", [True, False])
@pytest.mark.parametrize("kind", ["adamw", "sgd", "lion"])
def test_an_overflow_skips_the_step_and_its_weight_decay_and_halves_the_scale(kind: str, is_clipped: bool) -> None:
    settings = TrainConfig.model_validate({"optimizer": {"kind": kind}, "weight_decay": 0.5})
    layer, precision = nn.Linear(3, 2), scaled()
    optimizer = build_optimizer(layer, settings, CPU)
    before = [parameter.detach().clone() for parameter in layer.parameters()]
    precision.backward(layer(torch.full((1, 3), 1e38)).sum())
    if is_clipped:
        assert not math.isfinite(float(precision.clip(optimizer, list(layer.parameters()), 1.0)))
    else:
        assert not all(bool(p.grad.isfinite().all()) for p in layer.parameters() if p.grad is not None)
    precision.step(optimizer)
    assert all(torch.equal(p, value) for p, value in zip(layer.parameters(), before, strict=True))
    assert precision.state_dict()["scale"] == 512.0
    optimizer.zero_grad()
    precision.backward(layer(torch.ones(1, 3)).sum())
    precision.step(optimizer)
    assert not torch.equal(layer.weight, before[0])


def test_the_scale_goes_on_where_it_stood() -> None:
    first, second = scaled(256.0), scaled()
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    second.load_state_dict({})  # of a checkpoint without scaling
    Precision("fp32", CPU).load_state_dict(first.state_dict())
