"""What may be written of a search space, and what is told of a wrong one."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.training.search.spaces import KINDS, applies, experiment
from training.config_file import apply_overrides, as_written, dump_experiment, load_experiment
from training.errors import ConfigError
from training.search.space.check import space_problems
from training.search.space.dimensions import Dimension
from training.search_config import SearchConfig
from training.yaml_text import dump_yaml

DIMENSION: TypeAdapter[Dimension] = TypeAdapter(Dimension)


@pytest.mark.parametrize(
    ("written", "size", "corners", "words"),
    [
        ({"choice": [None, 1, [2, 3]]}, 3, [None, 1, [2, 3]], "one of null, 1, [2, 3]"),
        ({"ordered": ["s", "m", "l"]}, 3, ["s", "m", "l"], "one of, in this order, s, m, l"),
        ({"range": [0, 1]}, None, [0, 1], "0 to 1"),
        ({"range": [0, 1], "step": 0.3}, 4, [0, 0.9], "0 to 0.9 in steps of 0.3"),
        ({"log": [1e-3, 10]}, None, [1e-3, 10], "0.001 to 10, logarithmic"),
        ({"int": [1, 8]}, 8, [1, 8], "whole numbers 1 to 8"),
        ({"int": [1, 8], "step": 3}, 3, [1, 7], "whole numbers 1 to 7 in steps of 3"),
        ({"int": [1, 8], "log": True}, 8, [1, 8], "whole numbers 1 to 8, logarithmic"),
    ],
)
def test_dimensions(written: dict[str, Any], size: int | None, corners: list[Any], words: str) -> None:
    dimension = DIMENSION.validate_python(written)
    assert (dimension.size(), dimension.corners(), dimension.words()) == (size, corners, words)
    assert all(map(dimension.holds, corners))
    dumped = dimension.model_dump(mode="json")
    assert next(iter(dumped)) == next(iter(written)), "the report reads the kind from the first key"
    assert DIMENSION.validate_python(dumped) == dimension


@pytest.mark.parametrize(
    ("written", "outside"),
    [
        ({"choice": [1, "a"]}, [True, "b", 2, [1]]),
        ({"ordered": [[1], [2]]}, [1, [3]]),
        ({"range": [0, 1], "step": 0.1}, [0.15, 1.1, True, "0.1"]),
        ({"int": [1, 9], "step": 2}, [2, 3.0, 10, True]),
        ({"log": [1, 2]}, [0.5, None]),
    ],
)
def test_what_a_dimension_does_not_hold(written: dict[str, Any], outside: list[Any]) -> None:
    dimension = DIMENSION.validate_python(written)
    assert [value for value in outside if dimension.holds(value)] == []


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"choice": []}, "at least 1 item"),
        ({"choice": [1, True]}, "holds true twice, like 1"),
        ({"ordered": ["a", "b", "a"]}, 'holds "a" twice'),
        ({"range": [0, 1], "step": 2}, "step=2 is larger than the range of 1"),
        ({"range": [1, 1]}, "is empty"),
        ({"log": [0, 1]}, "must be above 0"),
        ({"int": [0, 8], "log": True}, "needs bounds of 1 or more"),
        ({"int": [1, 8], "log": True, "step": 2}, "do not go together"),
        ({"int": [1, 8], "choice": [1]}, "must be one of {choice: [...]}"),
        ({"range": [0, 1], "when": {"model.kind": []}}, "model.kind has no value"),
    ],
)
def test_dimensions_that_cannot_be(written: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as error:
        DIMENSION.validate_python(written)
    assert said in str(error.value)


def told(space: dict[str, Any], **more: Any) -> dict[str, str]:
    wanted = experiment(space, **more)
    return {problem.key: problem.text for problem in space_problems(wanted, as_written(wanted))}


def test_kinds_of_model_with_keys_of_their_own_are_a_sound_space() -> None:
    assert told(KINDS) == {}


def test_everything_that_is_wrong_is_told_at_once() -> None:
    space = {
        "model.kind": {"choice": ["mlp", "table_resnet"]},
        "model.hidden": {"choice": [[64]]},
        "model.blocks": {"int": [1, 4], "when": {"model.kinds": "table_resnet"}},
        "model.heads": {"int": [1, 4], "when": {"model.kind": "ft_transformer"}},
        "train.optimizer.momentum": {"range": [0, 0.9], "when": {"train.optimizer.nesterov": True}},
        "train.optimizer.nesterov": {"choice": [True, False], "when": {"train.optimizer.momentum": 0.5}},
        "train.l1": {"range": [0, 1], "when": {"train.precision": "bf16"}},
        "train.label_smoothing": {"range": [0, 0.5], "when": {"train.l1": 0}},
        "train.peak_lr": {"log": [1e-4, 10]},
        "train.peaklr": {"log": [1e-4, 0.1]},
    }
    found = told(space, search={"points": [{"model.hidden": [65], "train.x": 3}]})
    where = "search.space."
    assert found[f"{where}train.peaklr"] == "is not a key of the experiment (nearest: train.peak_lr)"
    assert "neither searched nor a key" in found[f"{where}model.blocks.when"]
    assert "(nearest: model.kind)" in found[f"{where}model.blocks.when"]
    circle = "goes in a circle: train.optimizer.momentum waits for train.optimizer.nesterov waits for"
    assert all(circle in found[f"{where}train.optimizer.{key}.when"] for key in ("momentum", "nesterov"))
    assert found[f"{where}model.heads.when"].startswith("waits for model.kind to be ft_transformer; it is one of mlp")
    assert found[f"{where}train.l1.when"] == "never holds: train.precision is fp32 in all trials, not bf16"
    assert f"{where}train.label_smoothing" not in found, "what waits for a wrong key is not wrong itself"
    assert "tried, too: add when: {model.kind: mlp}" in found[f"{where}model.hidden"]
    assert "would try 10.0, but train.peak_lr is 10.0, must be below 1" in found[f"{where}train.peak_lr"]
    assert "which is not in the space: one of [64]" in found["search.points.0.model.hidden"]
    assert "is not in search.space" in found["search.points.0.train.x"]


def test_conditions_that_exclude_each_other_never_hold() -> None:
    space = {
        "train.optimizer.kind": {"choice": ["adamw", "sgd"]},
        "train.optimizer.momentum": {"range": [0, 0.9], "when": {"train.optimizer.kind": "sgd"}},
        "train.l1": {"range": [0, 1], "when": {"train.optimizer.momentum": 0.5, "train.optimizer.kind": "adamw"}},
    }
    assert "train.optimizer.kind would have to be" in told(space)["search.space.train.l1.when"]


def test_values_that_are_fine_alone_and_not_together() -> None:
    space = {"model.dim": {"choice": [40, 48]}, "model.heads": {"choice": [8, 5]}}
    found = told(space, model={"kind": "ft_transformer", "dim": 40})
    assert found == {
        "search.space.model.dim": "would try 48 together with model.heads=5, but model dim=48 is not a multiple of "
        "heads=5; 50 is"
    }


def test_a_value_is_tried_with_others_of_the_space_not_with_the_files_own() -> None:
    """heads=8 of the file never meets dim=99: a trial always has the heads of the space."""
    space = {"model.dim": {"choice": [96, 99]}, "model.heads": {"choice": [3]}}
    assert told(space, model={"kind": "ft_transformer"}) == {}


def test_a_grid_needs_an_end() -> None:
    found = told({"train.peak_lr": {"log": [1e-3, 0.1]}}, search={"sampler": "grid"})
    assert "a grid over it has no end" in found["search.space.train.peak_lr"]


def test_a_point_that_contradicts_itself() -> None:
    found = told(KINDS, search={"points": [{"model.kind": "table_resnet", "model.hidden": [64]}]})
    assert found == {"search.points.0.model.hidden": "is not drawn where model.kind is table_resnet; leave it out"}


def test_another_kind_of_model_begins_from_its_own_defaults() -> None:
    wanted = experiment(KINDS, model={"kind": "mlp", "hidden": [32], "dropout": 0.4, "max_embedding_dim": 5})
    other = applies(wanted, {"model.kind": "table_resnet", "model.dim": 192})
    assert other.model.model_dump() == {**type(other.model)(kind="table_resnet").model_dump(), "dim": 192}
    own = applies(wanted, {"model.kind": "mlp", "model.hidden": [64]})
    assert (own.model.hidden, own.model.dropout, own.model.max_embedding_dim) == ((64,), 0.4, 5)
    assert wanted.model.hidden == (32,), "the experiment itself stays as it is"


def test_overrides_leave_the_experiment_as_it_was() -> None:
    wanted = experiment({"train.peak_lr": {"log": [1e-3, 0.1]}}, train={"optimizer": {"kind": "sgd"}})
    before = dump_experiment(wanted)
    assert apply_overrides(wanted, {"train.optimizer.momentum": 0.5}).train.optimizer.momentum == 0.5
    assert dump_experiment(wanted) == before


def test_a_space_survives_its_file_and_its_run_folder(tmp_path: Path) -> None:
    wanted = experiment(KINDS, search={"points": [{"model.kind": "mlp"}], "from": ["earlier"]})
    for text in (dump_experiment(wanted), dump_yaml(as_written(wanted))):
        file = tmp_path / "e.yaml"
        file.write_text(text)
        assert load_experiment(file).search == wanted.search


def test_conditions_can_be_set_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(dump_yaml(as_written(experiment(KINDS))))
    changed = load_experiment(file, ["search.space.model.dim.when.model.kind=[table_resnet]"])
    assert changed.search.space["model.dim"].when == {"model.kind": ["table_resnet"]}
    with pytest.raises(ConfigError, match=r"waits for model\.kind to be resnet"):
        load_experiment(file, ["search.space.model.dim.when.model.kind=resnet"])


@pytest.mark.parametrize("key", ["data.query", "data.missing", "data.split.seed", "train.epochs"])
def test_what_decides_which_rows_judge_is_not_searched(key: str) -> None:
    with pytest.raises(ValidationError, match=f"{key} cannot be searched: trials would not be comparable"):
        SearchConfig.model_validate({"space": {key: {"choice": ["a", "b"]}}})


def test_a_setting_that_no_trial_looks_at_is_refused() -> None:
    momentum = {"train.optimizer.momentum": {"range": [0.5, 0.9]}}
    assert told(momentum) == {
        "search.space.train.optimizer.momentum": "has no effect: it is of sgd, and train.optimizer.kind is adamw"
    }
    assert told({**momentum, "train.optimizer.kind": {"choice": ["adamw", "sgd"]}}) == {}
    assert told(momentum, train={"optimizer": {"kind": "sgd"}}) == {}
