"""What a search would do, before it does it: its space, its trials, its slots, and an estimate of time and money."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import torch
from optuna.study import Study

from training.capacity import Request, largest_fit
from training.config import Experiment
from training.data.prepared import Prepared
from training.errors import CapacityError, ConfigError
from training.fit import uses_gpu
from training.metric_names import Mode
from training.run_folder import RunFolder
from training.search.extend import no_more_than_there_are
from training.search.judges import judge_of
from training.search.judges.population import why_no_clones
from training.search.limits.budget import Standing, too_small
from training.search.plan.cost import Bench, Cost, measured_corners
from training.search.plan.estimate import Estimate, Interval, estimated
from training.search.plan.expected import Share, expected_share
from training.search.sampling.samplers import sampler_of
from training.search.sampling.warm_start import require_earlier
from training.search.search import modes_of
from training.search.slot.stackable import Stackable, stackable
from training.search.space.drawing import Space, described
from training.search_config import SearchConfig

ALL = Share(1.0, 1.0, 1.0)
HERE = "this machine"


@dataclass(frozen=True)
class Slots:
    """Trials, or stacks of them, at a time."""

    count: int
    cpus: float  # of each
    gpus: float
    where: str


@dataclass(frozen=True)
class Plan:
    """Everything that is known of a search before it runs."""

    name: str
    metric: str
    objectives: list[str]
    space: dict[str, str]  # what each key is drawn from, in words, in the order of drawing
    size: int | None  # different trials; None: no end of them
    points: list[dict[str, Any]]  # tried first
    trials: int  # that will run in all
    trials_done: int  # that ended already
    sampler: str
    sampler_notes: list[str]
    scheduler: str
    rungs: list[int]
    last_level: int
    level: str  # what a level is: epochs, folds, seeds, trainings
    share: Share  # of all levels, that is expected to be trained
    slots: Slots
    stackable: Stackable
    costs: list[Cost]  # the cheapest corner first
    estimate: Estimate
    budget: Interval | None  # share of the estimate that search.budget allows; None: all of it
    warnings: list[str]


def slots_here(experiment: Experiment) -> Slots:
    """What this machine holds. Raises CapacityError where it is not even one slot."""
    here = {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}
    return slots_of([here], experiment, HERE)


def slots_of(nodes: Sequence[dict[str, float]], experiment: Experiment, where: str) -> Slots:
    """How many slots fit.

    Args:
        nodes: resources of each machine, as Ray counts them.
        experiment: that searches.
        where: in words.

    Raises:
        CapacityError: not even one fits.
    """
    search, train = _search_of(experiment), experiment.train
    gpus = (search.gpus_per_trial or 1.0) if uses_gpu(experiment) else 0.0
    fitting = largest_fit(list(nodes), Request(train.max_workers, train.cpus_per_worker, gpus)) // train.max_workers
    if not fitting:
        each = f"{train.max_workers} x {train.cpus_per_worker:g} CPU" + (f" and {gpus:g} GPU" if gpus else "")
        raise CapacityError(
            f"one trial takes {each}, which {where} does not have", "lower train.cpus_per_worker or train.workers"
        )
    most = min(fitting, search.concurrency or fitting, search.trials)
    return Slots(most, train.cpus_per_worker * train.max_workers, gpus * train.max_workers, where)


def make_plan(experiment: Experiment, prepared: Prepared, metric: str, slots: Slots, code_path: str = "") -> Plan:
    """Look at the space, and time a few steps at its corners.

    Args:
        experiment: that searches.
        prepared: its data.
        metric: that decides, without its prefix.
        slots: that would work.
        code_path: folder that the experiment's own code is imported from.

    Raises:
        ConfigError: no search section, settings that do not go together, or a run of `search.from` that is not there.
    """
    search = no_more_than_there_are(_search_of(experiment), experiment)
    require_earlier(experiment)
    space = Space(search, experiment)
    modes = modes_of(search, metric)
    last_level = search.replicates if search.replicates > 1 else experiment.train.epochs
    notes = sampler_of(search, space, _empty_study(modes)).notes
    num_trials, num_done = search.trials, _num_done(experiment)
    share = _share(search, num_trials, slots.count, last_level, modes)
    device = torch.device("cuda" if slots.gpus and torch.cuda.is_available() else "cpu")
    bench = Bench(experiment, space, prepared, metric, device, code_path)
    costs = measured_corners(bench)
    fused = stackable(bench, slots.count, num_trials)
    estimate = estimated(experiment, costs, share, max(num_trials - num_done, 0), slots.count, _devices(slots), fused)
    return Plan(
        name=experiment.name, metric=f"validation/{metric}", objectives=list(search.objectives),
        space={key: described(dimension) for key, dimension in space.dimensions.items()}, size=space.size(),
        points=[space.restored(point) for point in space.points()], trials=num_trials, trials_done=num_done,
        sampler=search.sampler, sampler_notes=list(notes), scheduler=search.scheduler.kind,
        rungs=list(judge_of(search, last_level, modes).levels), last_level=last_level,
        level=f"{search.level}s", share=share, slots=slots,
        stackable=fused, costs=costs, estimate=estimate, budget=_allowed(search, estimate),
        warnings=_warnings(search, estimate, slots, num_done, num_trials),
    )  # fmt: skip


def _search_of(experiment: Experiment) -> SearchConfig:
    if experiment.search is None:
        raise ConfigError(f"{experiment.name} has no search section", "add search.space, or use `manta train`")
    return experiment.search


def _devices(slots: Slots) -> float:
    """Of a slot, that are paid for: GPUs where it takes some, else CPUs."""
    return slots.gpus or slots.cpus


def _empty_study(modes: Sequence[Mode]) -> Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(directions=["maximize" if mode == "max" else "minimize" for mode in modes])


def _num_done(experiment: Experiment) -> int:
    return len({event["trial"] for event in RunFolder.of(experiment).journal.events("trial")})


def _share(search: SearchConfig, num_trials: int, num_slots: int, last_level: int, modes: list[Mode]) -> Share:
    if search.scheduler.kind in ("none", "pbt"):
        return ALL
    return expected_share(lambda: judge_of(search, last_level, modes), num_trials, num_slots, last_level, modes)


def _allowed(search: SearchConfig, estimate: Estimate) -> Interval | None:
    """How much of the search its budget pays for."""
    left = 1 - search.budget.reserve_fraction
    limits = [
        (search.budget.wall_s, estimate.wall_s),
        (search.budget.device_hours, estimate.device_hours),
        (search.budget.usd, estimate.usd),
    ]
    shares = [
        (limit * left / needed.high, limit * left / needed.usual, limit * left / needed.low)
        for limit, needed in limits
        if limit is not None and needed is not None and needed.low > 0
    ]
    if not shares or min(share[0] for share in shares) >= 1:
        return None
    low, usual, high = (min(1.0, *(share[i] for share in shares)) for i in range(3))
    return Interval(low, usual, high)


def _warnings(search: SearchConfig, estimate: Estimate, slots: Slots, num_done: int, num_trials: int) -> list[str]:
    found = [too_small(search, Standing(), estimate.trial_s.usual, _devices(slots)), _elsewhere(slots)]
    if search.scheduler.kind == "pbt":
        found.append(why_no_clones(slots.count))
    if num_done >= num_trials:
        found.append(f"the search is done: {num_done} trials ended")
    if search.startup_trials >= num_trials and search.sampler not in ("random", "grid"):
        found.append(
            f"search.startup_trials={search.startup_trials} are drawn at random, so {search.sampler} proposes none of "
            f"the {num_trials} trials"
        )
    if slots.count > 1 and search.sampler not in ("random", "grid") and slots.count * 4 > num_trials:
        found.append(
            f"{slots.count} slots draw {num_trials} trials in few rounds: {search.sampler} learns little between them"
        )
    return [text for text in found if text]


def _elsewhere(slots: Slots) -> str:
    """What the measured seconds are worth on other machines."""
    if slots.gpus and not torch.cuda.is_available():
        return f"steps were timed on this machine, on its CPU; the slots have GPUs, on {slots.where}"
    if slots.where != HERE:
        return f"steps were timed on this machine; those of {slots.where} may be faster or slower"
    return ""
