"""Population-based training: Tune's quantiles, sources that are alive and not behind, changes that fit the weights."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import PopulationBasedTraining

from tests.training.search.judges.stories import search
from training.search.judges import Clone, GoOn, judge_of
from training.search.judges.explore import changeable, explored
from training.search.judges.population import Population
from training.search_config import SearchConfig

SPACE: dict[str, Any] = {
    "train.peak_lr": {"log": [1e-4, 1e-1]},
    "train.label_smoothing": {"range": [0.0, 0.3]},
    "train.weight_decay": {"range": [0.0, 0.1], "step": 0.01},
    "train.schedule.patience": {"int": [1, 5]},
    "train.early_stopping.patience": {"int": [1, 200]},
    "train.optimizer.momentum": {"ordered": [0.5, 0.8, 0.9, 0.95]},
    "model.dropout": {"choice": [0.0, 0.5, 0.2]},
    "model.attention_dropout": {"range": [0.0, 0.5]},
    "model.hidden": {"choice": [[8], [16]]},
    "model.width": {"int": [4, 64]},
    "data.columns.a.bins": {"int": [2, 64]},
    "train.global_batch_size": {"int": [16, 512], "log": True},
    "train.imbalance.ratio": {"range": [0.1, 1.0]},
    "train.optimizer.kind": {"choice": ["adamw", "sgd"]},
    "train.seed": {"int": [0, 1000]},
}
PARAMS: dict[str, Any] = {
    "train.peak_lr": 0.09, "train.label_smoothing": 0.29, "train.weight_decay": 0.07, "train.schedule.patience": 5,
    "train.early_stopping.patience": 190, "train.optimizer.momentum": 0.95, "model.dropout": 0.2,
    "model.attention_dropout": 0.45, "model.hidden": [16], "model.width": 12, "data.columns.a.bins": 9,
    "train.global_batch_size": 100, "train.imbalance.ratio": 0.4, "train.optimizer.kind": "sgd", "train.seed": 3,
}  # fmt: skip
CHANGEABLE = {
    "train.peak_lr", "train.label_smoothing", "train.weight_decay", "train.schedule.patience",
    "train.early_stopping.patience", "train.optimizer.momentum", "model.dropout", "model.attention_dropout",
}  # fmt: skip


class Living:
    """Tune keeps trials as keys, and asks whether they have ended."""

    def is_finished(self) -> bool:
        return False


def population(interval: int = 2, fraction: float = 0.25, last_level: int = 12, seed: int = 0) -> Population:
    wanted = search({"kind": "pbt", "interval": interval, "quantile_fraction": fraction}, space=SPACE, seed=seed)
    judge = judge_of(wanted, last_level, ["max"])
    assert isinstance(judge, Population)
    return judge


def hear(judge: Population, level: int, **scores: float) -> dict[str, Any]:
    return {trial: judge.hear(trial, level, [score]) for trial, score in scores.items()}


def four(judge: Population) -> Population:
    for i in range(4):
        judge.meet(f"t000{i}", PARAMS | {"train.peak_lr": 0.01 * (i + 1)})
    return judge


def test_only_what_fits_the_weights_is_changed() -> None:
    assert set(changeable(search("asha", space=SPACE).space)) == CHANGEABLE


@settings(max_examples=80, deadline=None)
@given(place=st.tuples(st.integers(0, 9), st.integers(0, 9999), st.integers(1, 99)), resample=st.floats(0, 1))
def test_changes_stay_in_the_space_and_come_again(place: tuple[int, int, int], resample: float) -> None:
    space = search("asha", space=SPACE).space
    found = explored(PARAMS, space, resample, place)
    assert explored(PARAMS, space, resample, place) == found
    assert set(found) == set(PARAMS)
    for key, value in found.items():
        assert space[key].holds(value), key
        assert type(value) is type(PARAMS[key]), key
        if key not in CHANGEABLE:
            assert value == PARAMS[key]


def test_changes_do_change_something() -> None:
    space = search("asha", space=SPACE).space
    changed = [key for i in range(40) for key, value in explored(PARAMS, space, 0.25, (0, i, 2)).items()
               if value != PARAMS[key]]  # fmt: skip
    assert set(changed) == CHANGEABLE


def test_a_key_on_which_others_depend_and_a_key_that_is_not_drawn_are_left_alone() -> None:
    wanted = SearchConfig.model_validate({"space": {
        "train.max_grad_norm": {"choice": [1.0, 2.0]},
        "train.l1": {"range": [0.0, 1.0], "when": {"train.max_grad_norm": 1.0}},
        "train.weight_decay": {"range": [0.0, 1.0]},
    }})  # fmt: skip
    assert set(changeable(wanted.space)) == {"train.l1", "train.weight_decay"}
    found = explored({"train.max_grad_norm": 2.0, "train.weight_decay": 0.5}, wanted.space, 0.5, (0, 0, 2))
    assert set(found) == {"train.max_grad_norm", "train.weight_decay"}


def test_the_weakest_goes_on_from_the_strongest() -> None:
    judge = four(population())
    assert judge.hear("t0000", 2, [0.9]) == GoOn()
    judge.recall("t0001", 2, [0.8])
    judge.recall("t0002", 2, [0.7])
    verdict = judge.hear("t0003", 2, [0.1])
    assert isinstance(verdict, Clone)
    assert verdict.source == "t0000"
    assert verdict.params.keys() == PARAMS.keys()
    assert verdict.params["train.global_batch_size"] == 100
    assert verdict.reason.startswith(
        "0.1 at epoch 2 is among the weakest: goes on from t0000, which had 0.9 there, with"
    )
    assert "train.peak_lr 0.01 -> " in verdict.reason
    assert judge._members["t0003"].params == verdict.params, "whoever copies it next copies what it has now"


@settings(max_examples=60, deadline=None)
@given(scores=st.lists(st.integers(0, 1000), min_size=2, max_size=12, unique=True), fraction=st.floats(0.01, 0.5))
def test_quantiles_are_tunes_where_all_stand_alike(scores: list[int], fraction: float) -> None:
    judge = population(fraction=fraction)
    tune = PopulationBasedTraining(
        "epoch", "score", "max", hyperparam_mutations={"lr": [1, 2]}, quantile_fraction=fraction
    )
    names: dict[Any, str] = {}
    for i, score in enumerate(scores):
        judge.meet(f"t{i:04d}", PARAMS)
        judge.recall(f"t{i:04d}", 2, [float(score)])
        stand_in = Living()
        tune._trial_state[stand_in] = SimpleNamespace(last_score=float(score))
        names[stand_in] = f"t{i:04d}"
    lower, upper = tune._quantiles()
    first, last = judge._quantiles(2)
    assert {names[each] for each in upper} == set(first)
    assert {names[each] for each in lower} == set(last)


def test_newcomers_are_compared_at_their_own_level() -> None:
    judge = four(population(fraction=0.5))
    for level, score in ((2, 0.5), (4, 0.7), (6, 0.9)):
        judge.hear("t0000", level, [score])
    assert judge.hear("t0001", 2, [0.6]) == GoOn(), "better than what t0000 had there"
    assert isinstance(judge.hear("t0002", 2, [0.4]), Clone)


def test_a_source_is_alive_better_and_not_behind() -> None:
    judge = four(population(fraction=0.5))
    judge.hear("t0000", 2, [0.9])
    for level in (2, 4):
        told = judge.hear("t0001", level, [0.1])
        assert isinstance(told, Clone) == (level == 2), "at 4 it is ahead of its source"
    judge.leave("t0000")
    assert judge.hear("t0002", 2, [0.05]) == GoOn() or judge.hear("t0002", 2, [0.05]).source == "t0001"  # type: ignore[union-attr]
    alone = population()
    alone.meet("t0000", PARAMS)
    assert alone.hear("t0000", 2, [0.1]) == GoOn()
    equal = four(population())
    assert set(hear(equal, 2, t0000=0.5, t0001=0.5, t0002=0.5, t0003=0.5).values()) == {GoOn()}


def test_what_was_recalled_and_not_met_is_no_member() -> None:
    judge = population(fraction=0.5)
    judge.recall("t0000", 2, [0.9])
    judge.meet("t0001", PARAMS)
    assert judge.hear("t0001", 2, [0.1]) == GoOn()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_place_clones_the_same(seed: int) -> None:
    found = []
    for _ in range(2):
        judge = four(population(fraction=0.5, seed=seed))
        hear(judge, 2, t0000=0.9, t0001=0.8, t0002=0.2)
        found.append(judge.hear("t0003", 2, [0.1]))
    assert found[0] == found[1]
    assert isinstance(found[0], Clone)
