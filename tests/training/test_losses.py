"""Losses: what they are by definition, and the same gradient however the rows are shared out."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from training.data.prepared import Facts
from training.errors import ConfigError
from training.learning_config import LossConfig
from training.losses import Loss, Wanted, class_weights, classification_loss
from training.package.transforms import Transforms
from training.train_config import TrainConfig

LABELS = ("a", "b", "c")


def facts(task: str = "classification") -> Facts:
    labels = LABELS if task == "classification" else ()
    return Facts(task, labels, (), Transforms(), target_mean=5.0, target_scale=2.0, fingerprint="")  # type: ignore[arg-type]


def config(**imbalance: object) -> TrainConfig:
    return TrainConfig.model_validate({"imbalance": imbalance})


def batch(num_rows: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(num_rows, 3, generator=draw, requires_grad=True)
    return logits, torch.randint(0, 3, (num_rows,), generator=draw), torch.arange(100, 100 + num_rows)


def test_plain_losses_are_torchs_own() -> None:
    logits, target, ids = batch()
    smooth = TrainConfig(label_smoothing=0.1)
    assert Loss(smooth, facts())(logits, Wanted(target), ids).item() == pytest.approx(
        F.cross_entropy(logits, target, label_smoothing=0.1).item()
    )
    values = torch.tensor([3.0, 7.0])
    found = Loss(TrainConfig(), facts("regression"))(torch.tensor([[0.0], [2.0]]), Wanted(values), ids[:2])
    assert found.item() == pytest.approx(((0 + 1) ** 2 + (2 - 1) ** 2) / 2)


def test_focal_loss() -> None:
    logits, target, _ = batch()
    right = logits.softmax(1).gather(1, target[:, None])[:, 0]
    found = classification_loss(logits, target, LossConfig(kind="focal", gamma=2.0), 0.0)
    torch.testing.assert_close(found, -((1 - right) ** 2) * right.log())
    same = classification_loss(logits, target, LossConfig(kind="focal", gamma=0.0), 0.0)
    torch.testing.assert_close(same, F.cross_entropy(logits, target, reduction="none"))


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_of_a_sure_row_has_a_finite_slope(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0, 0.0], [-200.0, 200.0, 0.0]], requires_grad=True)
    classification_loss(logits, torch.tensor([0, 0]), LossConfig(kind="focal", gamma=gamma), 0.0).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_balanced_weights_make_classes_count_the_same_and_the_mean_weight_1() -> None:
    counts = np.array([80, 15, 5])
    weights = class_weights(config(class_weights="balanced"), LABELS, counts, drawn_equally=False)
    assert weights is not None
    np.testing.assert_allclose(weights.numpy() * counts, 100 / 3, rtol=1e-6)
    drawn = class_weights(config(class_weights="balanced"), LABELS, counts, drawn_equally=True)
    assert drawn is not None
    np.testing.assert_allclose(drawn.numpy(), 1.0)


def test_given_weights_keep_their_ratio() -> None:
    counts = np.array([80, 20, 0])
    weights = class_weights(config(class_weights={"b": 4}), LABELS, counts, drawn_equally=False)
    assert weights is not None
    assert weights[1] / weights[0] == pytest.approx(4)
    assert float((weights.numpy() * counts).sum()) == pytest.approx(100)


@pytest.mark.parametrize("members", [0, 3])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("workers", [2, 3, 7])
def test_shares_of_a_batch_give_the_gradient_of_the_whole(members: int, mixed: bool, workers: int) -> None:
    """With class weights, focal loss, bootstraps and mixed rows at once; the shares are of unequal size."""
    logits, target, ids = batch(31)
    if members:
        logits = torch.randn(31, members, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    settings = TrainConfig.model_validate({"loss": {"kind": "focal"}, "imbalance": {"class_weights": "balanced"}})
    weights = class_weights(settings, LABELS, torch.bincount(target).numpy(), drawn_equally=False)
    loss = Loss(settings, facts(), weights, members)
    share = torch.linspace(0.5, 1, 31)

    def wanted(rows: Tensor) -> Wanted:
        return Wanted(target[rows], target.flip(0)[rows], share[rows]) if mixed else Wanted(target[rows])

    def mean_over(parts: tuple[Tensor, ...]) -> Tensor:
        return torch.stack(
            [loss(logits[rows], wanted(rows), ids[rows]) * (len(rows) * len(parts) / 31) for rows in parts]
        ).mean()

    rows = torch.arange(31)
    whole = torch.autograd.grad(mean_over((rows,)), logits)[0]
    shared = torch.autograd.grad(mean_over(rows.tensor_split(workers)), logits)[0]
    torch.testing.assert_close(shared, whole)


def test_a_mixed_rows_loss_is_the_blend_of_two() -> None:
    logits, target, ids = batch(4)
    loss, other, share = Loss(TrainConfig(), facts()), (target + 1) % 3, torch.tensor([0.5, 0.7, 0.9, 1.0])
    each, each_other = (F.cross_entropy(logits, goal, reduction="none") for goal in (target, other))
    found = loss(logits, Wanted(target, other, share), ids)
    assert found.item() == pytest.approx((share * each + (1 - share) * each_other).mean().item())


def test_each_member_learns_from_its_own_bootstrap() -> None:
    _, target, ids = batch(1000)
    logits = torch.zeros(1000, 2, 3, requires_grad=True)
    Loss(TrainConfig(seed=1), facts(), num_members=2)(logits, Wanted(target), ids).backward()
    assert logits.grad is not None
    is_used = logits.grad.abs().sum(dim=2) > 0
    assert is_used.float().mean(dim=0).sub(1 - np.exp(-1)).abs().max() < 0.05
    assert (is_used[:, 0] != is_used[:, 1]).float().mean() > 0.3
    # A row has its weight wherever it stands.
    flipped = torch.zeros(1000, 2, 3, requires_grad=True)
    Loss(TrainConfig(seed=1), facts(), num_members=2)(flipped, Wanted(target.flip(0)), ids.flip(0)).backward()
    assert flipped.grad is not None
    assert torch.equal(flipped.grad.flip(0), logits.grad)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("shape", [(7,), (7, 2), (1, 3), (7, 4, 1)])
def test_a_model_that_answers_in_another_shape_is_refused(task: str, shape: tuple[int, ...]) -> None:
    """A regression would else learn from the first of two outputs, or from one answer for all rows."""
    loss = Loss(TrainConfig(), facts(task))
    with pytest.raises(ConfigError, match=rf"{re.escape(str(shape))} for 7 rows in training, must be a tensor \(7, "):
        loss(torch.zeros(shape, requires_grad=True), Wanted(torch.zeros(7, dtype=torch.int64)), torch.arange(7))
