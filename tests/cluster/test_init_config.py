"""A table and its target to a config: every choice can be seen in the text, and every text loads."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cluster.init_config import _name_of, config_text
from training.config import Experiment
from training.config_file import load_experiment
from training.data.prepare import prepare
from training.errors import ConfigError, DataError


def load(text: str, tmp_path: Path) -> Experiment:
    (tmp_path / "made.yaml").write_text(text)
    return load_experiment(tmp_path / "made.yaml")


def test_digits_are_seen_as_images(tmp_path: Path) -> None:
    experiment = load(config_text("sklearn:digits", "target"), tmp_path)
    assert experiment.data.image_shape == (1, 8, 8)
    assert getattr(experiment.model, "kind", "") == "convnet"


def test_a_regression_keeps_the_default_metric(tmp_path: Path) -> None:
    text = config_text("sklearn:diabetes", "target")
    assert "a regression" in text
    assert load(text, tmp_path).search is not None


def test_markers_row_names_and_a_rare_class_are_noticed(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    lines = [
        f"id-{i},{draw.normal():.3f},{'?' if i % 9 == 0 else 'ab'[i % 2]},{'sick' if i % 20 == 0 else 'healthy'}"
        for i in range(400)
    ]
    (tmp_path / "My Table.csv").write_text("\n".join(["key,size,kind,verdict", *lines]))
    text = config_text(str(tmp_path / "My Table.csv"), "verdict")
    experiment = load(text, tmp_path)
    assert experiment.name == "my-table"
    assert experiment.data.ignore == ("key",)
    assert "?" in experiment.data.missing
    assert experiment.search is not None
    assert experiment.search.metric == "validation/average_precision"
    assert "5.0% of the rows" in text


def test_a_rare_class_that_sorts_first_is_not_judged_by_the_average_precision_of_the_other(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,verdict\n" + "".join(f"{i},{'good' if i % 20 else 'bad'}\n" for i in range(400)))
    search = load(config_text(str(tmp_path / "t.csv"), "verdict"), tmp_path).search
    assert search is not None
    assert search.metric == "validation/roc_auc"


def test_whole_numbers_kept_as_floats_are_classes_and_the_config_says_so(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,empty,y\n" + "".join(f"{i},,{i % 3}.0\n" for i in range(60)))
    experiment = load(config_text(str(tmp_path / "t.csv"), "y"), tmp_path)
    assert experiment.data.task == "classification"
    assert experiment.data.ignore == ("empty",)
    assert prepare(experiment.data).facts.labels == ("0", "1", "2")


def test_a_folder_of_images_gets_the_size_of_its_images(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for i in range(24):
        path = tmp_path / "pets" / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (96, 128, 3), np.uint8)).save(path)
    experiment = load(config_text(str(tmp_path / "pets"), "label"), tmp_path)
    assert experiment.data.image_shape == (3, 48, 64)
    assert experiment.data.ignore == ("path",)
    assert getattr(experiment.model, "kind", "") == "convnet"
    assert prepare(experiment.data).facts.labels == ("cat", "dog")


def test_json_lines_and_rows_that_cannot_be_read(tmp_path: Path) -> None:
    rows = [{"x": i, "kind": "ab"[i % 2], "y": "uv"[i % 2 if i % 7 else 0]} for i in range(199)]
    rows[20]["x"] = "unknown"
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = config_text(str(tmp_path / "t.jsonl"), "y")
    assert "# 1 of 199 rows cannot be read, such as row 20, x: is no number" in text
    experiment = load(text, tmp_path)
    assert experiment.data.checks.max_bad_fraction == 0.006
    prepared = prepare(experiment.data)
    assert len(prepared.train) + len(prepared.validation) + len(prepared.test) == 198


def test_question_marks_among_numbers_are_missing_values(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{i if i % 20 else '?'},{'uv'[i % 2]}\n" for i in range(60)))
    experiment = load(config_text(str(tmp_path / "t.csv"), "y"), tmp_path)
    assert "?" in experiment.data.missing
    assert experiment.data.checks.max_bad_fraction == 0


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("sklearn:wine", "wine"),
        ("s3://bucket/My Data/train.parquet?region=eu", "train"),
        ("s3://bucket/parts/*", "parts"),
        ("data/t.csv", "t"),
        ("my.module:my_table", "my_table"),
    ],
)
def test_the_name_comes_from_the_source(source: str, name: str) -> None:
    assert _name_of(source) == name


def test_a_name_that_no_config_may_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--name my-exp"):
        config_text("sklearn:wine", "target", "My Exp")


def test_a_file_without_a_header_gets_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n".join(f"{i % 7},{i % 2 + 10}" for i in range(50)))
    source = str(tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"--names"):
        config_text(source, "y")
    assert load(config_text(source, "y", names=("x", "y")), tmp_path).data.names == ("x", "y")


def test_every_choice_has_a_reason() -> None:
    lines = config_text("sklearn:wine", "target").splitlines()
    for key in ("model:", "train:", "    train.peak_lr", "    model.hidden", "    model.dropout", "compress:"):
        at = next(i for i, line in enumerate(lines) if line.startswith(key))
        assert lines[at - 1].lstrip().startswith("#"), lines[at]
