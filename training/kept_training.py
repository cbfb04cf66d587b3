"""How far a training has come by its checkpoint, and what a person is told of one that goes on, or need not."""

from collections.abc import Mapping
from dataclasses import dataclass

from training.best_epoch import BestEpoch
from training.checkpoint.store import CheckpointStore
from training.config import Experiment
from training.event_text import counted
from training.progress import HandedOn, Live, Progress


@dataclass(frozen=True)
class KeptTraining:
    """What a training goes on from."""

    epoch: int = 0  # done
    best_epoch: int = 0
    is_done: bool = False

    @classmethod
    def read(cls, uri: str, experiment: Experiment, metric: str) -> "KeptTraining":
        """By the newest checkpoint; one that is damaged counts as none, and so does a storage that cannot be read.

        Args:
            uri: where the training's checkpoints lie.
            experiment: that is trained.
            metric: decides, without its prefix.
        """
        store = CheckpointStore(uri)
        try:
            saved = next(reversed(store.list()), None)
            if saved is None or store.problems(saved):
                return cls()
        except OSError:
            return cls()  # the training itself says what is wrong with the storage
        best, epoch = BestEpoch(metric, experiment.train.early_stopping), saved.manifest.epoch
        best.epoch = saved.manifest.best_epoch or 0
        return cls(epoch, best.epoch, epoch >= experiment.train.epochs or best.has_stalled(epoch))

    def words(self, name: str, experiment: Experiment, *, is_of_search: bool) -> str:
        """What will be done. `is_of_search`: the search trained the very model that is asked for."""
        if self.is_done:
            who = f"the model is {name}'s, as the search kept it" if is_of_search else f"{name} was trained to its end"
            return f"{who} (best epoch {self.best_epoch} of {self.epoch}); nothing is trained again"
        workers = counted(experiment.train.max_workers, "worker")
        goes_on = f"; it goes on after epoch {self.epoch}" if self.epoch else ""
        return f"{name} with {workers}, up to {counted(experiment.train.epochs, 'epoch')}{goes_on}"


class NewEpochs(HandedOn):
    """A `Progress` that is not told again of epochs that a checkpoint brings along."""

    def __init__(self, progress: Progress, kept: KeptTraining) -> None:
        super().__init__(progress)
        self._kept = kept

    def epoch(self, epoch: int, num_epochs: int, metrics: Mapping[str, float]) -> None:
        """Handed on where it is new."""
        if epoch > self._kept.epoch:
            super().epoch(epoch, num_epochs, metrics)

    def live(self, live: Live) -> None:
        """Handed on where something is trained."""
        if not self._kept.is_done:
            super().live(live)
