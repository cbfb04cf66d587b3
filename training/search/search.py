"""Ray Tune runs the search: trials in reused actors, ASHA, resources, lost actors. Needs a running Ray."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ray
from optuna.study import Study
from optuna.trial import TrialState
from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from training.capacity import Request, require
from training.config import Experiment, SearchConfig
from training.config_file import as_written
from training.data.prepared import Prepared
from training.errors import ConfigError, TrainingFailed
from training.fit import uses_gpu
from training.metric_names import METRIC_MODES
from training.progress import Progress
from training.run_folder import RunFolder
from training.search.bridge import (
    DONE,
    OptunaBridge,
    best_score,
    best_trial,
    name_of,
    open_study,
    past_results,
    to_value,
)
from training.search.result import SearchResult
from training.search.trial import TRIAL_KEY, TrialActor

QUIET = {  # Tune's own logs and snapshots: the journal and the study are the record, written at once
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it would turn Ctrl-C into a search that ended well
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def search(
    experiment: Experiment, prepared: Prepared, run: RunFolder, *, metric: str, progress: Progress, code_path: str
) -> SearchResult:
    """Run the trials that are still missing; a search that was interrupted goes on.

    Raises:
        ConfigError: the experiment has no search section.
        CapacityError: not even one trial fits the cluster.
        TrainingFailed: every trial failed, with their causes.
    """
    config = experiment.search
    if config is None:
        raise ConfigError(f"{experiment.name} has no search section", "add search.space, or use `manta train`")
    resources = {"cpu": experiment.train.cpus_per_worker, "gpu": 1.0 if uses_gpu(experiment) else 0.0}
    require(Request(1, resources["cpu"], resources["gpu"]))
    study = open_study(run.trials / "study.log", config, METRIC_MODES[metric])
    if sum(trial.state in DONE for trial in study.get_trials(deepcopy=False)) < config.trials:
        trainable = tune.with_parameters(
            TrialActor,
            experiment=as_written(experiment),
            data=(prepared.facts, prepared.train, prepared.validation),
            metric=metric,
            folder=str(run.trials),
            code_path=code_path,
            data_base=str(Path.cwd()),
            use_gpu=resources["gpu"] > 0,
        )
        bridge = OptunaBridge(study, config, _own_values(experiment, config), run.journal, progress)
        _run_trials(tune.with_resources(trainable, resources), bridge, experiment, config, study, run, resources)
    return _result(study, config)


def _run_trials(
    trainable: Any, bridge: OptunaBridge, experiment: Experiment, config: SearchConfig, study: Study, run: RunFolder,
    resources: dict[str, float],
) -> None:  # fmt: skip
    os.environ.update(QUIET)
    shutil.rmtree(run.trials / "tune", ignore_errors=True)
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            metric=bridge.metric,
            mode=bridge.mode,
            search_alg=bridge,
            scheduler=_scheduler(experiment, config, study),
            num_samples=-1,  # the bridge says when it is enough
            max_concurrent_trials=config.concurrency or _num_slots(resources["cpu"], resources["gpu"]),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.config[TRIAL_KEY]),
        ),
        run_config=RunConfig(
            name="tune",
            storage_path=str(run.trials),
            verbose=0,
            failure_config=FailureConfig(max_failures=config.max_failures_per_trial),
            checkpoint_config=CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),  # see TrialActor
        ),
    )
    tuner.fit()
    shutil.rmtree(run.trials / "tune", ignore_errors=True)


def _own_values(experiment: Experiment, config: SearchConfig) -> dict[str, Any]:
    """The experiment's own settings of the searched keys: a known point, tried first."""
    values: dict[str, Any] = {}
    dumped = experiment.model_dump(mode="json")
    for key, dimension in config.space.items():
        value: Any = dumped
        for name in key.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if dimension.holds(value):
            values[key] = value
    return values


def _scheduler(experiment: Experiment, config: SearchConfig, study: Study) -> TrialScheduler:
    epochs, asha = experiment.train.epochs, config.asha
    if asha is None or asha.grace_epochs >= epochs:
        return FIFOScheduler()
    scheduler = ASHAScheduler(
        time_attr="epoch", max_t=epochs, grace_period=asha.grace_epochs, reduction_factor=asha.reduction_factor,
        stop_last_trials=False,  # a trial that reached its last epoch has finished, it was not stopped
    )  # fmt: skip
    sign = 1.0 if str(study.direction.name) == "MAXIMIZE" else -1.0
    for name, epoch, score in past_results(study):  # a resumed search judges by all trials, not by the new ones alone
        trial: Any = SimpleNamespace(trial_id=name)  # all that a rung keeps of a trial
        scheduler._brackets[0].on_result(trial, epoch, sign * score)
    return scheduler


def _num_slots(cpus: float, gpus: float) -> int:
    total = ray.cluster_resources()
    slots = total.get("CPU", 1.0) / cpus
    return max(1, int(min(slots, total.get("GPU", 0.0) / gpus) if gpus else slots))


def _result(study: Study, config: SearchConfig) -> SearchResult:
    trials = study.get_trials(deepcopy=False)
    best = best_trial(study)
    if best is None:
        causes = {str(trial.user_attrs.get("cause", "unknown")) for trial in trials if trial.state == TrialState.FAIL}
        raise TrainingFailed(
            "\n  ".join([f"all {len(trials)} trials failed", *sorted(causes)[:5]]),
            "mend the cause; a new --set name=... starts the search afresh",
        )
    counts = {state: sum(trial.state == state for trial in trials) for state in DONE}
    return SearchResult(
        trial=name_of(best.number),
        params={key: to_value(dimension, best.params[key]) for key, dimension in config.space.items()},
        score=float(best_score(best) or 0.0),
        num_complete=counts[TrialState.COMPLETE],
        num_pruned=counts[TrialState.PRUNED],
        num_failed=counts[TrialState.FAIL],
    )
