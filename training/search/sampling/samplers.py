"""Who proposes trials: Optuna's samplers, told what the space is like, and kept affordable over many trials."""

import json
import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from training.search.sampling.few_trials import LEARNED_FROM, FewTrials
from training.search.space.dimensions import Choice
from training.search.space.drawing import Space
from training.search.study import EARLIER
from training.search_config import SearchConfig

LEARNING = ("tpe", "gp", "cmaes", "nsga2")  # samplers that learn from ended trials
GENERATIONS = 4  # a sampler that learns is asked at least so often
NEWEST = 500  # finished trials that TPE and CMA-ES learn from, beside the best ones
NEWEST_OF_GP = 250  # a Gaussian process costs the cube of their number
Source = Literal["point", "random", "sampler", "earlier run"]
PROPOSED = "proposed"  # user attribute of a trial whose settings a sampler has chosen, and not chance


class Proposer(NamedTuple):
    """A sampler, and what a person should know of it."""

    sampler: BaseSampler
    notes: tuple[str, ...]


def sampler_of(search: SearchConfig, space: Space, study: Study) -> Proposer:
    """The sampler that `search.sampler` names.

    Its seed is `search.seed` and the number of trials that the study has, so that a search that goes on does not
    repeat its draws. One slot and no interruption: the same trials every time. Otherwise what a sampler proposes
    depends on which trials have ended when it is asked.

    Raises:
        ConfigError: a grid over a dimension that has no end of values.
    """
    seed, startup = search.seed + len(study.get_trials(deepcopy=False)), search.startup_trials
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # group, margin, brute force
        match search.sampler:
            case "tpe":
                group = space.is_conditional
                return Proposer(Tpe(seed=seed, n_startup_trials=startup, multivariate=True, group=group), ())
            case "gp":
                return _gp(search, space, seed)
            case "cmaes":
                return _cmaes(search, space, study, seed)
            case "nsga2":
                return _nsga2(search, space, seed)
            case "grid":
                return _grid(search, space, seed)
            case "random":
                return Proposer(RandomSampler(seed=seed), ())


def source_of(study: Study, trial_id: int) -> Source:
    """Where the settings of a drawn trial come from: a known point, chance, the sampler, or another run.

    Args:
        study: whose sampler is one of ours; it left a mark on what it proposed.
        trial_id: Optuna's id of the trial.
    """
    trial = study._storage.get_trial(trial_id)
    if EARLIER in trial.user_attrs:
        return "earlier run"
    if "fixed_params" in trial.system_attrs:
        return "point"
    return "sampler" if trial.user_attrs.get(PROPOSED) else "random"


def is_exhausted(search: SearchConfig, space: Space, trials: Sequence[FrozenTrial]) -> bool:
    """Whether a grid has no combination left to begin.

    Args:
        search: its settings.
        space: of the search.
        trials: all of the study.
    """
    size = space.size() if search.sampler == "grid" else None
    if size is None:
        return False
    begun = [trial for trial in trials if trial.state != TrialState.WAITING and EARLIER not in trial.user_attrs]
    return len({json.dumps(trial.params, sort_keys=True) for trial in begun}) >= size


class Tpe(TPESampler):
    """TPE over the best and the newest trials. A multivariate one draws the keys together and each by itself in turn:
    the former finds what goes with what, the latter leaves what it has found (the figures are in docs/decisions.md)."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(constant_liar=True, **settings)
        self._startup = int(settings["n_startup_trials"])
        self._few = FewTrials(max(NEWEST, 2 * self._startup))

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The keys that are drawn together, in every other trial."""
        if trial.number % 2:
            return {}
        return _marked(study, trial, super().sample_relative(self._few.of(study), trial, search_space))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A key by itself."""
        few = self._few.of(study)
        if len(few._get_trials(deepcopy=False, states=LEARNED_FROM)) >= self._startup:
            _mark(study, trial)
        return super().sample_independent(few, trial, param_name, param_distribution)


class Gp(GPSampler):
    """A Gaussian process over the best and the newest trials."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(warn_independent_sampling=False, **settings)
        self._few = FewTrials(max(NEWEST_OF_GP, 2 * int(settings["n_startup_trials"])))

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The keys that are drawn together."""
        return _marked(study, trial, super().sample_relative(self._few.of(study), trial, search_space))


class CmaEs(CmaEsSampler):
    """CMA-ES over the newest trials, which hold its present generation."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(warn_independent_sampling=False, **settings)
        self._few = FewTrials(max(NEWEST, 2 * int(settings["n_startup_trials"])))

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The keys that are drawn together."""
        return _marked(study, trial, super().sample_relative(self._few.of(study), trial, search_space))


class Nsga2(NSGAIISampler):
    """NSGA-II, which marks the children that it bred."""

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The keys that are drawn together."""
        return _marked(study, trial, super().sample_relative(study, trial, search_space))


