"""One trial of a search: the training loop inside a Tune actor that is used again for the next trial."""

import contextlib
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ray import tune

from training.config import Experiment
from training.config_file import apply_overrides
from training.data.prepare import prepare
from training.data.prepared import Facts, Part
from training.data.stream.part import StreamPart
from training.data.training_rows import training_rows
from training.loop import Trainer, next_epoch
from training.models import ModelInputs, build_model
from training.session import Checkpoint, PlainSession
from training.train_config import TrainConfig

CHECKPOINT_EVERY_S = 5.0  # a lost actor or driver costs a trial at most this much work
TRIAL_KEY = "trial"  # names the trial in Tune's config, beside its hyperparameters
Data = tuple[Facts, Part | StreamPart, Part]


class TrialActor(tune.Trainable):
    """One epoch a step. Its checkpoints lie in the run's storage under the trial's own name.

    A lost actor and a lost driver then look the same to it: it starts again and finds its own checkpoint.
    """

    def setup(  # type: ignore[override]  # tune.with_parameters gives what comes after `config`
        self, config: dict[str, Any], experiment: dict[str, Any], data: Data, metric: str, folder: str, code_path: str,
        data_base: str, use_gpu: bool,
    ) -> None:  # fmt: skip
        """Once an actor. The data comes through the object store, so trials of one node share it."""
        self._base = Experiment.model_validate(experiment)
        self._data, self._metric, self._folder, self._code_path = data, metric, Path(folder), code_path
        self._data_base, self._device = Path(data_base), torch.device("cuda" if use_gpu else "cpu")
        torch.set_num_threads(max(1, int(self._base.train.cpus_per_worker)))
        self._resampled: tuple[Part | StreamPart, tuple[Any, ...], Part | StreamPart] | None = None
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next trial in the same process: what makes a trial cost its work and nothing else."""
        self._begin(new_config)
        return True

    def _begin(self, config: Mapping[str, Any]) -> None:
        self._checkpoint_folder = self._folder / config[TRIAL_KEY]
        self._params = {key: value for key, value in config.items() if key != TRIAL_KEY}
        self._trainer: Trainer | None = None
        self._saved_at = time.monotonic()

    def step(self) -> dict[str, Any]:
        """One epoch. A trial's own error ends the trial, not the search, so it comes back as a result."""
        try:
            if self._trainer is None:
                self._trainer = self._build()
            return self._epoch(self._trainer)
        except Exception as error:  # recorded with the trial; trying again would fail the same way
            cause = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            self._forget()
            return {"failed": cause, "score": float("nan"), "current": float("nan"), "epoch": 0, "done": True}

    def _build(self) -> Trainer:
        experiment = apply_overrides(self._base, self._params)
        facts, train, validation = self._data
        if any(key.startswith("data.") for key in self._params):
            # Tune has moved this process to a folder of its own, so relative paths need their base.
            prepared = prepare(experiment.data, self._data_base, code_path=self._code_path)
            facts, train, validation = prepared.facts, prepared.train, prepared.validation
        session = PlainSession(device=self._device)
        inputs = ModelInputs.of(facts.transforms, facts.num_outputs)
        model = build_model(experiment.model, inputs, experiment.train.seed, self._code_path, experiment.ensemble)
        rows = self._training_rows(experiment.train, facts, train)
        trainer = Trainer(
            experiment.train, model, facts, rows, validation, session, self._metric, code_path=self._code_path
        )
        if (checkpoint := self._saved()) is not None:
            trainer.load(checkpoint)
        if experiment.train.on_nan == "rollback":
            session.save(trainer.checkpoint(), trainer.place)
        return trainer

    def _training_rows(self, config: TrainConfig, facts: Facts, train: Part | StreamPart) -> Part | StreamPart:
        """Resampled where that is asked for; most trials ask for the same, which is then made once."""
        asked = (config.imbalance.resample, config.imbalance.ratio, config.seed)
        if self._resampled is None or self._resampled[0] is not train or self._resampled[1] != asked:
            self._resampled = (train, asked, training_rows(config, facts, train)[0])
        return self._resampled[2]

    def _epoch(self, trainer: Trainer) -> dict[str, Any]:
        metrics = {} if trainer.finished else next_epoch(trainer, trainer.session)
        if trainer.finished:
            self._forget()
        elif time.monotonic() - self._saved_at > CHECKPOINT_EVERY_S:
            self._save(trainer)
        current = metrics.get(f"validation/{self._metric}", trainer.best_score)
        return {
            "score": trainer.best_score,
            "loss": trainer.best_loss,
            "current": current,
            "epoch": trainer.epoch,
            "seconds": metrics.get("seconds", 0.0),
            "done": trainer.finished,
            "finished": trainer.finished,
        }

    def _saved(self) -> Checkpoint | None:
        path = self._checkpoint_folder / "checkpoint.pt"
        if not path.exists():
            return None
        checkpoint: Checkpoint = torch.load(path, weights_only=True)
        return checkpoint

    def _save(self, trainer: Trainer) -> None:
        self._checkpoint_folder.mkdir(parents=True, exist_ok=True)
        unfinished = self._checkpoint_folder / ".checkpoint.pt.tmp"
        torch.save(trainer.checkpoint(), unfinished)
        unfinished.replace(self._checkpoint_folder / "checkpoint.pt")
        self._saved_at = time.monotonic()

    def _forget(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._checkpoint_folder)
