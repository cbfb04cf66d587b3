"""The ways to run the trials of `benchmarks.search`: each gives the seconds from its start to the end of each trial.

All train the same MLP on the same rows for the same epochs with rates and dropouts drawn at random, on two cores.
"""

import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
import ray
import ray.train
import torch
from ray import tune
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from training.config import Experiment
from training.config_file import apply_overrides, as_written
from training.data.prepared import Prepared
from training.loop import Trainer
from training.models import ModelInputs, build_model
from training.progress import Silent, TrialDone
from training.run_folder import RunFolder
from training.search.search import search
from training.session import PlainSession

EPOCHS = 5
SLOTS = 2
RATES, DROPOUTS = (1e-3, 1e-2), (0.0, 0.3)
METRIC = "accuracy"
QUIET = {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0"}


@dataclass(frozen=True)
class Row:
    """What one way took."""

    ended: list[float]  # seconds to the end of each trial, rising
    total_s: float  # to the end of the call
    first: int  # trials whose ends still hold the start-up of a process

    @property
    def marginal_s(self) -> float:
        """Seconds a trial, once the first ones are done."""
        return marginal_s(self.ended, self.first)

    def total_of(self, num_trials: int) -> float:
        """Seconds for so many trials; those that were not run are counted by the marginal rate."""
        return self.total_s + (num_trials - len(self.ended)) * self.marginal_s


def marginal_s(ended: Sequence[float], first: int) -> float:
    """Seconds a trial between the end of trial number `first` and that of the last; NaN where none came after."""
    return (ended[-1] - ended[first - 1]) / (len(ended) - first) if len(ended) > first else math.nan


def make_experiment(storage: str, num_trials: int, name: str, fuse: bool | str, lanes: int | None = None) -> Experiment:
    """An MLP on the bundled digits."""
    space = {"train.peak_lr": {"log": list(RATES)}, "model.dropout": {"range": list(DROPOUTS)}}
    return Experiment.model_validate(
        {
            "name": name,
            "storage": storage,
            "data": {"source": "sklearn:digits", "target": "target"},
            "model": {"kind": "mlp", "hidden": [64, 64]},
            "train": {"epochs": EPOCHS, "early_stopping": None, "device": "cpu"},
            "search": {
                "trials": num_trials, "concurrency": SLOTS, "sampler": "random", "scheduler": "none", "fuse": fuse,
                "space": space, "lanes": lanes,
            },
        }
    )  # fmt: skip


def drawn(num_trials: int) -> list[dict[str, float]]:
    """Settings for the rows that have no sampler."""
    draw = np.random.default_rng(0)
    low, high = np.log(RATES)
    return [
        {"train.peak_lr": float(np.exp(draw.uniform(low, high))), "model.dropout": float(draw.uniform(*DROPOUTS))}
        for _ in range(num_trials)
    ]


def trainer_of(experiment: Experiment, rows: tuple[Any, Any, Any]) -> Trainer:
    """A trial's training as every row begins it."""
    facts, train, validation = rows
    model = build_model(experiment.model, ModelInputs.of(facts.transforms, facts.num_outputs), experiment.train.seed)
    return Trainer(experiment.train, model, facts, train, validation, PlainSession(), METRIC)


def rows_of(prepared: Prepared) -> tuple[Any, Any, Any]:
    """What a training needs of the data."""
    return prepared.facts, prepared.train, prepared.validation


def plain(experiment: Experiment, prepared: Prepared, num_trials: int) -> Row:
    """One process, one thread, one trial after the other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        began = time.perf_counter()
        ended = [moment - began for moment in _loop(experiment, rows_of(prepared), drawn(num_trials))]
    finally:
        torch.set_num_threads(threads)
    return Row(ended, ended[-1], 1)


def plain_twice(experiment: Experiment, prepared: Prepared, num_trials: int) -> Row:
    """The same in two processes at once: what two cores can do, with nothing to coordinate."""
    draws = drawn(num_trials)
    tasks = [(as_written(experiment), rows_of(prepared), draws[i::SLOTS]) for i in range(SLOTS)]
    began = time.perf_counter()
    with ProcessPoolExecutor(SLOTS, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(_loop_elsewhere, tasks))
    total_s = time.perf_counter() - began
    start = max(moments[0] for moments in found)  # one may have started later: count while both ran
    end = min(moments[-1] for moments in found)
    ended = sorted(moment - start for moments in found for moment in moments if start <= moment <= end)
    return Row(ended, total_s, 1)


def _loop_elsewhere(task: tuple[dict[str, Any], tuple[Any, Any, Any], list[dict[str, float]]]) -> list[float]:
    torch.set_num_threads(1)
    return _loop(Experiment.model_validate(task[0]), task[1], task[2])


def _loop(experiment: Experiment, rows: tuple[Any, Any, Any], draws: Sequence[dict[str, float]]) -> list[float]:
    """When each trial ended, by the machine's own clock, which processes share."""
    ended = []
    for params in draws:
        trainer = trainer_of(apply_overrides(experiment, params), rows)
        while not trainer.finished:
            trainer.train_epoch()
        ended.append(time.perf_counter())
    return ended


class TimedCallback(tune.Callback):
    """Notes when each of Tune's trials ended."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note the time."""
        self.ended.append(time.perf_counter())


def _tuned(trainable: Any, storage: str, name: str, num_trials: int) -> Row:
    """Through Tune, two trials at a time."""
    os.environ.update(QUIET)
    timed = TimedCallback()
    began = time.perf_counter()
    tune.Tuner(
        trainable,
        param_space={"train.peak_lr": tune.loguniform(*RATES), "model.dropout": tune.uniform(*DROPOUTS)},
        tune_config=tune.TuneConfig(
            num_samples=num_trials, max_concurrent_trials=SLOTS, metric=f"validation/{METRIC}", mode="max"
        ),
        run_config=tune.RunConfig(storage_path=storage, name=name, verbose=0, callbacks=[timed]),
    ).fit()
    total_s = time.perf_counter() - began
    if len(timed.ended) != num_trials:
        raise RuntimeError(f"{name} finished {len(timed.ended)} of {num_trials} trials")
    return Row([moment - began for moment in timed.ended], total_s, SLOTS)


def recipe(experiment: Experiment, prepared: Prepared, num_trials: int, storage: str) -> Row:
    """A TorchTrainer inside a Tune function, as Ray's guide on tuning with Train V2 shows."""
    data = ray.put(rows_of(prepared))

    def train_worker(task: dict[str, Any]) -> None:
        trainer = trainer_of(Experiment.model_validate(task["experiment"]), ray.get(task["data"]))
        while not trainer.finished:
            ray.train.report(trainer.train_epoch())

    def train_driver(params: dict[str, Any]) -> None:
        task = {"experiment": as_written(apply_overrides(experiment, params)), "data": data}
        TorchTrainer(
            train_worker,
            train_loop_config=task,
            torch_config=TorchConfig(backend="gloo"),
            scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.99}),
            run_config=RunConfig(
                name=f"trial-{tune.get_context().get_trial_id()}",
                storage_path=storage,
                callbacks=[TuneReportCallback()],
            ),
        ).fit()

    driver = tune.with_resources(train_driver, {"cpu": 0.001})  # it only waits; both cores are for workers
    return _tuned(driver, storage, "recipe", num_trials)


