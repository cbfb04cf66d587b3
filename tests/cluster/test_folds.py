"""`manta train --folds` as it is typed: a table on stdout, the predictions' place, and requests that make no sense."""

import json
from pathlib import Path

import pytest

from cluster.commands.experiment import train
from cluster.commands.runs import runs
from training.errors import ConfigError


def test_it_prints_a_table_and_says_where_the_predictions_are(
    shared_ray: list[str], iris_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = tmp_path / "runs"
    train(iris_config, folds=3, refit=False, storage=str(storage))
    said = capsys.readouterr()
    assert said.out.startswith("iris: 3 random folds of 128 rows, 1 seed each\nfold  seed")
    assert "interval: corrected resampled t interval" in said.out
    assert "no model of all rows was trained" in said.out
    assert "not those of its search's best trial" in said.err
    assert f"{storage}/iris/out_of_fold.parquet" in said.err
    train(iris_config, folds=3, refit=False, storage=str(storage), as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert [each["fold"] for each in printed["folds"]] == [0, 1, 2]
    assert Path(printed["files"]["out_of_fold_mean"]).exists()
    assert shared_ray == ["session"], "what is done needs no Ray"
    runs(storage=str(storage))
    assert "3 folds" in capsys.readouterr().out
    runs(storage=str(storage), as_json=True)
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["cross_validation"]["mean"] == printed["scores"]["accuracy"]["mean"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"folds": 1}, "folds is 1, must be 2 to 1000"),
        ({"folds": 3, "seeds": 0}, "seeds is 0, must be at least 1"),
        ({"seeds": 3}, "are for a cross-validation"),
        ({"refit": False}, "are for a cross-validation"),
    ],
)
def test_flags_that_make_no_sense_are_refused_before_anything_starts(
    shared_ray: list[str], iris_config: Path, tmp_path: Path, flags: dict[str, int], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        train(iris_config, storage=str(tmp_path / "runs"), **flags)  # type: ignore[arg-type]  # one flag each
    assert shared_ray == []
    assert not (tmp_path / "runs").exists()
