"""The losses of numbers, of several labels a row, of next tokens, and of one's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import mean_pinball_loss
from torch import Tensor

from training.config import Experiment
from training.data.prepared import Facts, Part
from training.errors import ConfigError
from training.learning_config import LossConfig
from training.losses import Loss, Wanted, loss_weights
from training.package.byte_tokens import IGNORED
from training.package.transforms import Transforms
from training.train_config import TrainConfig

DRAW = torch.Generator().manual_seed(0)
IDS = torch.arange(7)


def facts(task: str) -> Facts:
    labels = ("a", "b", "c") if task in ("classification", "multilabel") else ()
    mean, scale = (5.0, 2.0) if task == "regression" else (0.0, 1.0)
    return Facts(task, labels, (), Transforms(), mean, scale, fingerprint="")  # type: ignore[arg-type]


def config(**train: Any) -> TrainConfig:
    return TrainConfig.model_validate(train)


def of(task: str, train: TrainConfig, target: np.ndarray, **more: Any) -> Loss:
    return Loss(train, facts(task), loss_weights(train, facts(task), Part({}, target)), **more)


@pytest.mark.parametrize("delta", [0.5, 3.0])
def test_huber_is_torchs_on_the_scaled_target(delta: float) -> None:
    output, target = torch.tensor([[0.0], [2.0], [-4.0]]), torch.tensor([3.0, 7.0, 20.0])
    loss = of("regression", config(loss={"kind": "huber", "delta": delta}), target.numpy())
    expected = F.huber_loss(output[:, 0], (target - 5) / 2, delta=delta)
    assert loss(output, Wanted(target), IDS[:3]).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_pinball_is_scikit_learns_and_its_minimum_is_the_quantile(quantile: float) -> None:
    train = config(loss={"kind": "quantile", "quantile": quantile})
    target = torch.randn(4001, generator=DRAW) * 2 + 5
    loss, ids = of("regression", train, target.numpy()), torch.arange(4001)
    output = torch.zeros(4001, 1) + 0.3
    expected = mean_pinball_loss((target.numpy() - 5) / 2, output[:, 0].numpy(), alpha=quantile)
    assert loss(output, Wanted(target), ids).item() == pytest.approx(expected, rel=1e-5)
    at = ((target - 5) / 2).quantile(quantile)
    best = loss(at.expand(4001, 1), Wanted(target), ids)
    for other in (at - 0.05, at + 0.05):
        assert loss(other.expand(4001, 1), Wanted(target), ids) > best


def test_labels_are_torchs_binary_cross_entropy() -> None:
    logits = torch.randn(7, 3, generator=DRAW)
    target = (torch.rand(7, 3, generator=DRAW) < 0.4).float()
    plain = of("multilabel", config(), target.numpy())(logits, Wanted(target), IDS)
    assert plain.item() == pytest.approx(F.binary_cross_entropy_with_logits(logits, target).item())
    smooth = of("multilabel", config(label_smoothing=0.2), target.numpy())(logits, Wanted(target), IDS)
    expected = F.binary_cross_entropy_with_logits(logits, target * 0.8 + 0.1)
    assert smooth.item() == pytest.approx(expected.item())
    focal = of("multilabel", config(loss={"kind": "focal", "gamma": 2}), target.numpy())(logits, Wanted(target), IDS)
    right = torch.where(target > 0, logits.sigmoid(), 1 - logits.sigmoid())
    assert focal.item() == pytest.approx((-((1 - right) ** 2) * right.log()).mean().item(), rel=1e-5)


def test_balanced_labels_count_the_same_present_and_absent() -> None:
    target = np.zeros((100, 3), dtype=np.float32)
    target[:10, 0], target[:, 1] = 1, 1  # a tenth, all, none
    train = config(imbalance={"class_weights": "balanced"})
    weight = loss_weights(train, facts("multilabel"), Part({}, target))
    assert weight is not None
    np.testing.assert_allclose(weight, [[0.5 / 0.9, 1.0, 1.0], [5.0, 1.0, 1.0]], rtol=1e-6)
    mean = np.where(target > 0, weight[1], weight[0]).mean()
    assert mean == pytest.approx(1)
    named = loss_weights(config(imbalance={"class_weights": {"b": 4}}), facts("multilabel"), Part({}, target))
    assert named is not None
    np.testing.assert_allclose(named, [[0.5, 2.0, 0.5], [0.5, 2.0, 0.5]])


def tokens(num_rows: int = 7, length: int = 5) -> tuple[Tensor, Tensor]:
    """Logits, and next tokens of rows of 1 to 5 real ones."""
    logits = torch.randn(num_rows, length, 11, generator=DRAW, requires_grad=True)
    target = torch.randint(0, 11, (num_rows, length), generator=DRAW)
    for row in range(num_rows):
        target[row, 1 + row % length :] = IGNORED
    return logits, target


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_an_epoch_is_the_mean_over_its_tokens_not_over_its_rows(smoothing: float) -> None:
    logits, target = tokens()
    loss = of("language_modelling", config(label_smoothing=smoothing), target.numpy())
    expected = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED, label_smoothing=smoothing)
    assert loss(logits, Wanted(target), IDS).item() == pytest.approx(expected.item(), rel=1e-6)


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "huber": ("regression", {"loss": {"kind": "huber"}}),
    "quantile": ("regression", {"loss": {"kind": "quantile", "quantile": 0.8}}),
    "labels": ("multilabel", {"label_smoothing": 0.1, "imbalance": {"class_weights": "balanced"}}),
    "focal labels": ("multilabel", {"loss": {"kind": "focal"}}),
    "tokens": ("language_modelling", {}),
}


WAYS = [
    (case, mixed, members)
    for case in CASES
    for mixed in (False, True)
    for members in (0, 3)
    if case != "tokens" or not (mixed or members)  # which a language model has not
]


@pytest.mark.parametrize("workers", [2, 3, 7])
@pytest.mark.parametrize(("case", "mixed", "members"), WAYS)
def test_shares_of_a_batch_give_the_gradient_of_the_whole(case: str, mixed: bool, members: int, workers: int) -> None:
    task, train = CASES[case]
    if task == "language_modelling":
        output, target = tokens(31)
    else:
        outputs = 1 if task == "regression" else 3
        shape = (31, members, outputs) if members else (31, outputs)
        output = torch.randn(shape, generator=DRAW, requires_grad=True)
        target = torch.randn(31, generator=DRAW)
        if task == "multilabel":
            target = (torch.rand(31, 3, generator=DRAW) < 0.3).float()
    loss = of(task, config(**train), target.numpy(), num_members=members)
    share, ids = torch.linspace(0.5, 1, 31), torch.arange(31)

    def mean_over(parts: tuple[Tensor, ...]) -> Tensor:
        each = [
            loss(
                output[rows],
                Wanted(target[rows], target.flip(0)[rows], share[rows]) if mixed else Wanted(target[rows]),
                ids[rows],
            )
            * (len(rows) * len(parts) / 31)
            for rows in parts
        ]
        return torch.stack(each).mean()

    whole = torch.autograd.grad(mean_over((ids,)), output)[0]
    shared = torch.autograd.grad(mean_over(ids.tensor_split(workers)), output)[0]
    assert whole.abs().sum() > 0
    torch.testing.assert_close(shared, whole)


def test_a_bfloat16_output_is_judged_in_float32() -> None:
    output, target = torch.randn(7, 3, generator=DRAW).bfloat16(), torch.randint(0, 3, (7,), generator=DRAW)
    found = of("classification", config(), target.numpy())(output, Wanted(target), IDS)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(F.cross_entropy(output.float(), target).item())


OWN = """
import torch

