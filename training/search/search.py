"""A search on Ray: slots as Tune trials, their resources, and what it comes to. Needs a running Ray."""

import contextlib
import logging
import math
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import torch
from optuna.trial import FrozenTrial, TrialState
from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig

from training.capacity import Request, largest_fit, require
from training.config import Experiment
from training.config_file import as_written
from training.data.folds import read_folds
from training.data.prepared import Prepared
from training.data.stream.part import StreamPart
from training.errors import ConfigError, TrainingFailed
from training.fit import uses_gpu
from training.hosts import machines
from training.metric_names import METRIC_MODES, Mode
from training.progress import Progress
from training.run_folder import RunFolder
from training.search.bridge import HeadKilled, SlotDeaths, SlotSearcher, WhenOver
from training.search.conductor import Conductor
from training.search.extend import no_more_than_there_are
from training.search.judges import judge_of
from training.search.judges.population import why_no_clones
from training.search.judges.racing import why_never
from training.search.limits.spending import Spending
from training.search.limits.weights import KeptWeights
from training.search.nothing import why_nothing
from training.search.plan.cost import Bench
from training.search.plan.estimate import START_S
from training.search.record import LIVE_FILE, SearchRecord
from training.search.result import SearchResult
from training.search.sampling.proposals import Proposals
from training.search.sampling.samplers import GENERATIONS, LEARNING
from training.search.slot.actor import Slot, last_words
from training.search.slot.surroundings import FoldRows
from training.search.study import DONE, FILE, SearchStudy, best_trial, front_of, name_of, score_of
from training.search_config import RacingConfig, SearchConfig

logger = logging.getLogger(__name__)
QUIET = {  # Tune's own logs and snapshots: the journal and the study are the record, written at once
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "200",  # slots start at the same time; for a searcher, Tune starts one after another
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it would turn Ctrl-C into a search that ended well
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a slot's result is no metric
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # traces of processes that died, which the conductor says in a line
    "RAY_AIR_NEW_OUTPUT": "0",
}
LOOK_EVERY_S = 1.0
TEAM_SLOT_BYTES = 1e6


def search(
    experiment: Experiment, prepared: Prepared, run: RunFolder, *, metric: str, progress: Progress, code_path: str
) -> SearchResult:
    """Run the trials that are still missing; a search that was interrupted goes on.

    Raises:
        ConfigError: the experiment has no search section, or one that cannot be done with the rest of it.
        CapacityError: not even one trial fits the cluster.
        TrainingFailed: every trial failed, with their causes.
    """
    config = experiment.search
    if config is None:
        raise ConfigError(f"{experiment.name} has no search section", "add search.space, or use `manta train`")
    require_possible(experiment, config, prepared)
    config = no_more_than_there_are(config, experiment)
    with contextlib.closing(SearchStudy(run.trials / FILE, modes_of(config, metric))) as study:
        one = _Search(experiment, config, prepared, run, study, metric, progress, code_path)
        one.run()
        return one.result()


def modes_of(config: SearchConfig, metric: str) -> list[Mode]:
    """Of the objectives: the score's own, and small is good for all that is paid."""
    return [METRIC_MODES[metric], *(["min"] * (len(config.objectives) - 1))]  # type: ignore[list-item]


def require_possible(experiment: Experiment, config: SearchConfig, prepared: Prepared) -> None:
    """Raise ConfigError for settings that do not go together."""
    several = experiment.train.max_workers > 1
    is_stream = isinstance(prepared.train, StreamPart)
    measured = {"latency_ms", "size_mb"} & set(config.objectives)
    problems = {
        "search.folds or search.seeds with train.workers above 1: folds are trained by one worker each": several
        and config.replicates > 1,
        "search.scheduler=pbt with train.workers above 1: members have one worker each": several
        and config.scheduler.kind == "pbt",
        f"the objectives {', '.join(sorted(measured))} with train.workers above 1: they are measured in one process":
        several and bool(measured),
        "a search over streamed rows: its trials read the table from memory": is_stream,
    }  # fmt: skip
    for what, is_wrong in problems.items():
        if is_wrong:
            raise ConfigError(f"cannot do {what}", "leave one of them out, or set train.workers=1 for the search")


