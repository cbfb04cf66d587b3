"""`manta reproduce`: the same bits where nothing changed, the difference and its cause where something did."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import typer

from cluster.commands.reproduce import reproduce
from cluster.console import Console, Level
from cluster.folds import cross_validate
from cluster.place import Place
from cluster.reproduce import reproduce as make
from cluster.train import train as train_once
from training.config import Experiment
from training.config_file import load_experiment
from training.cross_validation.record import FoldsPlan
from training.errors import ConfigError, StorageError, TrainingFailed
from training.pipeline import train, working
from training.progress import Silent
from training.reproduce import weights_digest
from training.run_folder import RunFolder
from training.run_record import RunRecord
from training.search.result import SearchResult

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.layer = nn.Linear(inputs.num_numeric, inputs.num_outputs)

    def forward(self, numeric_BF):
        return self.layer(numeric_BF) * FACTOR
"""


@pytest.fixture(autouse=True)
def _shared_ray(ray_2_cpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def session(self: Place) -> Iterator[None]:
        yield

    monkeypatch.setattr(Place, "session", session)


def experiment(folder: Path, name: str = "iris", **more: object) -> Experiment:
    return Experiment.model_validate(
        {
            "name": name,
            "storage": str(folder / "runs"),
            "data": {"source": "sklearn:iris", "target": "target"},
            "model": {"kind": "mlp", "hidden": [4], "dropout": 0.2},
            "train": {"epochs": 3, "global_batch_size": 32, "deterministic": True},
            "compress": {"forms": []},
        }
        | more
    )


def trained(wanted: Experiment, place: Place | None = None) -> Path:
    train_once(wanted, Console(Level.QUIET), place or Place())
    return RunFolder.of(wanted).path


class Told(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_run_comes_out_bit_equal_and_the_new_one_is_taken_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained(experiment(tmp_path))
    reproduce("iris", storage=str(folder.parent))
    said = capsys.readouterr().out
    assert "verdict    bit-equal" in said
    assert "scores     the same bits in all of 3 epochs" in said
    assert [path.name for path in folder.parent.iterdir()] == ["iris"]
    reproduce("iris", storage=str(folder.parent), keep=True, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert (printed["comparison"]["verdict"], printed["is_kept"]) == ("bit-equal", True)
    assert load_experiment(Path(printed["again"]) / "experiment.yaml").name == "iris-reproduced"
    again = make(folder, Silent(), Place(), keep=True)
    assert again.again.endswith("iris-reproduced-2"), "a finished one is not taken for the new one"


def test_other_code_of_ones_own_is_said_first_and_named_as_the_cause(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model is the same but for a factor, so that weights can be compared and are not equal."""
    code = tmp_path / "own_net_code"
    code.mkdir()
    (code / "own_net_reproduced.py").write_text(NET.replace("FACTOR", "1.0"))
    folder = trained(experiment(tmp_path, "own", model={"target": "own_net_reproduced:Net"}), Place(code_folder=code))
    other = tmp_path / "other"
    other.mkdir()
    (other / "own_net_reproduced.py").write_text(NET.replace("FACTOR", "1.5"))
    sys.modules.pop("own_net_reproduced")
    sys.path.remove(str(code))
    with pytest.raises(typer.Exit) as left:
        reproduce(str(folder), code=other)
    assert left.value.exit_code == 1
    said = capsys.readouterr()
    assert "verdict    different" in said.out
    assert "first difference in epoch 1, train/loss" in said.out
    assert "own code: your own code:" in said.out
    assert said.err.index("differs: your own code") < said.err.index("epoch 1/3"), "before it trains"
    assert (folder.parent / "own-reproduced").exists(), "there is something to look at"


def test_a_searchs_best_trial_is_trained_again_with_its_own_settings(tmp_path: Path) -> None:
    wanted = experiment(tmp_path, "sought", search={"space": {"train.peak_lr": {"log": [0.001, 0.1]}}})
    with working(wanted, Silent(), "run") as work:
        best = train(work, SearchResult("t0007", {"train.peak_lr": 0.077}, 0.9, 8, 0, 0))
    found = make(RunFolder.of(wanted).path, Silent(), Place(), keep=True)
    assert found.comparison.verdict == "bit-equal"
    again = RunRecord.read(Path(found.again)).last("fit")
    assert (again["trial"], again["params"]) == ("t0007", {"train.peak_lr": 0.077})
    with working(wanted.model_copy(update={"name": "plain"}), Silent(), "train") as work:
        plain = train(work)
    assert weights_digest(plain.weights) != weights_digest(best.weights), "or the trial's rate would not show"


def test_the_model_of_all_rows_after_folds_is_trained_again_without_the_folds(tmp_path: Path) -> None:
    wanted = experiment(tmp_path, "folded")
    cross_validate(wanted, Silent(), Place(), FoldsPlan(2))
    found = make(RunFolder.of(wanted).path, Silent(), Place(), keep=True)
    assert found.comparison.verdict == "bit-equal"
    assert found.comparison.num_epochs[0] >= 1
    assert not (Path(found.again) / "folds").exists()


def test_other_data_is_said_before_it_is_learned_from(tmp_path: Path) -> None:
    lines = [f"{i % 7},{i * 3 % 11},{'ab'[i % 7 > 3]}" for i in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["x,y,label", *lines]) + "\n")
    folder = trained(experiment(tmp_path, "rows", data={"source": str(tmp_path / "rows.csv"), "target": "label"}))
    (tmp_path / "rows.csv").write_text("\n".join(["x,y,label", *lines[5:], *lines[:5]]) + "\n")
    told = Told()
    found = make(folder, told, Place())
    assert any("data fingerprint" in note for note in told.notes)
    assert found.comparison.verdict == "different"
    assert found.comparison.causes[0].startswith("data: data fingerprint")


def test_what_cannot_be_compared_is_refused_before_it_trains(tmp_path: Path) -> None:
    folder = trained(experiment(tmp_path, "kept"))
    with pytest.raises(ConfigError, match="takes only what says where to train"):
        make(folder, Silent(), Place(), overrides=["train.epochs=9"])
    checkpoints = folder / "checkpoints"
    checkpoints.rename(folder / "gone")
    with pytest.raises(StorageError, match="checkpoint"):
        make(folder, Silent(), Place())
    empty = experiment(tmp_path, "empty")
    RunFolder.of(empty).open(empty)
    RunFolder.of(empty).journal.append("started")
    with pytest.raises(StorageError, match="holds no finished training"):
        make(RunFolder.of(empty).path, Silent(), Place())


def test_deterministic_names_what_has_no_such_kernel(tmp_path: Path) -> None:
    wanted = experiment(tmp_path, "puts", model={"target": "tests.training.nets:Puts"})
    with pytest.raises(TrainingFailed, match="put_ has no kernel that gives the same bits twice"):
        trained(wanted)
    assert torch.are_deterministic_algorithms_enabled() is False
