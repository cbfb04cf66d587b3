"""`manta train --from RUN/TRIAL`: a search's trial again, by itself, and its scores beside those of the search."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.commands.experiment import train, tune
from cluster.from_trial import FromTrial, from_trial_text
from training.errors import ConfigError, StorageError
from training.event_text import counted
from training.journal import Journal

CONFIG: dict[str, Any] = {
    "name": "sought",
    "data": {"source": "sklearn:iris", "target": "target"},
    "model": {"kind": "mlp", "hidden": [8], "dropout": 0.2},
    "train": {"epochs": 6, "global_batch_size": 16, "early_stopping": None},
}
RATES = {"train.peak_lr": {"log": [1.0e-4, 1.0e-1]}}


def searched(tmp_path: Path, search: dict[str, Any], **more: Any) -> dict[str, dict[str, Any]]:
    """A run with a search; its trials."""
    path = tmp_path / "sought.yaml"
    search = {"sampler": "random", "scheduler": "none", "space": RATES, "fuse": False, **search}
    path.write_text(yaml.safe_dump(CONFIG | {"storage": str(tmp_path / "runs"), "search": search} | more))
    tune(path)
    return {event["trial"]: event for event in Journal(tmp_path / "runs" / "sought" / "journal.jsonl").events("trial")}


def again(tmp_path: Path, trial: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The trial again, as JSON."""
    capsys.readouterr()
    train(from_trial=f"sought/{trial}", storage=str(tmp_path / "runs"), as_json=True)
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


@pytest.mark.slow
def test_complete_and_pruned_trials_come_again_to_the_last_bit_and_others_are_refused(
    shared_ray: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first trial has the experiment's own settings; then come a good point, a bad one, and one that cannot be."""
    points = [{"train.peak_lr": 0.03}, {"train.peak_lr": 0.0001}, {"model.hidden": [3, 3], "train.peak_lr": 0.02}]
    space = {**RATES, "model.hidden": {"choice": [[8], [3, 3]]},
             "data.features.numeric.scale": {"choice": ["standard", "robust"]}}  # fmt: skip
    found = searched(
        tmp_path, {"trials": 5, "points": points, "space": space, "scheduler": {"kind": "asha", "grace": 1}}
    )
    started = len(shared_ray)
    by_state = {event["state"]: event for event in found.values()}
    for state in ("complete", "pruned"):
        event = by_state[state]
        told = again(tmp_path, event["trial"], capsys)
        assert told["is_equal"], told
        assert told["now"] == told["then"] == event["curve"]
        assert told["score_now"] == told["score_then"] == event["score"] == max(event["curve"])
        assert Path(told["run"]).name == f"sought-{event['trial']}"
    assert Path(told["checkpoint"]).exists()
    assert len(shared_ray) == started, "one worker on this machine needs no Ray"
    train(from_trial=f"sought/{by_state['pruned']['trial']}", storage=str(tmp_path / "runs"))
    score, epochs = by_state["pruned"]["score"], counted(by_state["pruned"]["epochs"], "epoch")
    said = capsys.readouterr().out
    assert f"again: validation/accuracy {score:.4f} now, {score:.4f} in the search (the best of {epochs})" in said
    assert "equal to the last bit" in said
    with pytest.raises(ConfigError, match=r"has no ended trial t0099"):
        again(tmp_path, "t0099", capsys)
    with pytest.raises(ConfigError, match="names no trial"):
        train(from_trial="sought", storage=str(tmp_path / "runs"))
    with pytest.raises(ConfigError, match="brings its own settings"):
        train(from_trial="sought/t0000", overrides=["train.epochs=3"])
    journal = Journal(tmp_path / "runs" / "sought" / "journal.jsonl")
    journal.append("trial", trial="t0007", state="failed", params={}, cause="ValueError: no", curve=[], epochs=0)
    with pytest.raises(ConfigError, match="t0007 failed, so there is no score to make again: ValueError: no"):
        again(tmp_path, "t0007", capsys)


def test_the_score_is_the_one_that_the_search_counts_not_that_of_the_last_training() -> None:
    scores = (0.9, 1.0, 0.8)
    told = FromTrial(
        trial="t0003", run="", metric="validation/accuracy", then=scores, now=scores, score_then=1.0, score_now=1.0,
        is_mean=False, is_equal=True, largest_difference=0.0, checkpoint="", why="",
    )  # fmt: skip
    said = "t0003 again: validation/accuracy 1.0000 now, 1.0000 in the search (the best of 3 epochs)"
    assert from_trial_text(told).splitlines() == [said, "all 3 scores equal to the last bit"]
    folds = {"score_then": 0.9, "score_now": None, "is_mean": True, "is_equal": False, "largest_difference": 0.1}
    said = "t0003 again: validation/accuracy - now, 0.9000 in the search (the mean of 3 trainings)"
    assert from_trial_text(told.model_copy(update={**folds, "why": "a GPU"})).splitlines() == [
        said, "scores differ by 0.1 at most", "why: a GPU",
    ]  # fmt: skip


@pytest.mark.slow
def test_folds_come_again_to_the_last_bit(
    shared_ray: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = searched(tmp_path, {"trials": 2, "folds": 3, "seeds": 2})
    told = again(tmp_path, "t0001", capsys)
    assert told["is_equal"], told
    assert told["now"] == [part["score"] for part in found["t0001"]["replicates"]]
    assert len(told["now"]) == 6
    assert told["is_mean"]
    assert told["score_now"] == told["score_then"] == pytest.approx(sum(told["now"]) / 6)
    assert told["checkpoint"] == ""


@pytest.mark.slow
def test_a_lane_of_a_stack_comes_close_and_says_why(
    shared_ray: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = searched(
        tmp_path, {"trials": 8, "fuse": True, "lanes": 4}, data={"source": "sklearn:digits", "target": "target"}
    )
    lane = max(found, key=lambda trial: int(found[trial]["lanes"]))
    assert found[lane]["lanes"] > 1
    told = again(tmp_path, lane, capsys)
    assert told["largest_difference"] < 0.02, "a row or two of 269"
    if not told["is_equal"]:
        assert (
            told["why"]
            == f"the search trained it in a stack of {found[lane]['lanes']}, which adds numbers in another order"
        )


@pytest.mark.slow
def test_other_data_are_refused(shared_ray: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "t.csv"
    table.write_text("a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(60)))
    searched(tmp_path, {"trials": 1}, data={"source": str(table), "target": "y"})
    table.write_text(table.read_text() + "3,1\n")
    with pytest.raises(StorageError, match="the data of sought changed since its search"):
        again(tmp_path, "t0000", capsys)