class Grid(BruteForceSampler):
    """Every combination once, also where a key is drawn in some trials only. `is_exhausted` says when it is over."""

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """No trial of a grid is left to chance."""
        _mark(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Nothing: Optuna's would stop `Study.optimize`, which does not run here."""


def _marked(study: Study, trial: FrozenTrial, proposed: dict[str, Any]) -> dict[str, Any]:
    if proposed:
        _mark(study, trial)
    return proposed


def _mark(study: Study, trial: FrozenTrial) -> None:
    if not trial.user_attrs.get(PROPOSED):
        study._storage.set_trial_user_attr(trial._trial_id, PROPOSED, True)
        trial.user_attrs[PROPOSED] = True


def _alone(search: SearchConfig, seed: int) -> Tpe:
    """For the keys that another sampler does not take."""
    return Tpe(seed=seed, n_startup_trials=search.startup_trials, multivariate=False)


def _gp(search: SearchConfig, space: Space, seed: int) -> Proposer:
    sampler = Gp(seed=seed, n_startup_trials=search.startup_trials, independent_sampler=_alone(search, seed))
    notes = _left_to_tpe("gp", [key for key in space.dimensions if key not in space.always], "not drawn in all trials")
    if search.scheduler.kind != "none":
        notes += (
            "gp learns from trials that train to their end, not from those that are stopped early; until "
            f"{search.startup_trials} have, tpe proposes",
        )
    return Proposer(sampler, notes)


def _cmaes(search: SearchConfig, space: Space, study: Study, seed: int) -> Proposer:
    others = [key for key in space.dimensions if key not in space.always]
    listed = [key for key in space.always if isinstance(space.dimensions[key], Choice)]
    numeric = [key for key in space.always if key not in listed]
    whole = any(space.dimensions[key].size() is not None for key in numeric)
    sampler = CmaEs(
        seed=seed, n_startup_trials=search.startup_trials, independent_sampler=_alone(search, seed),
        consider_pruned_trials=True, with_margin=whole, source_trials=None if listed or others else _lent(study),
    )  # fmt: skip
    notes = _left_to_tpe("cmaes", listed, "listed choices without an order")
    notes += _left_to_tpe("cmaes", others, "not drawn in all trials")
    if len(numeric) < 2:
        notes += (f"cmaes is left with {len(numeric)} of the keys; tpe suits this space better",)
    return Proposer(sampler, notes)


def _lent(study: Study) -> list[FrozenTrial] | None:
    """Trials of earlier runs, from which CMA-ES takes its first distribution (Nomura et al. 2021)."""
    lent = [trial for trial in study.get_trials(deepcopy=False) if EARLIER in trial.user_attrs]
    return [trial for trial in lent if trial.state == TrialState.COMPLETE] or None


def _nsga2(search: SearchConfig, space: Space, seed: int) -> Proposer:
    population = max(2, search.startup_trials)
    notes = [f"nsga2 breeds generations of {population} trials (search.startup_trials), the first one at random"]
    if others := [key for key in space.dimensions if key not in space.always]:
        notes.append(f"nsga2 draws at random what is not drawn in all trials: {', '.join(others)}")
    return Proposer(Nsga2(seed=seed, population_size=population), tuple(notes))


def _grid(search: SearchConfig, space: Space, seed: int) -> Proposer:
    space.require_end()
    size = space.size() or 0
    more = f", of which search.trials={search.trials} are tried" if search.trials < size else ""
    return Proposer(Grid(seed=seed), (f"the grid has {size:,} combinations{more}",))


def _left_to_tpe(sampler: str, keys: list[str], why: str) -> tuple[str, ...]:
    return (f"{sampler} leaves to tpe, each by itself, what is {why}: {', '.join(keys)}",) if keys else ()
