"""Spaces drawn by Optuna: conditions, values given back as written, points, sizes, and what a study keeps."""

import itertools
import json
import warnings
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import Trial, create_trial

from tests.training.search.spaces import FINITE, KINDS, applies, experiment, space_of
from training.errors import ConfigError
from training.search.space.dimensions import conditions_of
from training.search.space.drawing import Space, described

optuna.logging.set_verbosity(optuna.logging.ERROR)


def new_study(seed: int = 0) -> Study:
    return optuna.create_study(sampler=RandomSampler(seed=seed))


def test_every_trial_has_the_keys_whose_conditions_hold_and_the_experiment_takes_it() -> None:
    wanted = experiment(KINDS, model={"hidden": [32], "dropout": 0.3})
    space, study = space_of(wanted), new_study()
    seen: set[frozenset[str]] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna warns where a range does not fit its step
        for _ in range(200):
            values = space.draw(study.ask())
            applies(wanted, values)
            seen.add(frozenset(values))
            for key, dimension in space.dimensions.items():
                holds = all(
                    parent in values and values[parent] in allowed
                    for parent, allowed in conditions_of(dimension).items()
                )
                assert (key in values) == holds
                assert key not in values or dimension.holds(values[key])
    assert len(seen) == 5, "each kind with adamw, with sgd; the mlp's sgd with and without nesterov"


def test_parents_are_drawn_first_and_the_order_is_that_of_the_file_otherwise() -> None:
    assert list(space_of(experiment(KINDS)).dimensions) == [
        "model.kind", "model.hidden", "model.dim", "train.peak_lr", "train.optimizer.kind",
        "train.optimizer.momentum", "train.optimizer.nesterov",
    ]  # fmt: skip


def test_a_condition_on_what_is_fixed_holds_in_all_trials_or_in_none() -> None:
    space = {"train.optimizer.momentum": {"range": [0, 0.9], "when": {"train.optimizer.kind": "sgd"}}}
    with_sgd = space_of(experiment(space, train={"optimizer": {"kind": "sgd"}}))
    assert with_sgd.always == list(space)
    assert not with_sgd.is_conditional
    assert space_of(experiment(KINDS)).is_conditional
    assert not space_of(experiment(space)).draw(new_study().ask()), "manta check refuses it; no trial draws it"


def test_values_come_back_as_they_were_written() -> None:
    written = {
        "train.ema": {"choice": [None]},
        "model.hidden": {"ordered": [[8], [16, 16], [32]]},
        "train.label_smoothing": {"range": [0.1, 0.7], "step": 0.2},
        "train.global_batch_size": {"int": [8, 20], "step": 6},
    }
    space, study, drawn = space_of(experiment(written)), new_study(), []
    for _ in range(60):
        trial = study.ask()
        drawn.append(space.draw(trial))
        study.tell(trial, 0.0)
    assert {json.dumps(values["model.hidden"]) for values in drawn} == {"[8]", "[16, 16]", "[32]"}
    assert {values["train.label_smoothing"] for values in drawn} == {0.1, 0.3, 0.5, 0.7}, "and no 0.30000000000000004"
    assert {values["train.global_batch_size"] for values in drawn} == {8, 14, 20}
    assert all(values["train.ema"] is None for values in drawn)
    assert [space.values_of(trial) for trial in study.trials] == drawn
    assert isinstance(study.trials[0].params["model.hidden"], int), "neighbours are alike to the sampler"


def test_a_trial_drawn_halfway_is_completed_and_keeps_what_it_had() -> None:
    space, study = space_of(experiment(KINDS)), new_study()
    for i in range(40):
        opened = study.ask()
        half = space_of(experiment(dict(itertools.islice(KINDS.items(), 2))))
        before = half.draw(opened)
        completed = space.draw(Trial(study, opened._trial_id))
        assert {key: completed[key] for key in before} == before
        assert space.lacking(completed) is None
        assert space.draw(Trial(study, opened._trial_id)) == completed, f"again, trial {i}"


def test_own_settings_come_first_then_the_points_each_once() -> None:
    points = [{"model.kind": "table_resnet", "model.dim": 128}, {"model.kind": "mlp"}]
    space = space_of(experiment(KINDS, train={"peak_lr": 0.01}, search={"points": [*points, points[0]]}))
    own = {"model.kind": "mlp", "train.peak_lr": 0.01, "train.optimizer.kind": "adamw", "model.hidden": "[128, 128]"}
    assert space.points() == [own, {"model.kind": "table_resnet", "model.dim": 1}, {"model.kind": "mlp"}]
    study = new_study()
    for point in space.points():
        study.enqueue_trial(point)
    drawn = [space.draw(study.ask()) for _ in range(3)]
    assert drawn[0] == {**own, "model.hidden": [128, 128]}
    assert drawn[1]["model.dim"] == 128
    assert space.lacking(drawn[2]) is None


