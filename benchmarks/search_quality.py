"""How good what a search finds is, at equal budgets: ours beside Ray's own, Optuna's own, and random search with ASHA.

    python -m benchmarks.search_quality [--seeds 20] [--only functions,adult] [--adult adult.csv] [--svg FILE]

    ours            our sampler and judge (the defaults, on the rungs of the problem); stopped trials are told as PRUNED
    stock Ray       `OptunaSearch` and `ASHAScheduler` as Tune's controller calls them: stopped trials count as complete
    Optuna          TPE with HyperbandPruner, which Optuna's guide recommends for it; ask and tell
    random + ASHA   random settings, the same scheduler

Each is driven through its own public classes by a simulated host: workers that finish epochs at times drawn by the
seed, and a budget of epochs in all. Nothing trains, so 20 seeds take minutes. `functions` are test functions with
learning curves whose best score is known (benchmarks/search_problems.py). `adult` is real: an MLP on Adult, trained
once for a table of random settings (benchmarks/adult_table.py); a trial gets the curve of the nearest settings in it.
Without `--adult` a made-up table like Adult is used, and the output says so.

Regret is the true score of the best trial there is, less that of what the search would hand out: the epoch with the
best score that it has seen. Intervals are 95 %, bootstrap over the seeds; differences are paired by seed. Over several
problems regrets are shares of random + ASHA's at the end. In the last line, JSON, a difference above 0 means that ours
is worse: worst_vs_any is the largest mean difference to any peer over all problems, vs_stock_when_stopping_is_frequent
the one to stock Ray where nearly all trials stop at the first rungs.

It can be run in parts: `--keep FILE` remembers every search that was made, and makes only those that are missing.
"""

import argparse
import heapq
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.adult_table import AdultTable, made_table
from benchmarks.line_chart import write_chart
from benchmarks.search_problems import PROBLEMS, Problem
from benchmarks.search_systems import SYSTEMS, System, system_of

OURS, STOCK = "ours", "stock Ray"
NUM_RESAMPLES = 4000
NUM_MARKS = 24  # points of a curve, at even shares of the budget


@dataclass(frozen=True)
class Task:
    """One search."""

    problem: Problem
    system: str
    seed: int
    trainings: int  # whole trainings that the budget comes to
    workers: int

    @property
    def key(self) -> str:
        """What decides the outcome, in words."""
        return f"{self.problem.name} | {self.system} | {self.seed} | {self.trainings} | {self.workers}"


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    regrets: list[float]  # after each epoch of the budget, or at the marks
    num_trials: int
    num_stopped: int


@dataclass
class Job:
    """A trial at a worker."""

    trial: str
    true: np.ndarray
    seen: np.ndarray
    pace: float
    epoch: int = 0


def simulate(problem: Problem, system: System, num_workers: int, budget: int, seed: int) -> Outcome:
    """Workers train an epoch at a time until so many epochs are done."""
    draw = np.random.default_rng([seed, 1])
    best_seen, regret, regrets = -np.inf, problem.best, list[float]()
    num_trials = num_stopped = 0
    jobs: dict[int, Job] = {}
    due = [(0.0, worker) for worker in range(num_workers)]
    while len(regrets) < budget:
        now, worker = heapq.heappop(due)
        if (job := jobs.get(worker)) is not None:
            job.epoch += 1
            seen = float(job.seen[job.epoch - 1])
            if seen > best_seen:
                best_seen, regret = seen, problem.best - float(job.true[job.epoch - 1])
            regrets.append(regret)
            if not system.told(worker, job.trial, job.epoch, seen):
                num_stopped += job.epoch < problem.epochs
                job = None
        if job is None:
            num_trials += 1
            trial, params = system.next(worker)
            job = Job(trial, problem.true_curve(params), problem.seen_curve(params, seed), draw.lognormal(0, 0.3))
            jobs[worker] = job
        heapq.heappush(due, (now + job.pace * draw.uniform(0.9, 1.1), worker))
    return Outcome(regrets, num_trials, num_stopped)


