"""The experiment as a drill trains it: the person's own, long enough for what is to happen."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from cluster.drill.errors import DrillError
from cluster.drill.wish import Wish
from training.config import Experiment
from training.config_file import as_written, load_experiment

LONG_ENOUGH = 0.9  # of the seconds wanted: what a training takes is not the same twice


@dataclass(frozen=True)
class Drilled:
    """What both runs train. A change gives another one."""

    config: Path
    overrides: tuple[str, ...]  # the person's
    storage: Path
    own: tuple[str, ...] = ()  # the drill's

    def overrides_of(self, name: str) -> list[str]:
        """All settings of one of the runs, by its name."""
        return [*self.overrides, *self.own, f"name={name}", f"storage={json.dumps(str(self.storage))}"]

    def experiment(self, name: str) -> Experiment:
        """Checked. Raises ConfigError."""
        return load_experiment(self.config, self.overrides_of(name))

    def with_own(self, *settings: str) -> "Drilled":
        """With further settings of the drill's."""
        return Drilled(self.config, self.overrides, self.storage, (*self.own, *settings))


def settings_for(experiment: Experiment, mean_s_between_losses: float) -> tuple[list[str], list[str]]:
    """What a drill sets if the person has not, and why, in words."""
    written = as_written(experiment)
    settings, notes = [], []
    if experiment.search is not None:
        notes.append("the experiment's own settings are trained, not those of its search's best trial")
    if "mean_s_between_losses" not in written.get("train", {}).get("checkpoint", {}):
        settings.append(f"train.checkpoint.mean_s_between_losses={mean_s_between_losses:g}")
        notes.append(
            f"train.checkpoint.mean_s_between_losses: {mean_s_between_losses:g}, as often as this drill takes a machine"
        )
    return settings, notes


def longer(experiment: Experiment, epoch_s: float, wanted_s: float) -> tuple[list[str], list[str]]:
    """More epochs, where those that there are take too short a time for the blows; and why, in words.

    Args:
        experiment: as it was trained unbroken.
        epoch_s: seconds that one epoch took.
        wanted_s: seconds that all should take.
    """
    train = experiment.train
    if epoch_s * train.epochs >= wanted_s * LONG_ENOUGH:
        return [], []
    epochs = math.ceil(wanted_s / epoch_s)
    settings = [f"train.epochs={epochs}"]
    patience = ""
    if train.early_stopping is not None:
        settings.append(f"train.early_stopping.patience={epochs}")
        patience = ", none of them stopped early"
    return settings, [f"train.epochs: {epochs} instead of {train.epochs}, for {wanted_s:.0f} s of steps{patience}"]


def nodes_for(experiment: Experiment, wish: Wish) -> int:
    """How many nodes: as asked for, else one a worker and a spare one; no spare one in a trace.

    Raises:
        DrillError: they can never hold the fewest workers.
    """
    train = experiment.train
    num_nodes = wish.num_nodes or train.max_workers + (1 if wish.trace is None else 0)
    if num_nodes < train.min_workers:
        raise DrillError(
            f"train.workers needs {train.min_workers} workers, and there would be {num_nodes} nodes of one worker each",
            f"--nodes {train.max_workers + 1}, or fewer workers: --workers {max(1, num_nodes - 1)}",
        )
    return num_nodes
