"""Every YAML that ships loads, is short, and names nothing that is not there."""

from pathlib import Path

import pytest

from training.config import Experiment
from training.config_file import load_experiment

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def test_the_promised_ones_are_there() -> None:
    assert {path.stem for path in CONFIGS} >= {"digits", "adult"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_loads_and_fits_a_page(path: Path) -> None:
    assert isinstance(load_experiment(path), Experiment)
    assert len(path.read_text().splitlines()) < 40


def test_digits_runs_as_64_numbers_too() -> None:
    path = next(path for path in CONFIGS if path.stem == "digits")
    changed = ["data.image_shape=null", "model={kind: mlp}", "search=null"]
    assert load_experiment(path, changed).data.image_shape is None
