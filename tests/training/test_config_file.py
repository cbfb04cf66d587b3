"""Every problem of a config at once, each with its key, what was got and what is allowed."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import Experiment
from training.config_file import apply_overrides, dump_experiment, explain, json_schema, load_experiment
from training.errors import ConfigError
from training.yaml_text import dump_yaml, parse_yaml

SMALLEST = "name: tiny\ndata: {source: table.csv, target: y}\n"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(SMALLEST)
    return path


def problems(path: Path, text: str, *overrides: str) -> str:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, overrides)
    return str(caught.value)


def test_the_smallest_config_is_fine(config: Path) -> None:
    assert load_experiment(config).train.epochs == 30


def test_all_problems_come_at_once_each_with_its_key(config: Path) -> None:
    said = problems(config, "name: tiny\ndata: {source: 3}\ntrain: {peak_lr: 3.0, epoch: 3, workers: x}\nextra: 1\n")
    assert "has 6 problems" in said
    for line in (
        "data.source    is 3, must be text",
        "data.target    is missing (text or list of text: the column to predict",
        "train.peak_lr  is 3.0, must be below 1",
        "train.epoch    is not a known key (nearest: train.epochs)",
        'train.workers  is the text "x", must be a whole number or a mapping of keys to values',
        "extra          is not a known key",
    ):
        assert line in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {epochs: '3'}", 'train.epochs  is the text "3", must be a whole number'),
        ("train: {epochs: 3.5}", "train.epochs  is 3.5, must be a whole number"),
        ("train: {peak_lr: .nan}", "train.peak_lr  is nan, must be a finite number"),
        ("train: {device: cuda}", 'train.device  is "cuda", must be one of auto, cpu, gpu'),
        ("model: {kind: cnn}", "model  has kind cnn, must be one of mlp, convnet"),
        ("model: {channels: [3]}", "model.channels  is a key of another model (kind=convnet)"),
        ("model: {kind: convnet}", "needs data.image_shape"),
        ("train: {workers: {min: 4, max: 2}}", "train.workers  min=4 is above max=2"),
        ("search: {space: {train.peaklr: {int: [1, 2]}}}", "is not a key of the experiment (nearest: train.peak_lr)"),
        ("search: {space: {train.peak_lr: {log: [0.1, 3]}}}", "would try 3.0, but train.peak_lr is 3.0, must be below"),
        ("search: {space: {train.global_batch_size: {range: [8, 64]}}}", "write {int: [8, 64]}"),
        ("search: {space: {model.hidden: {choice: [[8], 8]}}}", "would try 8, but model.hidden is 8, must be a list"),
        ("search: {space: {train.peak_lr: {lg: [1, 2]}}}", "must be one of {choice: [...]}"),
        ("search: {space: {model.kind: {choice: [mlp, convnet]}}}", "model.kind=convnet needs data.image_shape"),
        ("search: {space: {model.target: {choice: ['a:B']}}}", "cannot be searched: each class has arguments"),
        ("search: {space: {train.epochs: {int: [1, 3]}}}", "cannot be searched"),
        ("search: {metric: accuracy, space: {train.peak_lr: {range: [0.1, 0.2]}}}", "must be validation/<metric>"),
    ],
)  # fmt: skip
def test_one_problem(config: Path, text: str, said: str) -> None:
    assert said in problems(config, f"{SMALLEST}{text}\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("- a\n- b\n", "holds a list, must be a mapping"),
        ("just words", 'holds the single value "just words"'),
        ("name: [a\n", "is not YAML at line"),
        ("name: a\nname: b\n", "name stands twice: line 1 and line 2"),
        ("a: &x [*x]\n", "cannot be plain data"),
        ("a: !!python/object/apply:os.system [ls]\n", "is not YAML at line 1"),
    ],
)
def test_what_is_no_config_at_all(config: Path, text: str, said: str) -> None:
    assert said in problems(config, text)


def test_a_missing_file_lists_what_is_nearby(config: Path) -> None:
    with pytest.raises(ConfigError, match=r"tiny\.yaml"):
        load_experiment(config.parent / "tinny.yaml")


def test_overrides_are_read_as_yaml_and_named_when_wrong(config: Path) -> None:
    experiment = load_experiment(
        config, ["train.peak_lr=3e-4", "train.workers.min=2", "train.workers.max=4", "search=null"]
    )
    assert (experiment.train.peak_lr, experiment.train.max_workers) == (3e-4, 4)
    said = problems(config, SMALLEST, "traain.epochs=3", "train.peak_lr=9")
    assert "traain.epochs  is not a known key (nearest: train.epochs) (from --set)" in said
    assert "train.peak_lr  is 9.0, must be below 1 (from --set)" in said or "is 9, must be below 1 (from --set)" in said
    assert "not of the form key=value" in problems(config, SMALLEST, "train.epochs")


def test_keys_with_dots_inside_a_search_space_and_columns(config: Path) -> None:
    experiment = load_experiment(
        config, ["search.space.train.peak_lr={log: [1e-4, 1e-1]}", "data.columns.a.b=categorical"]
    )
    assert experiment.search is not None
    assert list(experiment.search.space) == ["train.peak_lr"]
    assert experiment.data.columns == {"a.b": "categorical"}


@pytest.mark.parametrize(
    ("override", "where", "value"),
    [
        ("data.columns.age=numeric", ["columns", "age"], "numeric"),
        ("data.columns.age={kind: numeric, log: true}", ["columns", "age", "log"], True),
        ("data.checks.columns.age.min=3", ["checks", "columns", "age", "min"], 3),
        ("data.checks.columns.a.b.max=3", ["checks", "columns", "a.b", "max"], 3),
        ("data.checks.columns.age={min: 3}", ["checks", "columns", "age", "min"], 3),
        ("data.pii.e.mail=drop", ["pii", "e.mail"], "drop"),
        ("data.rename.a=b", ["rename", "a"], "b"),
        ("train.imbalance.class_weights.yes=2.5", None, None),
    ],
)
def test_free_names_may_be_followed_by_known_fields(
    config: Path, override: str, where: list[str] | None, value: object
) -> None:
    found = load_experiment(config, [override]).model_dump(mode="json")["data"]
    for part in where or []:
        found = found[part]
    assert found == value or where is None


def test_places_of_lists_can_be_set(config: Path) -> None:
    more = "data: {source: t.csv, target: y, join: [{source: a.csv, on: id}, {source: b.csv, on: id}]}"
    config.write_text(f"name: tiny\n{more}\n")
    joins = load_experiment(config, ["data.join.1.on=key", "data.join.1.rename.x=z", "data.join.0.how=inner"]).data.join
    assert [(join.source, join.on, join.how) for join in joins] == [("a.csv", "id", "inner"), ("b.csv", "key", "left")]
    assert joins[1].rename == {"x": "z"}
    config.write_text(SMALLEST)
    (join,) = load_experiment(config, ["data.join.0.source=a.csv", "data.join.0.on=[id, day]"]).data.join
    assert join.keys == {"id": "id", "day": "day"}


def test_problems_inside_lists_and_free_names_have_their_place(config: Path) -> None:
    said = problems(
        config,
        "name: tiny\ndata:\n  source: t.csv\n  target: y\n  join: [{source: a.csv}, {source: b.csv, onn: id}]\n"
        "  columns: {age: number, zip: {}, day: {kind: date, scale: none}}\n  checks: {columns: {age: {mim: 3}}}\n",
    )
    for line in (
        "data.join.0.on  is missing (mapping or list of text or text: key: a column that both have",
        "data.join.1.onn  is not a known key (nearest: data.join.<n>.on)",
        'data.columns.age  is "number", must be one of numeric, categorical, date, text, image',
        "data.columns.zip  is {}, must be numeric, categorical, date, text or image, or a mapping",
        "data.columns.day.scale  is a key of another kind (kind=numeric)",
        "data.checks.columns.age.mim  is not a known key (nearest: data.checks.columns.<name>.min)",
    ):
        assert " ".join(line.split()) in " ".join(said.split())


def test_a_trial_changes_only_its_keys(config: Path) -> None:
    experiment = load_experiment(config)
    changed = apply_overrides(experiment, {"train.peak_lr": 0.1, "model.hidden": [8]})
    assert changed.train.peak_lr == 0.1
    assert changed.model_copy(update={"train": experiment.train, "model": experiment.model}) == experiment
    with pytest.raises(ConfigError, match="below 1"):
        apply_overrides(experiment, {"train.peak_lr": 2.0})


def test_a_resolved_experiment_reads_back_the_same(config: Path, tmp_path: Path) -> None:
    experiment = load_experiment(config, ["data.missing=['1e-3', 'no', '?']", "model={kind: mlp, hidden: [3, 4]}"])
    (tmp_path / "resolved.yaml").write_text(dump_experiment(experiment))
    assert load_experiment(tmp_path / "resolved.yaml") == experiment


def test_every_key_is_explained() -> None:
    keys = explain()
    assert {
        "train.peak_lr", "search.space.<name>.log", "data.columns.<name>", "data.columns.<name>.scale", "model.args",
        "data.checks.columns.<name>.min", "data.join.<n>.on", "data.join.<n>.on.<name>", "data.join.<n>.cast.<name>",
    } <= {key.key for key in keys}  # fmt: skip
    assert all(key.meaning for key in keys if not key.key.endswith(">")), [key.key for key in keys if not key.meaning]
    lr = next(key for key in keys if key.key == "train.peak_lr")
    assert (lr.type, lr.default) == ("number", "0.003")
    assert next(key for key in keys if key.key == "serve.max_body_mb").unit == "MB"


def test_the_json_schema_refuses_unknown_keys() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"name", "data"}


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configs_load(path: Path) -> None:
    assert isinstance(load_experiment(path), Experiment)


def test_no_heavy_library_is_loaded() -> None:
    code = (
        "import sys, training.config_file; print([m for m in ('torch', 'ray', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-3", 3e-3),
        ("1e5", 1e5),
        ("no", "no"),
        ("0123", 123),
        ("2020-01-01", "2020-01-01"),
        ("12:30", "12:30"),
        ("~", None),
        ("true", True),
    ],
)
def test_plain_values_are_what_people_expect(text: str, value: object) -> None:
    assert parse_yaml(text, "text") == value


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
def test_what_we_write_we_read_back(value: object) -> None:
    assert parse_yaml(dump_yaml(value), "text") == value
