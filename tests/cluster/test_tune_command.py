"""`manta tune` as it is typed: what it prints, how it goes on, what it refuses before Ray is started, --more."""

import json
from pathlib import Path

import pytest
import yaml

from cluster.commands.experiment import tune
from cluster.summary_text import tune_text
from training.errors import ConfigError, StorageError
from training.journal import Journal

SEARCH = {
    "trials": 3, "sampler": "random", "scheduler": "none", "fuse": False,
    "space": {"train.peak_lr": {"log": [1.0e-4, 1.0e-1]}},
}  # fmt: skip


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """A config over a table that can be changed."""
    rows = [f"{i % 7},{i % 3 + i % 5 / 10},{'ab'[i % 2]}\n" for i in range(80)]
    (tmp_path / "flowers.csv").write_text("x,y,kind\n" + "".join(rows))
    config = {
        "name": "flowers", "storage": str(tmp_path / "runs"),
        "data": {"source": str(tmp_path / "flowers.csv"), "target": "kind"},
        "model": {"kind": "mlp", "hidden": [4]},
        "train": {"epochs": 2, "global_batch_size": 32, "early_stopping": None}, "search": SEARCH,
    }  # fmt: skip
    path = tmp_path / "flowers.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def trials(tmp_path: Path) -> list[str]:
    return [event["trial"] for event in Journal(tmp_path / "runs" / "flowers" / "journal.jsonl").events("trial")]


@pytest.mark.slow
def test_it_searches_extends_and_refuses_what_changed(
    shared_ray: list[str], flowers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=r"there is no search in .* to extend by 2 trials"):
        tune(flowers, more=2)
    assert shared_ray == []
    tune(flowers, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["trial"], found["metric"]) in [(f"t000{i}", "validation/accuracy") for i in range(3)]
    assert found["ended"] == "all 3 trials have ended"
    assert sorted(trials(tmp_path)) == ["t0000", "t0001", "t0002"]
    checkpoints = tmp_path / "runs" / "flowers" / "checkpoints"
    assert [path.name for path in checkpoints.iterdir() if not path.name.startswith(".")] == [found["trial"]]
    tune(flowers)
    said = capsys.readouterr().err
    assert "the search is done" in said
    assert "data  " not in said, "what is done needs no data"

    changed = json.dumps({**SEARCH["space"], "model.dropout": {"range": [0.0, 0.5]}})  # type: ignore[dict-item]
    with pytest.raises(StorageError, match=r"a different experiment:\n  search.space.model.dropout"):
        tune(flowers, [f"search.space={changed}", "search.trials=5"])
    before = len(shared_ray)
    table = tmp_path / "flowers.csv"
    table.write_text(table.read_text() + "1,1.5,a\n")
    with pytest.raises(StorageError, match=r"the data of .* changed since this run began"):
        tune(flowers, more=2)
    assert len(shared_ray) == before, "nothing was started for what is refused"
    tune(flowers, more=2, accept_changed_data=True)
    said = capsys.readouterr().err
    assert "what is not done yet goes on with the new data" in said
    assert "the search goes on: 3 ended before, 2 of 5 trials left" in said
    assert sorted(trials(tmp_path)) == [f"t{i:04d}" for i in range(5)]
    tune(flowers)
    assert "is best of 5 trials" in capsys.readouterr().err, "the file's 3 do not take the extension back"


def test_without_a_search_no_run_is_begun(flowers: Path, tmp_path: Path) -> None:
    flowers.write_text(yaml.safe_dump({**yaml.safe_load(flowers.read_text()), "search": None}))
    with pytest.raises(ConfigError, match="flowers has no search section"):
        tune(flowers)
    assert not (tmp_path / "runs").exists()


def test_several_objectives_are_told_with_the_front() -> None:
    values = {"t0003": {"score": 0.96, "size_mb": 0.25}, "t0001": {"score": 0.5, "size_mb": None}}
    outcome = {
        "trial": "t0003", "metric": "validation/accuracy", "score": 0.96, "values": values["t0003"],
        "params": {"model.hidden": [8, 8], "train.early_stopping": None}, "ended": "all 3 trials have ended",
        "front": [*values], "front_values": values,
    }  # fmt: skip
    assert tune_text(outcome).splitlines() == [
        "validation/accuracy: 0.9600 (t0003)", "size_mb: 0.25", "model.hidden: [8, 8]", "train.early_stopping: null",
        "ended: all 3 trials have ended", "", "the Pareto front: no trial is better than one of these in everything",
        "  trial  score   size_mb", "  t0003  0.9600  0.25", "  t0001  0.5000  -",
    ]  # fmt: skip


@pytest.mark.slow
def test_an_earlier_run_teaches_and_a_budget_yields_what_was_found(
    shared_ray: list[str], flowers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tune(flowers)
    config = yaml.safe_load(flowers.read_text())
    search = {
        **SEARCH,
        "sampler": "tpe",
        "startup_trials": 2,
        "from": ["flowers"],
        "trials": 4,
        "budget": {"target": 0.1},
    }
    flowers.write_text(yaml.safe_dump(config | {"name": "later", "search": search}))
    capsys.readouterr()
    tune(flowers, as_json=True)
    said = capsys.readouterr()
    assert "3 of 3 trials of flowers are known" in said.err
    assert "has reached the target of 0.1000" in json.loads(said.out)["ended"]
    events = list(Journal(tmp_path / "runs" / "later" / "journal.jsonl").events("trial"))
    assert 1 <= len(events) < 4
    assert all(event["source"] in ("sampler", "point", "random") for event in events)
    tune(flowers, ["search.budget.target=null"], as_json=True)
    assert json.loads(capsys.readouterr().out)["ended"] == "all 4 trials have ended"


@pytest.mark.slow
def test_a_budget_below_one_trial_says_what_would_do_and_a_larger_one_goes_on(
    shared_ray: list[str], flowers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trial of many epochs: the clock ends it long before."""
    long = ["train.epochs=8000", "search.trials=1"]
    tune(flowers, [*long, "search.budget.wall_s=14"], as_json=True)
    said = capsys.readouterr()
    note = next(line for line in said.err.splitlines() if "search.budget.wall_s is too small for a trial" in line)
    assert float(note.partition("takes about")[2].split(";")[1].split()[0]) > 14
    assert json.loads(said.out)["trial"] == "t0000", "the best as far as it came"
    assert trials(tmp_path) == []
    checkpoints = tmp_path / "runs" / "flowers" / "checkpoints" / "t0000"
    assert checkpoints.exists(), "the trial is saved, and goes on"
    tune(flowers, [*long, "search.budget.wall_s=10000"], as_json=True)
    (event,) = Journal(tmp_path / "runs" / "flowers" / "journal.jsonl").events("trial")
    assert (event["epochs"], event["attempts"], event["state"]) == (8000, 2, "complete")
    assert event["recomputed_s"] < 0.5
