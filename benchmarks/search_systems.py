"""The searches that `benchmarks.search_quality` compares, each driven through its own public classes as its host does.

A simulated host asks for settings, tells each epoch's score, and hears whether the trial goes on.
"""

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import optuna
from optuna.pruners import HyperbandPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import BaseTrial, Trial, TrialState
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.search_problems import Params, Problem, experiment_of
from training.progress import Silent
from training.run_folder import RunFolder
from training.search.conductor import Conductor
from training.search.judges import judge_of
from training.search.limits.spending import Spending
from training.search.limits.weights import KeptWeights
from training.search.messages import Heard, Told
from training.search.record import LIVE_FILE, SearchRecord
from training.search.sampling.proposals import Proposals
from training.search.space.drawing import Space
from training.search.study import FILE, SearchStudy

SCORE = "score"


class System(Protocol):
    """A search."""

    def next(self, worker: int) -> tuple[str, Params]:
        """A trial for a free worker, and its settings."""

    def told(self, worker: int, trial: str, epoch: int, score: float) -> bool:
        """A trial's score after an epoch; whether it goes on."""


class Stock:
    """Ray's OptunaSearch and ASHAScheduler, called in the order of Tune's controller."""

    def __init__(self, problem: Problem, seed: int, sampler: BaseSampler | None = None) -> None:
        """`sampler`: another one than OptunaSearch's own."""
        self._last, self._trials = problem.epochs, dict[str, Any]()
        self._space = space = _space_of(problem)

        def draw(trial: BaseTrial) -> None:
            space.draw(trial)

        given: dict[str, Any] = {"seed": seed} if sampler is None else {"sampler": sampler}
        self._search = OptunaSearch(draw, metric=SCORE, mode="max", **given)
        self._asha = ASHAScheduler(
            time_attr="training_iteration", metric=SCORE, mode="max", max_t=problem.epochs,
            grace_period=problem.grace, reduction_factor=problem.factor,
        )  # fmt: skip

    def next(self, worker: int) -> tuple[str, Params]:
        """Suggested."""
        name = f"t{len(self._trials)}"
        params = self._search.suggest(name)
        assert isinstance(params, dict)
        self._trials[name] = SimpleNamespace(trial_id=name)  # all that ASHA looks at
        self._asha.on_trial_add(None, self._trials[name])
        return name, self._space.restored(params)  # it gives them as the study keeps them

    def told(self, worker: int, trial: str, epoch: int, score: float) -> bool:
        """The scheduler first; a trial that it stops is complete for the search, with its last score."""
        result = {SCORE: score, "training_iteration": epoch}
        decision = self._asha.on_trial_result(None, self._trials[trial], result)
        if decision == TrialScheduler.STOP or epoch == self._last:
            self._asha.on_trial_complete(None, self._trials[trial], result)
            self._search.on_trial_complete(trial, result)
            return False
        self._search.on_trial_result(trial, result)
        return True


class PlainOptuna:
    """Optuna's ask and tell with TPE and the pruner that its own guide recommends for it, Hyperband."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self._last, self._space = problem.epochs, _space_of(problem)
        pruner = HyperbandPruner(
            min_resource=problem.grace, max_resource=problem.epochs, reduction_factor=problem.factor
        )
        self._study = optuna.create_study(  # brackets follow from the study's name
            study_name=f"{problem.name}-{seed}", direction="maximize", sampler=TPESampler(seed=seed), pruner=pruner
        )
        self._open: dict[str, Trial] = {}

    def next(self, worker: int) -> tuple[str, Params]:
        """Asked."""
        trial = self._study.ask()
        self._open[str(trial.number)] = trial
        return str(trial.number), self._space.draw(trial)

    def told(self, worker: int, trial: str, epoch: int, score: float) -> bool:
        """Reported; pruned or complete in the end."""
        asked = self._open[trial]
        asked.report(score, epoch)
        if epoch == self._last:
            self._study.tell(asked, score)
        elif asked.should_prune():
            self._study.tell(asked, state=TrialState.PRUNED)
        else:
            return True
        del self._open[trial]
        return False


class Ours:
    """The conductor of a search, its study, journal, judge and sampler, told what slots would say."""

    def __init__(self, problem: Problem, seed: int, storage: Path, num_workers: int) -> None:
        """`storage`: an empty folder."""
        experiment = experiment_of(problem, str(storage), "quality", seed)
        config = experiment.search
        assert config is not None
        run, silent = RunFolder.of(experiment), Silent()
        run.open(experiment)
        self._study = SearchStudy(run.trials / FILE, ["max"])
        self._last, self._until = problem.epochs, dict[str, int]()
        self._best: dict[str, float] = {}
        self._conductor = Conductor(
            search=config, study=self._study, proposals=Proposals(config, experiment, self._study, SCORE, silent.note),
            judge=judge_of(config, problem.epochs, ["max"]), last_level=problem.epochs, modes=["max"],
            spending=Spending(config, run.journal, run.trials / LIVE_FILE, ["max"], 1.0),
            record=SearchRecord(run, config, 1.0), progress=silent,
            weights=KeptWeights(config, run.checkpoints_of("").rstrip("/"), "max", silent.note),
            capacity=lambda: num_workers, is_lost=lambda _: False, last_words=lambda _: ((), ""),
        )  # fmt: skip
        for worker in range(num_workers):
            assert self._conductor.new_slot(str(worker)) is not None
            self._conductor.hear(str(worker), Told("one", handle=self))

    def next(self, worker: int) -> tuple[str, Params]:
        """A slot that has nothing to do asks."""
        (assignment,) = self._conductor.hear(str(worker), Told("one", wants=1)).start
        self._until[assignment.trial], self._best[assignment.trial] = assignment.until, float("-inf")
        return assignment.trial, assignment.params

    def told(self, worker: int, trial: str, epoch: int, score: float) -> bool:
        """As a slot tells it: the best score so far, and at a rung it waits for the verdict."""
        best = self._best[trial] = max(self._best[trial], score)
        state: Any = "finished" if epoch == self._last else "judged" if epoch >= self._until[trial] else "running"
        heard = Heard(trial, state, epoch, values=(best,), curve=(score,), epochs=epoch, useful_s=1.0)
        orders = self._conductor.hear(str(worker), Told("one", heard=(heard,)))
        self._until.update(orders.go_on)
        return state != "finished" and trial not in orders.stop


def _space_of(problem: Problem) -> Space:
    experiment = experiment_of(problem, "runs", "space", 0)
    assert experiment.search is not None
    return Space(experiment.search, experiment)


SYSTEMS = ("ours", "stock Ray", "Optuna", "random + ASHA")


def system_of(name: str, problem: Problem, seed: int, storage: Path, num_workers: int) -> System:
    """A new search."""
    match name:
        case "ours":
            return Ours(problem, seed, Path(tempfile.mkdtemp(dir=storage)), num_workers)
        case "stock Ray":
            return Stock(problem, seed)
        case "Optuna":
            return PlainOptuna(problem, seed)
        case _:
            return Stock(problem, seed, RandomSampler(seed))
