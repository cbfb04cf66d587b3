"""Optimizers by kind and by import path, and what weight decay acts on."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training.errors import ConfigError
from training.optim import build_optimizer, decayed_parameters, l1_penalty
from training.train_config import TrainConfig

CPU = torch.device("cpu")


class OwnNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2, 3))


class Tokens(nn.Module):
    no_weight_decay = frozenset({"offset"})

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.column_bias = nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(3, 4))
        self.offset = nn.Parameter(torch.ones(3, 4))


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.tokens, self.own = nn.Embedding(5, 4), Tokens(), OwnNorm()
        self.linear, self.image_norm = nn.Linear(4, 2), nn.LayerNorm((2, 3, 3))
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)


def config(**keys: Any) -> TrainConfig:
    return TrainConfig.model_validate({"peak_lr": 0.1, "weight_decay": 0.5} | keys)


def stepped(keys: dict[str, Any], num_steps: int = 1) -> nn.Linear:
    """A layer of ones after steps with a gradient of 0, which weight decay alone moves."""
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(1.0)
    optimizer = build_optimizer(layer, config(**keys), CPU)
    for _ in range(num_steps):
        for parameter in layer.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    return layer


def test_only_matrices_and_embeddings_are_decayed() -> None:
    model = Everything()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed = [names[id(parameter)] for parameter in decayed_parameters(model)]
    assert decayed == ["embedding.weight", "tokens.weight", "linear.weight"]
    groups = build_optimizer(model, config(), CPU).param_groups
    assert [names[id(parameter)] for parameter in groups[0]["params"]] == decayed
    assert len(groups[1]["params"]) == len(names) - len(decayed) - 1  # the frozen one is in neither
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]


@pytest.mark.parametrize(
    ("declared", "said"), [("offset", "is a str"), ({"ofset"}, "names ofset.*\n.*column_bias, offset, weight")]
)
def test_a_wrong_no_weight_decay_is_an_error(declared: Any, said: str) -> None:
    tokens = Tokens()
    tokens.no_weight_decay = declared
    with pytest.raises(ConfigError, match=f"(?s)Tokens.no_weight_decay of 0 {said}"):
        decayed_parameters(nn.Sequential(tokens))


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"optimizer": {"kind": "lion"}},
        {"optimizer": {"kind": "sgd"}},
        {"optimizer": {"target": "torch.optim:RMSprop"}},
        {"optimizer": {"target": "torch.optim:Rprop"}},  # has no weight decay of its own
    ],
)
def test_weight_decay_is_decoupled_and_spares_biases_in_all_of_them(keys: dict[str, Any]) -> None:
    layer = stepped(keys, num_steps=3)
    torch.testing.assert_close(layer.weight, torch.full((2, 2), (1 - 0.1 * 0.5) ** 3))
    assert torch.equal(layer.bias, torch.ones(2))


def test_lion_moves_by_the_sign_of_the_interpolated_momentum() -> None:
    """Against the paper's algorithm 2, written out for one weight."""
    layer = nn.Linear(1, 1, bias=False)
    optimizer = build_optimizer(layer, config(optimizer={"kind": "lion", "betas": (0.5, 0.75)}), CPU)
    weight, mean = layer.weight.item(), 0.0
    for gradient in (1.0, -0.5, -2.0, 0.3, 0.1):
        layer.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
        direction = math.copysign(1.0, 0.5 * mean + 0.5 * gradient)
        weight -= 0.1 * (direction + 0.5 * weight)
        mean = 0.75 * mean + 0.25 * gradient
        assert layer.weight.item() == pytest.approx(weight, abs=1e-6)


def test_settings_reach_the_optimizer() -> None:
    model = nn.Linear(2, 2)
    adamw = build_optimizer(model, config(optimizer={"betas": (0.8, 0.95), "eps": 1e-6}), CPU)
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.defaults["fused"]
    assert (adamw.defaults["betas"], adamw.defaults["eps"], adamw.defaults["lr"]) == ((0.8, 0.95), 1e-6, 0.1)
    sgd = build_optimizer(model, config(optimizer={"kind": "sgd", "momentum": 0.5, "nesterov": False}), CPU)
    assert (sgd.defaults["momentum"], sgd.defaults["nesterov"], sgd.defaults["fused"]) == (0.5, False, True)
    plain = build_optimizer(model, config(optimizer={"kind": "sgd", "momentum": 0.0}), CPU)
    assert plain.defaults["nesterov"] is False
    nadam = build_optimizer(
        model, config(optimizer={"target": "torch.optim:NAdam", "args": {"momentum_decay": 0.1}}), CPU
    )
    assert isinstance(nadam, torch.optim.NAdam)
    assert nadam.defaults["momentum_decay"] == 0.1


def test_an_optimizer_of_ones_own_comes_from_the_experiments_folder(tmp_path: Path) -> None:
    (tmp_path / "descent_of_mine.py").write_text("import torch\nclass Descent(torch.optim.SGD): pass\n")
    settings = config(optimizer={"target": "descent_of_mine:Descent"})
    assert type(build_optimizer(nn.Linear(2, 2), settings, CPU, str(tmp_path))).__name__ == "Descent"


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        ({"target": "torch.optim:Nowhere"}, "torch.optim has no class Nowhere"),
        ({"target": "no_such_module:Descent"}, "cannot be imported: ModuleNotFoundError"),
        ({"target": "torch.nn:Linear"}, "is no torch.optim.Optimizer"),
        ({"target": "torch.optim:LBFGS"}, "its step needs a closure"),
        ({"target": "torch.optim:Optimizer"}, "has no step of its own"),
        ({"target": "torch.optim:Adam", "args": {"lr": 1.0}}, "it comes from train.peak_lr"),
        ({"target": "torch.optim:Adam", "args": {"beta": 1.0}}, "unexpected keyword argument 'beta'(.|\n)*amsgrad"),
        ({"target": "torch.optim:Adam", "args": {"eps": -1.0}}, "Invalid epsilon"),
        ({"kind": "sgd", "args": {"eps": 1.0}}, "args are for train.optimizer.target"),
    ],
)
def test_what_does_not_fit_is_said(optimizer: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_optimizer(nn.Linear(2, 2), config(optimizer=optimizer), CPU)


def test_a_model_without_trainable_parameters_is_refused() -> None:
    with pytest.raises(ConfigError, match="no parameter to train"):
        build_optimizer(nn.ReLU(), config(), CPU)


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_l1_is_of_matrices_alone_and_its_gradient_their_sign(weight_decay: float) -> None:
    linear, embedding = nn.Linear(3, 2), nn.Embedding(4, 2)
    model = nn.Sequential(linear, nn.LayerNorm(2), embedding)
    penalty = l1_penalty(build_optimizer(model, config(weight_decay=weight_decay), CPU))
    matrices: list[Tensor] = [linear.weight, embedding.weight]
    torch.testing.assert_close(penalty, sum((m.abs().sum() for m in matrices), torch.zeros(())))
    penalty.backward()
    assert all(torch.equal(matrix.grad, matrix.sign()) for matrix in matrices if matrix.grad is not None)
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["0.weight", "2.weight"]


def test_l1_of_a_model_without_matrices_is_zero() -> None:
    assert float(l1_penalty(build_optimizer(nn.LayerNorm(3), config(), CPU))) == 0.0