class _Search:
    """One execution."""

    def __init__(
        self, experiment: Experiment, config: SearchConfig, prepared: Prepared, run: RunFolder, study: SearchStudy,
        metric: str, progress: Progress, code_path: str,
    ) -> None:  # fmt: skip
        self._experiment, self._config, self._prepared, self._run = experiment, config, prepared, run
        self._study, self._metric, self._code_path, self._progress = study, metric, code_path, progress
        self._search_id = uuid.uuid4().hex[:12]
        self._resources = self._slot_resources()
        self._trials_uri = run.checkpoints_of("").rstrip("/")
        train, gpus = experiment.train, self._resources["gpu"]
        num_devices = train.max_workers * (gpus if gpus else train.cpus_per_worker)
        self._last_level = config.replicates if config.replicates > 1 else train.epochs
        self._modes = modes_of(config, metric)
        self._proposals = Proposals(config, experiment, study, metric, progress.note)
        self._judge = judge_of(config, self._last_level, self._modes)
        self._record = SearchRecord(run, config, num_devices)
        self._spending = Spending(config, run.journal, run.trials / LIVE_FILE, self._modes, num_devices)
        weights = KeptWeights(config, self._trials_uri, self._modes[0], progress.note)
        self._conductor = Conductor(
            search=config, study=study, proposals=self._proposals, judge=self._judge, last_level=self._last_level,
            modes=self._modes, spending=self._spending, record=self._record, weights=weights, progress=progress,
            capacity=_Capacity(self._slot_request),
            is_lost=lambda node: bool(machines.lost([node])),
            last_words=lambda slot: last_words(self._search_id, slot),
        )  # fmt: skip

    def run(self) -> None:
        """Until it is over."""
        self._conductor.look_at_budget()
        if self._conductor.is_over:
            return
        self._run.journal.append("search", **self._facts())
        scheduler = self._config.scheduler
        if isinstance(scheduler, RacingConfig) and (why := why_never(scheduler.p_value, self._last_level)):
            self._progress.note(why)
        if scheduler.kind == "pbt" and (why := why_no_clones(self._num_slots())):
            self._progress.note(why)
        folds = self._fold_rows()
        trainable = tune.with_parameters(
            Slot, experiment=as_written(self._experiment),
            data=(self._prepared.facts, self._prepared.train, self._prepared.validation),
            folds=folds, settings=self._settings(),
        )  # fmt: skip
        try:
            self._tune(tune.with_resources(trainable, self._bundle()))
        finally:
            self._conductor.close()

    def _tune(self, trainable: Any) -> None:
        os.environ.update(QUIET)
        folder = self._run.trials / "tune"
        shutil.rmtree(folder, ignore_errors=True)
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=SlotSearcher(self._conductor),
                num_samples=-1,  # the conductor says when it is enough
                reuse_actors=False,  # a slot lives as long as its machine and the search
                trial_dirname_creator=lambda trial: str(trial.config["slot"]),
            ),
            run_config=RunConfig(
                name="tune",
                storage_path=str(self._run.trials),
                verbose=0,
                stop=WhenOver(self._conductor),
                callbacks=[SlotDeaths(self._conductor)],
                failure_config=FailureConfig(max_failures=-1),  # the conductor counts them trial by trial
                checkpoint_config=CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        try:
            tuner.fit()
        except HeadKilled as killed:
            raise TrainingFailed(
                f"Ray's own processes were killed: {killed}", "the same command goes on from what is saved"
            ) from killed
        shutil.rmtree(folder, ignore_errors=True)
        if self._conductor.failure is not None:
            raise self._conductor.failure

    def _slot_resources(self) -> dict[str, float]:
        """What Ray reserves for a slot; of several workers each reserves its own."""
        train = self._experiment.train
        gpus = (self._config.gpus_per_trial or 1.0) if uses_gpu(self._experiment) else 0.0
        require(Request(train.min_workers, train.cpus_per_worker, gpus))
        if train.max_workers > 1:
            return {"cpu": 0.0, "gpu": 0.0}
        return {"cpu": train.cpus_per_worker, "gpu": gpus}

    def _settings(self) -> dict[str, Any]:
        return {
            "metric": self._metric, "trials_uri": self._trials_uri, "code_path": self._code_path,
            "data_base": str(Path.cwd()), "cpus": self._resources["cpu"], "gpus": self._resources["gpu"],
            "memory_mb": self._config.memory_mb_per_trial, "search_id": self._search_id,
            "most_lanes": self._most_lanes(),
        }  # fmt: skip

    def _most_lanes(self) -> int:
        """Lanes of a stack: no more than leave every slot some, and a sampler that learns something to learn from."""
        left = max(1, self._config.trials - sum(trial.state in DONE for trial in self._study.trials))
        share = -(-left // self._num_slots())
        if self._config.sampler in LEARNING:
            share = max(1, -(-share // GENERATIONS))
        return min(self._config.lanes or share, share)

    def _bundle(self) -> Any:
        """What Tune reserves. A slot beside workers takes a little memory: Ray refuses a request for nothing."""
        if self._experiment.train.max_workers > 1:
            return tune.PlacementGroupFactory([{"memory": TEAM_SLOT_BYTES}])
        return self._resources

    @property
    def _slot_request(self) -> Request:
        """What a trial takes, in a slot or beside it."""
        train = self._experiment.train
        if train.max_workers > 1:
            gpus = 1.0 if uses_gpu(self._experiment) else 0.0
            return Request(train.min_workers, train.cpus_per_worker, gpus)
        return Request(1, self._resources["cpu"], self._resources["gpu"])

    def _num_slots(self) -> int:
        most = _Capacity(self._slot_request)()
        return max(1, min(most, self._config.concurrency or most))

    def _fold_rows(self) -> FoldRows | None:
        if self._config.folds is None:
            return None
        folds = read_folds(self._experiment.data, self._config.folds, code_path=self._code_path)
        return FoldRows(folds.for_workers(), folds.splits)

    def _facts(self) -> dict[str, Any]:
        config = self._config
        objectives = [{"name": name, "mode": mode} for name, mode in zip(config.objectives, self._modes, strict=True)]
        return {
            "metric": f"validation/{self._metric}", "mode": self._modes[0], "objectives": objectives,
            "trials": config.trials, "sampler": config.sampler, "scheduler": config.scheduler.kind,
            "rungs": list(self._judge.levels), "level": f"{config.level}s", "num_slots": self._num_slots(),
            "cpus_per_slot": self._resources["cpu"], "gpus_per_slot": self._resources["gpu"],
            "usd_per_device_hour": config.usd_per_device_hour, "fuse": config.fuse,
        }  # fmt: skip

    def result(self) -> SearchResult:
        """What it came to. Raises TrainingFailed where every trial failed."""
        trials = self._study.trials
        best = best_trial(self._study.study, trials)
        if best is None:
            raise self._nothing(trials)
        if best.state == TrialState.RUNNING:
            longest_s = self._conductor.longest_trial_s()
            self._progress.note(
                self._spending.too_small(longest_s, START_S[1])
                or f"no trial was trained to its end: {name_of(best.number)} is the best as far as they came"
            )
        counts = {state: sum(trial.state == state for trial in trials) for state in DONE}
        return SearchResult(
            trial=name_of(best.number),
            params=self._proposals.params_of(best),
            score=float(score_of(best) or 0.0),
            num_complete=counts[TrialState.COMPLETE],
            num_pruned=counts[TrialState.PRUNED],
            num_failed=counts[TrialState.FAIL],
            ended=self._conductor.ended
            or self._proposals.why_exhausted
            or f"all {self._config.trials} trials have ended",
            front=tuple(front_of(self._study.study, trials)),
            ledger=self._spending.fields(),
        )

    def _nothing(self, trials: list[FrozenTrial]) -> TrainingFailed:
        device = torch.device("cuda" if self._resources["gpu"] else "cpu")
        bench = Bench(
            self._experiment, self._proposals.space, self._prepared, self._metric, device, self._code_path
        )  # fmt: skip
        open_trials = [trial for trial in trials if trial.state not in DONE]
        params = self._proposals.params_of(open_trials[0]) if open_trials else {}
        params = self._proposals.space.conditions.completed(params)
        trial_s = self._conductor.longest_trial_s()
        return why_nothing(trials, self._conductor.ended, self._spending, trial_s, bench, params)


class _Capacity:
    """Slots that the cluster has room for, nodes that are to go left out; asked often, looked at once a second."""

    def __init__(self, request: Request) -> None:
        self._request, self._looked_at, self._known = request, -math.inf, 0

    def __call__(self) -> int:
        """As of a moment ago; one more where an autoscaler starts nodes for what waits."""
        if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            try:
                fitting = largest_fit([node.total for node in machines.usable()], self._request)
                self._known = fitting // self._request.count + machines.has_autoscaler()
            except Exception:  # a GCS that cannot be asked now is asked again
                logger.exception("could not ask Ray which nodes there are")
        return self._known