def run(task: Task) -> tuple[str, dict[str, Any]]:
    """One search, in a process of the pool."""
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    budget = task.trainings * task.problem.epochs
    with tempfile.TemporaryDirectory(dir=_quick_folder()) as folder:
        system = system_of(task.system, task.problem, task.seed, Path(folder), task.workers)
        outcome = simulate(task.problem, system, task.workers, budget, task.seed)
    marks = [budget * (i + 1) // NUM_MARKS - 1 for i in range(NUM_MARKS)]
    regrets = [round(outcome.regrets[mark], 6) for mark in marks]
    return task.key, {"regrets": regrets, "trials": outcome.num_trials, "stopped": outcome.num_stopped}


def _quick_folder() -> str | None:
    """A file system in memory, where there is one: ours forces every trial to disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def main() -> None:
    """Make the searches that are missing, and compare."""
    arguments = parsed()
    problems = list(chosen(arguments))
    tasks = [
        Task(problem, system, seed, arguments.trainings, arguments.workers)
        for problem in problems
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        for system in SYSTEMS
    ]
    found = outcomes(tasks, arguments.keep, arguments.jobs)
    comparison = Comparison(problems, tasks, found)
    comparison.show()
    if arguments.svg:
        comparison.draw(arguments.svg)
    print(json.dumps(comparison.figures()))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", default="functions,adult", help="functions, adult, or names of functions, by commas")
    parser.add_argument("--trainings", type=int, default=40, help="the budget, in whole trainings")
    parser.add_argument("--workers", type=int, default=4, help="simulated, at the same time")
    parser.add_argument("--adult", type=Path, help="the real Adult table, a CSV file without a header line")
    parser.add_argument("--table", type=Path, help="file that keeps the trained settings of `adult`")
    parser.add_argument("--table-settings", type=int, default=256, help="random settings that are trained for it")
    parser.add_argument("--keep", type=Path, help="file that keeps what was searched")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--svg", type=Path, help="chart to draw")
    return parser.parse_args()


def chosen(arguments: argparse.Namespace) -> Iterator[Problem]:
    """The problems asked for."""
    names = arguments.only.split(",")
    known = {"functions", "adult", *(problem.name for problem in PROBLEMS)}
    if unknown := set(names) - known:
        raise SystemExit(f"no such problems: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    yield from (problem for problem in PROBLEMS if "functions" in names or problem.name in names)
    if "adult" in names:
        yield AdultTable(made_table(arguments.adult, arguments.table, arguments.table_settings))


def outcomes(tasks: Sequence[Task], keep: Path | None, jobs: int) -> dict[str, dict[str, Any]]:
    """Of all searches: those that were kept, and the others made now."""
    found: dict[str, dict[str, Any]] = {}
    if keep is not None and keep.exists():
        found = dict(json.loads(line) for line in keep.read_text(encoding="utf-8").splitlines())
    missing = [task for task in tasks if task.key not in found]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for number, (key, outcome) in enumerate(pool.map(run, missing), 1):
            found[key] = outcome
            if keep is not None:
                with keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([key, outcome]) + "\n")
            if number % 20 == 0:
                print(f"  {number} of {len(missing)} searches", flush=True)
    return found


class Comparison:
    """All outcomes as arrays, regrets by (seed, mark)."""

    def __init__(self, problems: Sequence[Problem], tasks: Sequence[Task], found: dict[str, dict[str, Any]]) -> None:
        self._problems = list(problems)
        self._regrets: dict[tuple[str, str], np.ndarray] = {}
        self._trials: dict[tuple[str, str], tuple[float, float]] = {}
        for problem in problems:
            for system in SYSTEMS:
                mine = [found[t.key] for t in tasks if t.problem.name == problem.name and t.system == system]
                self._regrets[problem.name, system] = np.array([one["regrets"] for one in mine])
                trials = float(np.mean([one["trials"] for one in mine]))
                self._trials[problem.name, system] = trials, float(np.mean([one["stopped"] for one in mine])) / trials

    def shares(self, problem: Problem, system: str) -> np.ndarray:
        """Regrets as multiples of random + ASHA's mean one at the end."""
        scale = max(float(self._regrets[problem.name, SYSTEMS[-1]][:, -1].mean()), 1e-9)
        return self._regrets[problem.name, system] / scale

    def difference(self, peer: str, problems: Sequence[Problem]) -> np.ndarray:
        """Ours less the peer's at the end, one a seed, the mean over the problems; above 0: ours is worse."""
        return np.mean([self.shares(p, OURS)[:, -1] - self.shares(p, peer)[:, -1] for p in problems], axis=0)

    def show(self) -> None:
        """The tables."""
        for problem in self._problems:
            print(
                f"\n{problem.name}: {problem.epochs} epochs, first judged after {problem.grace}, 1 in {problem.factor}"
            )
            print(f"{'':15} {'trials':>7} {'stopped':>8} {'at 1/4':>8} {'at 1/2':>8} {'at the end':>11}  95 %")
            for system in SYSTEMS:
                regrets = self._regrets[problem.name, system]
                trials, stopped = self._trials[problem.name, system]
                quarter, half, end = (regrets[:, NUM_MARKS * part // 4 - 1].mean() for part in (1, 2, 4))
                low, high = interval(regrets[:, -1])
                print(
                    f"{system:15} {trials:7.0f} {stopped:8.0%} {quarter:8.4f} {half:8.4f} {end:11.4f}"
                    f"  {low:.4f} to {high:.4f}"
                )
        self._show_differences()

    def _show_differences(self) -> None:
        print("\nours less a peer at the end of the budget, paired by seed; shares of random + ASHA's regret; 95 %")
        print(f"{'':15} " + " ".join(f"{peer:>26}" for peer in SYSTEMS[1:]))
        groups = [(problem.name, [problem]) for problem in self._problems] + [("all", self._problems)]
        for name, problems in groups:
            print(f"{name:15} " + " ".join(f"{_words(self.difference(peer, problems)):>26}" for peer in SYSTEMS[1:]))

    def figures(self) -> dict[str, Any]:
        """What the last line says."""
        peers = {peer: self.difference(peer, self._problems) for peer in SYSTEMS[1:]}
        worst = max(peers, key=lambda peer: float(peers[peer].mean()))
        often = [problem for problem in self._problems if problem.stops_often]
        each = {
            f"{problem.name} vs {peer}": float(self.difference(peer, [problem]).mean())
            for problem in self._problems
            for peer in SYSTEMS[1:]
        }
        hardest = max(each, key=lambda name: each[name])
        return {
            "worst_vs_any": round(float(peers[worst].mean()), 4),
            "worst_vs_any_interval": _rounded(peers[worst]),
            "worst_peer": worst,
            "worst_single": {hardest: round(each[hardest], 4)},
            "vs_stock_when_stopping_is_frequent": (
                round(float(self.difference(STOCK, often).mean()), 4) if often else None
            ),
            "vs_stock_when_stopping_is_frequent_interval": _rounded(self.difference(STOCK, often)) if often else None,
            "vs": {peer: {"mean": round(float(d.mean()), 4), "interval": _rounded(d)} for peer, d in peers.items()},
            "seeds": len(next(iter(peers.values()))),
            "problems": [problem.name for problem in self._problems],
        }

    def draw(self, path: Path) -> None:
        """Mean regret over the budget, the mean over the problems, with its intervals."""
        lines, bands = {}, {}
        for system in SYSTEMS:
            mean_SM = np.mean([self.shares(problem, system) for problem in self._problems], axis=0)
            at = [(i + 1) / NUM_MARKS * 100 for i in range(NUM_MARKS)]
            lines[system] = list(zip(at, mean_SM.mean(axis=0).tolist(), strict=True))
            bands[system] = [(x, *interval(mean_S)) for x, mean_S in zip(at, mean_SM.T, strict=True)]
        title = f"Mean regret over {len(self._problems)} problems, as a multiple of random + ASHA's at the end"
        write_chart(path, title, "% of the budget", "regret", lines, guide="", unit=None, bands=bands)


def interval(values_S: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean, bootstrap over seeds."""
    draw = np.random.default_rng(0)
    means = values_S[draw.integers(0, len(values_S), (NUM_RESAMPLES, len(values_S)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _words(values_S: np.ndarray) -> str:
    low, high = interval(values_S)
    return f"{values_S.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def _rounded(values_S: np.ndarray) -> list[float]:
    return [round(value, 4) for value in interval(values_S)]


if __name__ == "__main__":
    main()
