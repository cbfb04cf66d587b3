"""An experiment as a drill trains it."""

from pathlib import Path

import pytest

from cluster.drill.errors import DrillError
from cluster.drill.settings import Drilled, longer, nodes_for, settings_for
from cluster.drill.trace import Trace
from cluster.drill.wish import Wish
from training.config import Experiment
from training.config_file import load_experiment

DIGITS = Path("configs/digits.yaml")


def test_the_interval_of_checkpoints_follows_from_the_drill_unless_it_was_set() -> None:
    settings, notes = settings_for(load_experiment(DIGITS), 14.0)
    assert settings == ["train.checkpoint.mean_s_between_losses=14"]
    assert any("own settings are trained" in note for note in notes)  # it has a search
    own = load_experiment(DIGITS, ["train.checkpoint.mean_s_between_losses=99", "search=null"])
    assert settings_for(own, 14.0) == ([], [])


def test_a_short_training_gets_more_epochs_and_a_long_one_stays_as_it_is() -> None:
    experiment = load_experiment(DIGITS)  # 24 epochs
    settings, notes = longer(experiment, epoch_s=0.5, wanted_s=80.0)
    assert settings == ["train.epochs=160", "train.early_stopping.patience=160"]
    assert "160 instead of 24" in notes[0]
    assert longer(experiment, 0.5, 12.0) == ([], [])
    assert longer(experiment, 0.5, 0.0) == ([], [])
    plain = load_experiment(DIGITS, ["train.early_stopping=null"])
    assert longer(plain, 0.5, 80.0)[0] == ["train.epochs=160"]


def test_both_runs_differ_in_nothing_but_their_names(tmp_path: Path) -> None:
    drilled = Drilled(DIGITS, ("train.peak_lr=1e-3",), tmp_path / "it's here").with_own("train.epochs=7")
    runs = [drilled.experiment(name) for name in ("unbroken", "broken")]
    assert [run.name for run in runs] == ["unbroken", "broken"]
    assert {run.storage for run in runs} == {str(tmp_path / "it's here")}
    assert runs[0].train.epochs == 7
    assert _without_name(runs[0]) == _without_name(runs[1])


def test_there_is_a_node_to_spare_but_not_in_a_trace() -> None:
    experiment = load_experiment(DIGITS, ["train.workers=3"])
    assert nodes_for(experiment, Wish()) == 4
    assert nodes_for(experiment, Wish(trace=Trace(1.0, (1, 0)))) == 3
    assert nodes_for(experiment, Wish(num_nodes=3)) == 3
    assert nodes_for(load_experiment(DIGITS, ["train.workers={min: 1, max: 3}"]), Wish(num_nodes=1)) == 1


def test_fewer_nodes_than_workers_are_refused_with_a_number_that_works() -> None:
    with pytest.raises(DrillError) as error:
        nodes_for(load_experiment(DIGITS, ["train.workers=3"]), Wish(num_nodes=2))
    assert "needs 3 workers, and there would be 2 nodes" in error.value.message
    assert "--nodes 4" in error.value.hint


def _without_name(experiment: Experiment) -> Experiment:
    return experiment.model_copy(update={"name": "same"})