def test_own_settings_outside_the_space_are_no_point() -> None:
    space = space_of(experiment({"train.peak_lr": {"log": [1e-5, 1e-4]}}))
    assert space.points() == []
    other_kind = {"model.kind": {"choice": ["table_resnet"]}, "model.max_embedding_dim": {"choice": [16]}}
    assert space_of(experiment(other_kind)).points() == [], "the file's 16 was meant for an mlp"


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ({"train.peaklr": 0.1}, "train.peaklr  is not in search.space (nearest: train.peak_lr)"),
        ({"train.peak_lr": 5}, "train.peak_lr  is 5, which is not in the space: 0.0001 to 0.1"),
    ],
)
def test_points_outside_the_space(point: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        space_of(experiment(KINDS, search={"points": [point]})).points()
    assert said in error.value.message


def test_the_size_is_the_number_of_different_trials() -> None:
    assert space_of(experiment(KINDS)).size() is None
    space = space_of(experiment(FINITE))
    grid = list(space.grid())
    assert len({json.dumps(params, sort_keys=True) for params in grid}) == len(grid) == space.size()
    # mlp: 2 widths x (adamw + sgd with 4 momenta, two of them with 2 nesterovs); table_resnet: 3 dims x (1 + 4)
    assert space.size() == 2 * (1 + 2 + 2 * 2) + 3 * (1 + 4)
    for params in grid:
        values = space.values_of(create_trial(params=params, distributions=_distributions(space, params), value=0.0))
        assert space.lacking(values) is None
        assert space.stored(values) == params


def _distributions(space: Space, params: dict[str, Any]) -> dict[str, Any]:
    return space.distributions(dict.fromkeys(params))


def test_a_space_of_many_values_is_counted_without_listing_them() -> None:
    many = {"train.seed": {"int": [0, 10**9]}, "train.global_batch_size": {"int": [1, 10**6]}}
    many["train.l1"] = {"choice": [0.0, 0.1], "when": {"train.seed": [3, 4]}}
    assert space_of(experiment(many)).size() == 10**6 * (10**9 + 1 - 2 + 2 * 2)


def test_an_endless_grid_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no end of them in train\.peak_lr"):
        space_of(experiment(KINDS)).grid()


def test_a_study_knows_its_space_again_and_says_what_differs() -> None:
    before, same = space_of(experiment(KINDS)), space_of(experiment(dict(reversed(KINDS.items()))))
    assert same.differences(before.fingerprint()) == []
    changed = {**KINDS, "train.peak_lr": {"log": [1e-3, 1e-1]}, "train.l1": {"range": [0, 1]}}
    del changed["train.optimizer.nesterov"]
    changed["model.dim"] = {"ordered": [64, 128, 192]}
    found = space_of(experiment(changed)).differences(before.fingerprint())
    assert "train.peak_lr: 0.0001 to 0.1, logarithmic -> 0.001 to 0.1, logarithmic" in found
    assert "train.l1: not searched -> 0 to 1" in found
    assert any(
        text.startswith("model.dim: one of") and ", where model.kind is table_resnet ->" in text for text in found
    )
    assert any(text.endswith("-> not searched") for text in found)
    assert before.differences("{") == ["the space was kept in a form that this version cannot read"]


def test_conditions_in_words() -> None:
    dimension = space_of(experiment(KINDS)).dimensions["train.optimizer.nesterov"]
    assert described(dimension).endswith("where train.optimizer.momentum is 0.8 or 0.95 and model.kind is mlp")


@settings(max_examples=60, deadline=None)
@given(
    low=st.floats(-100, 100, allow_nan=False).map(lambda x: round(x, 3)),
    step=st.sampled_from([0.001, 0.05, 0.1, 0.3, 7.0]),
    steps=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_stepped_ranges_round_trip_exactly(low: float, step: float, steps: int, seed: int) -> None:
    high = low + step * (steps + 0.5)
    space = space_of(experiment({"train.l1": {"range": [low, high], "step": step}}))
    study = new_study(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trial = study.ask()
        value = space.draw(trial)["train.l1"]
    assert space.dimensions["train.l1"].holds(value)
    assert value in space.dimensions["train.l1"].values()
    stored = space.stored({"train.l1": value})
    study.enqueue_trial(stored)
    assert space.draw(study.ask())["train.l1"] == value
