"""A table and its target to a config: every choice can be seen in the text, and every text loads."""

from pathlib import Path

import numpy as np
import pytest

from cluster.init_config import config_text
from training.config import Experiment
from training.config_file import load_experiment
from training.errors import DataError


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
        f"id-{i},{draw.normal():.3f},{'?' if i % 9 == 0 else 'ab'[i % 2]},{'bad' if i % 20 == 0 else 'good'}"
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