def function(experiment: Experiment, prepared: Prepared, num_trials: int, storage: str) -> Row:
    """A Tune function that trains in its own process and reports each epoch."""

    def train(params: dict[str, Any], rows: tuple[Any, Any, Any]) -> None:
        torch.set_num_threads(1)
        trainer = trainer_of(apply_overrides(experiment, params), rows)
        while not trainer.finished:
            tune.report(dict(trainer.train_epoch()))

    trainable = tune.with_parameters(train, rows=rows_of(prepared))
    return _tuned(tune.with_resources(trainable, {"cpu": 1}), storage, "function", num_trials)


class Timed(Silent):
    """Notes when each trial of ours ended, and what was said of stacking."""

    def __init__(self) -> None:
        self.ended: list[float] = []
        self.notes: list[str] = []

    def trial(self, done: TrialDone, num_done: int, num_trials: int, best_score: float | None) -> None:
        """Note the time."""
        self.ended.append(time.perf_counter())

    def note(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)


def ours(experiment: Experiment, prepared: Prepared) -> Row:
    """A search of ours."""
    run = RunFolder.of(experiment)
    run.open(experiment)
    timed = Timed()
    began = time.perf_counter()
    search(experiment, prepared, run, metric=METRIC, progress=timed, code_path="")
    total_s = time.perf_counter() - began
    return Row([moment - began for moment in timed.ended], total_s, first_of_each_slot(run))


def first_of_each_slot(run: RunFolder) -> int:
    """Trials that had ended when the last slot to start had ended its first ones, by itself or stacked."""
    ended: dict[str, int] = {}
    last = 0
    for number, event in enumerate(run.journal.events("trial"), 1):
        ended[event["slot"]] = ended.get(event["slot"], 0) + 1
        if ended[event["slot"]] <= event["lanes"]:
            last = number
    return last