def absolute(output, target):
    return (output[:, 0] - target).abs()

def hinge(output, target):
    right = output.gather(1, target[:, None])
    return (1 + output - right).clamp_min(0).sum(dim=1) - 1

def mean(output, target):
    return (output[:, 0] - target).abs().mean()

def cut(output, target):
    return (output[:, 0].detach() - target).abs()

def broken(output, target):
    raise RuntimeError("no such thing")

answer = 42
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_losses.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return str(tmp_path)


def test_a_loss_of_ones_own_learns_from_the_scaled_target_mixed_rows_and_members(code: str) -> None:
    output, target = torch.randn(7, 3, 1, generator=DRAW, requires_grad=True), torch.randn(7, generator=DRAW)
    own = Loss(config(loss={"target": "own_losses:absolute"}), facts("regression"), num_members=3, code_path=code)
    share, other = torch.full((7,), 0.75), target.flip(0)
    loss = own(output, Wanted(target, other, share), IDS)
    loss.backward()
    assert output.grad is not None
    assert output.grad.abs().sum() > 0
    single = Loss(config(loss={"target": "own_losses:absolute"}), facts("regression"), code_path=code)
    expected = (output[:, 0, 0] - (target - 5) / 2).abs().mean()
    assert single(output[:, 0], Wanted(target), IDS).item() == pytest.approx(expected.item())


def test_class_weights_weigh_a_loss_of_ones_own(code: str) -> None:
    output, target = torch.randn(7, 3, generator=DRAW), torch.tensor([0, 0, 0, 0, 1, 1, 2])
    train = config(loss={"target": "own_losses:hinge"}, imbalance={"class_weights": "balanced"})
    weight = loss_weights(train, facts("classification"), Part({}, target.numpy()))
    assert weight is not None
    found = Loss(train, facts("classification"), weight, code_path=code)(output, Wanted(target), IDS)
    right = output.gather(1, target[:, None])
    each = (1 + output - right).clamp_min(0).sum(dim=1) - 1
    assert found.item() == pytest.approx((each * weight[target]).mean().item())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own_losses:mean", r"gives a tensor \(\) of float32 for 7 rows"),
        ("own_losses:cut", "a loss without a gradient"),
        ("own_losses:broken", "fails on the first batch: RuntimeError: no such thing"),
        ("own_losses:absent", "has no function absent"),
        ("own_losses:answer", "has no function answer"),
        ("no_such_module:x", "cannot be imported"),
    ],
)
def test_a_loss_of_ones_own_that_is_none_is_named(code: str, name: str, said: str) -> None:
    output, target = torch.randn(7, 1, generator=DRAW, requires_grad=True), torch.randn(7, generator=DRAW)
    with pytest.raises(ConfigError, match=said):
        Loss(config(loss={"target": name}), facts("regression"), code_path=code)(output, Wanted(target), IDS)


@pytest.mark.parametrize(
    ("task", "train", "said"),
    [
        ("classification", {"loss": {"kind": "huber"}}, "huber is not for a classification"),
        ("regression", {"loss": {"kind": "cross_entropy"}}, "cross_entropy is not for a regression"),
        ("regression", {"label_smoothing": 0.1}, "label_smoothing is not for a regression"),
        ("classification", {"label_smoothing": 0.1, "loss": {"target": "a:b"}}, "does nothing to a loss of your own"),
        ("classification", {"loss": {"kind": "focal", "target": "a:b"}}, "are two losses"),
    ],
)
def test_losses_that_do_not_suit_the_task(task: str, train: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Experiment.model_validate({"name": "x", "data": {"source": "t", "target": "y", "task": task}, "train": train})


def test_only_a_quantile_is_judged_as_one() -> None:
    assert LossConfig(kind="quantile", quantile=0.9).judged_quantile == 0.9
    assert LossConfig(quantile=0.9).judged_quantile is None
