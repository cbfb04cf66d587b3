"""What a search would do and take: shares, corners, slots, estimates, warnings. Real data, real steps, no Ray."""

import math
from typing import Any

import pytest
import torch

from tests.training.search.spaces import space_of
from training.config import Experiment
from training.data.prepare import prepare
from training.data.prepared import Prepared
from training.errors import CapacityError, ConfigError
from training.search.judges import judge_of
from training.search.plan.cost import Bench, Cost, corners, measured_corners
from training.search.plan.estimate import estimated
from training.search.plan.expected import Share, expected_share
from training.search.plan.plan import HERE, Plan, Slots, make_plan, slots_of
from training.search.slot.stackable import Stackable, stackable
from training.search_config import SearchConfig

KINDS = {
    "model.kind": {"choice": ["mlp", "table_resnet"]},
    "model.hidden": {"ordered": [[4], [32, 32]], "when": {"model.kind": "mlp"}},
    "model.dim": {"int": [8, 64], "log": True, "when": {"model.kind": "table_resnet"}},
    "train.global_batch_size": {"ordered": [16, 64]},
    "train.peak_lr": {"log": [1e-3, 0.9]},
    "model.dropout": {"range": [0, 0.5], "when": {"model.kind": "mlp"}},
}


def iris(space: dict[str, Any], train: dict[str, Any] | None = None, **search: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "planned", "data": {"source": "sklearn:iris", "target": "target"},
            "train": {"epochs": 9, **(train or {})}, "search": {"space": space, **search},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(iris(KINDS).data)


def bench_of(wanted: Experiment, prepared: Prepared) -> Bench:
    return Bench(wanted, space_of(wanted), prepared, "accuracy", torch.device("cpu"), "")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.search.plan.cost.TIMED_S", 0.2)


def plan_of(wanted: Experiment, prepared: Prepared, num_slots: int = 2) -> Plan:
    return make_plan(wanted, prepared, "accuracy", Slots(num_slots, 1.0, 0.0, HERE))


# How much of the training is left.


def share_of(scheduler: Any, num_trials: int = 60, **more: Any) -> Share:
    search = SearchConfig.model_validate({"space": {"train.l1": {"range": [0, 1]}}, "scheduler": scheduler, **more})
    last = search.replicates if search.replicates > 1 else 27
    modes: Any = ["max", "min"][: len(search.objectives)]
    return expected_share(lambda: judge_of(search, last, modes), num_trials, 2, last, modes)


def test_schedulers_leave_a_share_of_the_training() -> None:
    asha = share_of({"kind": "asha", "grace": 1})
    # Halving by 3 at 1, 3, 9 of 27 with all trials at once trains (1 + 2/3 + 6/9 + 18/27) / 27 of it; one after the
    # other it is more, since the first ones have nobody to fall behind.
    assert 3 / 27 <= asha.least <= asha.usual <= asha.most <= 0.5
    assert share_of({"kind": "asha", "grace": 9}).usual > asha.usual
    assert share_of({"kind": "asha", "grace": 1, "reduction_factor": 2}).usual > asha.usual
    assert share_of("none") == Share(1, 1, 1)
    assert 0.1 < share_of("median").usual < 0.7
    assert 0.3 < share_of("racing", folds=5).usual < 1
    assert share_of("asha", objectives=["score", "size_mb"]).usual < 1


# Which corners are measured, and what that gives.


def test_the_corners_are_the_smallest_and_the_largest_trial_of_each_kind(prepared: Prepared) -> None:
    found = corners(bench_of(iris(KINDS), prepared))
    assert [(params["model.kind"], params["train.global_batch_size"]) for params in found] == [
        ("mlp", 64), ("mlp", 16), ("table_resnet", 64), ("table_resnet", 16),
    ]  # fmt: skip
    assert [params["model.hidden"] for params in found[:2]] == [[4], [32, 32]]
    assert [params["model.dim"] for params in found[2:]] == [8, 64]
    only_rate = iris({"train.peak_lr": {"log": [1e-3, 0.1]}})
    assert len(corners(bench_of(only_rate, prepared))) == 1, "a rate costs no time"


def test_corners_that_cannot_be_together_are_left_out(prepared: Prepared) -> None:
    wanted = iris({"model.dim": {"ordered": [8, 12, 16]}, "model.heads": {"choice": [4, 8]}})
    wanted = wanted.model_copy(update={"model": type(wanted)(
        name="x", data=wanted.data, model={"kind": "ft_transformer", "dim": 8}).model})  # fmt: skip
    found = corners(bench_of(wanted, prepared))
    assert all(params["model.dim"] % params["model.heads"] == 0 for params in found)


def test_costs_are_real_and_threads_stay_as_they_were(prepared: Prepared) -> None:
    threads = torch.get_num_threads()
    costs = measured_corners(bench_of(iris(KINDS, train={"cpus_per_worker": 1}), prepared))
    assert torch.get_num_threads() == threads
    assert [cost.epoch_s for cost in costs] == sorted(cost.epoch_s for cost in costs)
    by_params = {(cost.params["model.kind"], cost.steps_per_epoch): cost for cost in costs}
    num_rows = len(prepared.train)
    steps = {math.ceil(num_rows / 16), math.ceil(num_rows / 64)}
    assert {each for _, each in by_params} == steps
    assert all(cost.num_weights > 0 and cost.setup_s > 0 for cost in costs)
    for kind in ("mlp", "table_resnet"):
        assert by_params[kind, max(steps)].epoch_s > by_params[kind, min(steps)].epoch_s, "4 times the steps"


# Time and money.


def cost(epoch_s: float, setup_s: float = 1.0) -> Cost:
    return Cost({}, 1, setup_s, epoch_s, epoch_s, 1)


def test_an_estimate_holds_what_would_happen() -> None:
    wanted = iris(KINDS, usd_per_device_hour=36.0)
    found = estimated(wanted, [cost(1), cost(4)], Share(0.5, 0.5, 0.5), 20, 2, 1.0, Stackable("no"))
    assert (found.trial_s.low, found.trial_s.high) == (10, 37)
    # 20 trials of 9 epochs, half of them trained: 90 epochs of 1 to 4 s and 20 starts, on two slots.
    assert found.wall_s.low == 6 + (90 + 20) / 2
    assert found.wall_s.low < (90 * 2.5 + 20) / 2 < found.wall_s.high
    assert found.device_hours.low == pytest.approx(found.wall_s.low * 2 / 3600)
    assert found.usd.low == pytest.approx(found.device_hours.low * 36)


def test_folds_train_each_trial_several_times_and_stacks_save_time() -> None:
    one, five = iris(KINDS), iris(KINDS, folds=5)
    alone = estimated(one, [cost(1)], Share(1, 1, 1), 10, 1, 1.0, Stackable("no"))
    folds = estimated(five, [cost(1)], Share(1, 1, 1), 10, 1, 1.0, Stackable("no"))
    assert (alone.trial_s.low, folds.trial_s.low) == (10, 50)
    stacked = estimated(one, [cost(1)], Share(1, 1, 1), 10, 1, 1.0, Stackable("yes", 1.0, 1, 8, 5.0))
    assert stacked.wall_s.low - 6 == pytest.approx((alone.wall_s.low - 6) / 5)
    assert stacked.wall_s.high == alone.wall_s.high, "it may turn out that none are stacked"
    assert estimated(one, [cost(1)], Share(1, 1, 1), 0, 1, 1.0, Stackable("no")).wall_s.high == 0


@pytest.mark.parametrize(
    ("node", "train", "search", "count"),
    [
        ({"CPU": 8}, {"cpus_per_worker": 2}, {}, 4),
        ({"CPU": 8}, {"cpus_per_worker": 2}, {"concurrency": 3}, 3),
        ({"CPU": 8}, {}, {"trials": 5}, 5),
        ({"CPU": 8}, {"workers": 2}, {}, 4),
        ({"CPU": 8, "GPU": 1}, {"device": "gpu"}, {"gpus_per_trial": 0.25}, 4),
    ],
)
def test_slots_are_what_the_machines_hold(
    node: dict[str, float], train: dict[str, Any], search: dict[str, Any], count: int
) -> None:
    assert slots_of([node], iris(KINDS, train, **search), "here").count == count


def test_a_trial_that_fits_no_machine_is_refused() -> None:
    with pytest.raises(CapacityError, match="one trial takes 1 x 9 CPU, which this machine does not have"):
        slots_of([{"CPU": 8}], iris(KINDS, {"cpus_per_worker": 9}), "this machine")


# The whole plan.


def test_a_plan_tells_everything_before_anything_runs(prepared: Prepared) -> None:
    wanted = iris(KINDS, points=[{"model.kind": "table_resnet", "model.dim": 16}], trials=40, fuse=False)
    plan = plan_of(wanted, prepared)
    assert list(plan.space) == ["model.kind", "model.hidden", "model.dim", "train.global_batch_size", "train.peak_lr",
                                "model.dropout"]  # fmt: skip
    assert plan.size is None
    assert plan.points[1] == {"model.kind": "table_resnet", "model.dim": 16}
    assert (plan.rungs, plan.last_level, plan.level) == ([2, 6], 9, "epochs")
    assert len(plan.costs) == 4
    assert 0 < plan.estimate.wall_s.low < plan.estimate.wall_s.usual < plan.estimate.wall_s.high
    assert plan.estimate.usd is None
    assert plan.warnings == []


def test_a_plan_warns_of_a_budget_and_of_a_sampler_that_never_begins(prepared: Prepared) -> None:
    space = {"train.global_batch_size": {"int": [16, 64], "step": 24}}
    grid = iris(space, sampler="grid", scheduler="none", fuse=False)
    plan = plan_of(grid, prepared)
    assert (plan.size, plan.trials, plan.rungs, plan.share) == (3, 3, [], Share(1, 1, 1))
    small = iris(space, trials=8, budget={"wall_s": 0.001}, fuse=False)
    plan = plan_of(small, prepared)
    assert "search.budget.wall_s is too small for a trial" in plan.warnings[0]
    assert "so tpe proposes none of the 8 trials" in plan.warnings[1]
    assert plan.budget.high < 1


def test_a_plan_for_other_machines_says_where_it_was_timed(prepared: Prepared) -> None:
    wanted = iris({"train.peak_lr": {"log": [1e-3, 0.1]}}, fuse=False)
    elsewhere = make_plan(wanted, prepared, "accuracy", Slots(2, 1.0, 0.0, "the cluster at a:1"))
    assert elsewhere.warnings == [
        "steps were timed on this machine; those of the cluster at a:1 may be faster or slower"
    ]
    if not torch.cuda.is_available():
        on_gpus = make_plan(wanted, prepared, "accuracy", Slots(2, 1.0, 1.0, "the cluster at a:1"))
        assert "on its CPU" in on_gpus.warnings[0]


def test_stacking_is_measured_for_the_commonest_shape(prepared: Prepared) -> None:
    wanted = iris({"train.peak_lr": {"log": [1e-3, 0.1]}}, trials=64, startup_trials=4)
    found = stackable(bench_of(wanted, prepared), 1, 64)
    assert (found.share, found.num_shapes) == (1.0, 1)
    assert found.lanes > 1, "small models on one core are what stacking is for"
    assert found.most_gain == pytest.approx(found.speedup)
    assert found.speedup <= found.lanes
    assert stackable(bench_of(iris(KINDS, fuse=False), prepared), 1, 64).words == "no: search.fuse is off"
    assert "folds" in stackable(bench_of(iris(KINDS, folds=3), prepared), 1, 64).words
    lion = iris(KINDS, {"optimizer": {"kind": "lion"}})
    assert "lion" in stackable(bench_of(lion, prepared), 1, 64).words


def test_without_a_search_there_is_nothing_to_plan(prepared: Prepared) -> None:
    wanted = iris(KINDS).model_copy(update={"search": None})
    with pytest.raises(ConfigError, match="has no search section"):
        plan_of(wanted, prepared)
