"""Trials an hour: the documented Ray Tune + Train V2 recipe against a search of ours, one after the other.

    python -m benchmarks.search [--trials 12]

Both train the same model on the same rows for the same epochs, two trials at a time, no early stopping. The last
line is JSON; `vs_documented_recipe` counts everything from the call to the last result, start-up included.
"""

import argparse
import json
import os
import tempfile
import time
from typing import Any

import ray
import ray.train
from ray import tune
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from training.config import Experiment
from training.config_file import apply_overrides, as_written
from training.data.prepare import prepare
from training.data.prepared import Prepared
from training.loop import Trainer
from training.models import ModelInputs, build_model
from training.progress import Silent, TrialDone
from training.run_folder import RunFolder
from training.search.search import search
from training.session import PlainSession

EPOCHS = 5
SPACE: dict[str, Any] = {"train.peak_lr": {"log": [1e-3, 1e-2]}, "model.dropout": {"range": [0.0, 0.3]}}


class Timed(Silent):
    """Notes when each trial ended."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def trial(self, done: TrialDone, num_done: int, num_trials: int, best_score: float | None) -> None:
        """Note the time."""
        self.ended.append(time.perf_counter())


class TimedCallback(tune.Callback):
    """The same for the recipe."""

    def __init__(self, ended: list[float]) -> None:
        self.ended = ended

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note the time."""
        self.ended.append(time.perf_counter())


def main() -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    num_trials = parser.parse_args().trials
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # Tune's progress tables, which go to stdout
    with tempfile.TemporaryDirectory() as storage:
        experiment = make_experiment(storage, num_trials)
        prepared = prepare(experiment.data)
        ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
        try:
            rows = {
                "documented recipe": run_recipe(experiment, prepared, num_trials, storage),
                "ours": run_ours(experiment, prepared),
            }
        finally:
            ray.shutdown()
    report(rows, num_trials)


def make_experiment(storage: str, num_trials: int) -> Experiment:
    """An MLP on the bundled digits."""
    return Experiment.model_validate(
        {
            "name": "bench",
            "storage": storage,
            "data": {"source": "sklearn:digits", "target": "target"},
            "model": {"kind": "mlp", "hidden": [64, 64]},
            "train": {"epochs": EPOCHS, "early_stopping": None},
            "search": {"trials": num_trials, "concurrency": 2, "asha": None, "space": SPACE},
        }
    )


def run_recipe(experiment: Experiment, prepared: Prepared, num_trials: int, storage: str) -> list[float]:
    """Seconds to each trial's end of a TorchTrainer inside a Tune function, as Ray's guide on tuning shows."""
    data = ray.put((prepared.facts, prepared.train, prepared.validation))

    def train_worker(task: dict[str, Any]) -> None:
        wanted = Experiment.model_validate(task["experiment"])
        facts, train, validation = ray.get(task["data"])
        model = build_model(wanted.model, ModelInputs.of(facts.transforms, facts.num_outputs), wanted.train.seed)
        trainer = Trainer(wanted.train, model, facts, train, validation, PlainSession(), task["metric"])
        while not trainer.finished:
            ray.train.report(trainer.train_epoch())

    def train_driver(params: dict[str, Any]) -> None:
        task = {
            "experiment": as_written(apply_overrides(experiment, params)),
            "data": data,
            "metric": "accuracy",
        }
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

    ended: list[float] = []
    began = time.perf_counter()
    tune.Tuner(
        tune.with_resources(train_driver, {"cpu": 0.001}),  # the driver waits; both cores are for workers
        param_space={"train.peak_lr": tune.loguniform(1e-3, 1e-2), "model.dropout": tune.uniform(0.0, 0.3)},
        tune_config=tune.TuneConfig(
            num_samples=num_trials, max_concurrent_trials=2, metric="validation/accuracy", mode="max"
        ),
        run_config=tune.RunConfig(storage_path=storage, name="recipe", verbose=0, callbacks=[TimedCallback(ended)]),
    ).fit()
    return [moment - began for moment in ended]


def run_ours(experiment: Experiment, prepared: Prepared) -> list[float]:
    """Seconds to each trial's end."""
    run = RunFolder.of(experiment)
    run.open(experiment)
    timed = Timed()
    began = time.perf_counter()
    search(experiment, prepared, run, metric="accuracy", progress=timed, code_path="")
    return [moment - began for moment in timed.ended]


def report(rows: dict[str, list[float]], num_trials: int) -> None:
    """The table, then one JSON line."""
    print(f"{num_trials} trials of {EPOCHS} epochs, digits MLP, two at a time, {os.cpu_count()} cores")
    print(f"{'':20} {'total s':>9} {'s/trial':>9} {'marginal s/trial':>17}")
    for name, ended in rows.items():
        if len(ended) != num_trials:
            raise RuntimeError(f"{name} finished {len(ended)} of {num_trials} trials")
        print(f"{name:20} {ended[-1]:9.1f} {ended[-1] / num_trials:9.2f} {marginal(ended):17.2f}")
    theirs, ours = rows.values()
    print(
        json.dumps(
            {
                "vs_documented_recipe": round(theirs[-1] / ours[-1], 1),
                "vs_documented_recipe_marginal": round(marginal(theirs) / marginal(ours), 1),
                "trials": num_trials,
                "ours_s_per_trial": round(ours[-1] / num_trials, 3),
                "recipe_s_per_trial": round(theirs[-1] / num_trials, 3),
            }
        )
    )


def marginal(ended: list[float]) -> float:
    """Seconds a trial once the first two are done, so without start-up."""
    return (ended[-1] - ended[1]) / (len(ended) - 2)


if __name__ == "__main__":
    main()
