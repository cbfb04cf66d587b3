"""What is said of the keys of `compress`: the true problem alone, and when a key is of use."""

from pathlib import Path

import pytest

from training.config_file import explain, load_experiment
from training.errors import ConfigError


def problems(folder: Path, *overrides: str) -> str:
    path = folder / "tiny.yaml"
    path.write_text("name: tiny\ndata: {source: table.csv, target: y}\n")
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, overrides)
    return str(caught.value)


def test_a_share_that_is_wrong_is_not_said_to_be_missing_too(tmp_path: Path) -> None:
    said = problems(tmp_path, "compress.prune.sparsity=[1.5]")
    assert "has 1 problem" in said
    assert "compress.prune.sparsity.0  is 1.5, must be below 1" in said
    assert "longer" not in said
    assert "must be longer: at least 1, not 0" in problems(tmp_path, "compress.prune.sparsity=[]")


def test_keys_of_settings_with_several_kinds_are_not_said_to_be_of_the_first() -> None:
    when = {key.key: key.when for key in explain()}
    assert when["compress.prune.sparsity"] == when["train.schedule.patience"] == when["data.split.by"] == ""
    assert when["search.scheduler.p_value"] == "kind=racing"
    assert when["model.pool"] == "kind=transformer"


def test_it_is_said_which_losses_are_shares() -> None:
    meaning = {key.key: key.meaning for key in explain()}
    assert "less is better, as rmse or log_loss, its rise as a share" in meaning["compress.max_drop"]
    assert "of a regression the rise of its mean absolute error as a share" in meaning["compress.max_slice_drop"]
