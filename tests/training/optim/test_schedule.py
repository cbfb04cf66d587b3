"""Rates of every schedule."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from training.optim import Schedule, build_optimizer
from training.train_config import TrainConfig

CPU, STEPS = torch.device("cpu"), 40


def config(kind: str, **keys: Any) -> TrainConfig:
    schedule = {"kind": kind} | keys.pop("schedule", {})
    return TrainConfig.model_validate({"peak_lr": 0.02, "warmup_fraction": 0.25, "schedule": schedule} | keys)


@pytest.mark.parametrize("warmup_fraction", [0.0, 0.1, 0.37])
@pytest.mark.parametrize("num_steps", [1, 7, 1000])
def test_cosine_has_the_very_bits_of_its_formula(warmup_fraction: float, num_steps: int) -> None:
    """Runs of earlier versions go on with the rates they had."""
    settings = TrainConfig(peak_lr=3e-3, warmup_fraction=warmup_fraction)
    schedule = Schedule(settings, num_steps, "min")
    warmup = warmup_fraction * num_steps
    for step in range(num_steps):
        if step < warmup:
            expected = 3e-3 * (step + 1) / (warmup + 1)
        else:
            expected = 3e-3 * 0.5 * (1 + math.cos(math.pi * ((step - warmup) / max(num_steps - warmup, 1))))
        assert schedule.rate(step) == expected


def test_cosine_ends_at_its_final_fraction() -> None:
    schedule = Schedule(config("cosine", schedule={"final_fraction": 0.1}), STEPS, "min")
    assert schedule.rate(STEPS) == pytest.approx(0.002)
    assert schedule.rate(10) == pytest.approx(0.02)


@pytest.mark.parametrize("kind", ["constant", "plateau"])
def test_warm_up_then_the_peak(kind: str) -> None:
    rates = [Schedule(config(kind), STEPS, "min").rate(step) for step in range(STEPS)]
    assert rates[:10] == pytest.approx([0.02 * (step + 1) / 11 for step in range(10)])
    assert rates[10:] == [0.02] * 30


def test_one_cycle_is_torchs() -> None:
    """torch's own OneCycleLR, whose rise ends one step before ours: its step k of n is k / (n - 1) of the way."""
    settings = config("one_cycle", warmup_fraction=0.3, schedule={"final_fraction": 1e-4 / 25})
    optimizer = torch.optim.AdamW(nn.Linear(1, 1).parameters(), lr=0.02)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=10_001, pct_start=0.3001)
    ours = Schedule(settings, 10_000, "min")
    optimizer.step()
    for step in range(9_999):
        if step % 500 == 0:
            group = optimizer.param_groups[0]
            assert ours.rate(step) == pytest.approx(group["lr"], rel=1e-3, abs=1e-6)
            assert ours.momentum(step) == pytest.approx(group["betas"][0], rel=1e-3)
        theirs.step()


def test_one_cycle_sets_the_momentum_of_each_optimizer() -> None:
    model = nn.Linear(2, 2)
    for optimizer_keys, read in (
        ({"kind": "adamw"}, lambda group: group["betas"][0]),
        ({"kind": "lion"}, lambda group: group["betas"][0]),
        ({"kind": "sgd"}, lambda group: group["momentum"]),
        ({"target": "torch.optim:RMSprop", "args": {"momentum": 0.9}}, lambda group: group["momentum"]),
    ):
        settings = config("one_cycle", optimizer=optimizer_keys)
        optimizer, schedule = build_optimizer(model, settings, CPU), Schedule(settings, STEPS, "min")
        seen = []
        for step in (0, 10, STEPS):
            schedule.apply(optimizer, step)
            seen.append([read(group) for group in optimizer.param_groups])
        assert seen == [pytest.approx([0.95] * 2), pytest.approx([0.85] * 2), pytest.approx([0.95] * 2)]


def test_one_cycle_leaves_an_optimizer_without_momentum_so() -> None:
    for keys in ({"kind": "sgd", "momentum": 0.0}, {"target": "torch.optim:SGD"}):
        settings = config("one_cycle", optimizer=keys)
        optimizer = build_optimizer(nn.Linear(2, 2), settings, CPU)
        Schedule(settings, STEPS, "min").apply(optimizer, 10)
        assert [group["momentum"] for group in optimizer.param_groups] == [0.0, 0.0]


@pytest.mark.parametrize(("mode", "sign"), [("min", 1.0), ("max", -1.0)])
def test_plateau_shrinks_after_patience_epochs_without_improvement(mode: Any, sign: float) -> None:
    schedule = Schedule(config("plateau", schedule={"patience": 2, "factor": 0.5}), STEPS, mode)
    rates = []
    for score in (3.0, 2.0, 2.0, math.nan, 2.5, 1.0, 1.5, 1.5):
        schedule.epoch_done(sign * score)
        rates.append(schedule.rate(STEPS - 1) / 0.02)
    assert rates == pytest.approx([1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25])


@pytest.mark.parametrize("kind", ["cosine", "one_cycle", "constant"])
def test_the_others_are_functions_of_the_step_alone(kind: str) -> None:
    schedule = Schedule(config(kind), STEPS, "min")
    before = [schedule.rate(step) for step in range(STEPS)]
    for _ in range(10):
        schedule.epoch_done(1.0)
    assert [schedule.rate(step) for step in range(STEPS)] == before


@pytest.mark.parametrize("kind", ["cosine", "one_cycle", "plateau", "constant"])
def test_a_loaded_schedule_goes_on_where_the_saved_one_stood(kind: str) -> None:
    settings = config(kind, schedule={"patience": 2})
    first = Schedule(settings, STEPS, "min")
    for _ in range(4):
        first.epoch_done(1.0)
    first.lr_scale = 0.5
    second = Schedule(settings, STEPS, "min")
    plain = second.rate(20)
    second.load_state_dict(first.state_dict())
    assert second.rate(20) == first.rate(20) == pytest.approx(plain * (0.5 * 0.3 if kind == "plateau" else 0.5))
    for schedule in (first, second):
        schedule.epoch_done(1.0)
    assert second.rate(20) == first.rate(20)


def test_apply_writes_again_what_a_loaded_optimizer_overwrote() -> None:
    settings = config("constant")
    optimizer, schedule = build_optimizer(nn.Linear(2, 2), settings, CPU), Schedule(settings, STEPS, "min")
    early = optimizer.state_dict()
    schedule.apply(optimizer, 3)
    optimizer.load_state_dict(early)
    schedule.apply(optimizer, 3)
    assert [group["lr"] for group in optimizer.param_groups] == [schedule.rate(3)] * 2
