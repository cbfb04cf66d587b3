"""Which settings decide whether a trial is among the best: Optuna's PED-ANOVA over the study in the run's folder."""

import math
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from training.report.search.view import Search
from training.report.shell import Figure, Part, chart_grid, chart_part, figure
from training.report.text import esc, plotted, table
from training.search.study import EARLIER, score_of

if TYPE_CHECKING:
    from optuna.importance import PedAnovaImportanceEvaluator

MIN_TRIALS = 20
MAX_TRIALS = 1000  # more do not change the picture, and cost seconds
TOP_FRACTION = 0.1
MIN_TOP = 8  # with 5, a setting that decides passed chance in half of made-up searches of 20 trials; with 8 in most
NUM_SHUFFLES = 19  # a setting without any effect beats the best of 19 shuffles 1 time in 20


@dataclass(frozen=True)
class Importances:
    """How much each setting decides, as shares of 1, and what chance alone gives."""

    num_trials: int
    num_top: int  # those that tie with the last of them counted in, as PED-ANOVA does
    num_tied: int  # trials with the best value
    shares: dict[str, float] = field(default_factory=dict)  # the largest first
    chance: dict[str, float] = field(default_factory=dict)  # the largest share of as many shuffles


def importances_of(trials: list[FrozenTrial], values: list[float], is_larger_better: bool) -> Importances:
    """PED-ANOVA of one objective. Settings that only some trials have count by how often they are there.

    Source: Watanabe, Bansal, Hutter, PED-ANOVA (IJCAI 2023); with conditional settings Optuna's extension of 2026.
    """
    from optuna.importance import PedAnovaImportanceEvaluator  # noqa: PLC0415  # with scikit-learn: 1 s, for searches

    places = np.unique(np.linspace(0, len(trials) - 1, min(len(trials), MAX_TRIALS)).round().astype(int))
    sign = -1.0 if is_larger_better else 1.0
    losses_T = sign * np.asarray(values)[places]
    fraction = min(max(TOP_FRACTION, MIN_TOP / len(places)), 0.5)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=fraction)
    study = _study_of([trials[i] for i in places])
    found = _evaluate(evaluator, study, losses_T)
    total = sum(found.values())
    counts = len(places), _num_top(losses_T, fraction), int((losses_T == losses_T.min()).sum())
    if not total > 0:
        return Importances(*counts)
    rng = np.random.default_rng(0)
    shuffled = [_evaluate(evaluator, study, rng.permutation(losses_T)) for _ in range(NUM_SHUFFLES)]
    return Importances(
        *counts,
        {key: value / total for key, value in found.items()},
        {key: max(each[key] for each in shuffled) / total for key in found},
    )  # fmt: skip


def _num_top(losses_T: np.ndarray, fraction: float) -> int:
    last = np.sort(losses_T)[math.ceil(fraction * len(losses_T)) - 1]
    return int((losses_T <= last).sum())


def _study_of(trials: list[FrozenTrial]) -> Study:
    study = optuna.create_study(direction="minimize")
    study.add_trials(
        create_trial(params=trial.params, distributions=trial.distributions, value=0.0) for trial in trials
    )
    return study


def _evaluate(evaluator: "PedAnovaImportanceEvaluator", study: Study, losses_T: np.ndarray) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna says that a target is made small, which is what is meant here
        return evaluator.evaluate(study, target=lambda trial: float(losses_T[trial.number]))


def importances(search: Search) -> tuple[Part, list[str]]:
    """Chart and table, or a sentence why there are none; and the settings, the most important first."""
    study = search.study
    if study is None:
        return Part("<p>Not known: the search's study is not in the run's folder, or not readable just now.</p>"), []
    own = [trial for trial in study.get_trials(deepcopy=False) if EARLIER not in trial.user_attrs and trial.params]
    charts: list[Part] = []
    words, first = "", list[str]()
    for index, direction in enumerate(study.directions):
        name = search.record.objectives[index][0] if index < len(search.record.objectives) else f"objective {index}"
        shown = search.metric if name == "score" else name
        known = [(trial, value) for trial in own if (value := _value(trial, index)) is not None]
        if len(known) < MIN_TRIALS:
            words += _too_few(len(known), shown)
            continue
        found = importances_of(
            [trial for trial, _ in known], [value for _, value in known], direction == StudyDirection.MAXIMIZE
        )
        if found.shares:
            charts.append(_chart(found, f"importances{index}", shown))
        words += _table(found, shown) if found.shares else f"<p>No setting makes a difference for {esc(shown)}.</p>"
        first = first or list(found.shares)
    grid = chart_grid(charts)
    return Part(grid.html + words, grid.figures), first


def _too_few(num_known: int, objective: str) -> str:
    return (
        f"<p>Too few trials to say what decides {esc(objective)}: {num_known} have it, and below {MIN_TRIALS} the best "
        "of them are too few to tell a pattern from chance.</p>"
    )


def _value(trial: FrozenTrial, index: int) -> float | None:
    """Of a trial that was stopped there is the score it had then, and no other objective."""
    if trial.state == TrialState.COMPLETE and trial.values and index < len(trial.values):
        value: float | None = trial.values[index]
    elif trial.state == TrialState.PRUNED and index == 0:
        value = score_of(trial)
    else:
        value = None
    return value if value is not None and math.isfinite(value) else None


def _chart(found: Importances, name: str, objective: str) -> Part:
    keys = list(found.shares)
    bars = {
        "type": "bar", "orientation": "h", "name": "importance", "y": [plotted(key) for key in keys],
        "x": [found.shares[key] for key in keys], "marker": {"color": "@accent"},
        "text": [f"{found.shares[key]:.0%}" for key in keys], "textposition": "auto", "textangle": 0,
        "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
    }  # fmt: skip
    ticks = {
        "type": "scatter", "mode": "markers", "name": "what chance alone may give",
        "y": [plotted(key) for key in keys], "x": [min(found.chance[key], 1.0) for key in keys],
        "marker": {"symbol": "line-ns", "size": 20, "line": {"color": "@second", "width": 2.5}},
        "hovertemplate": "%{y}: chance alone up to %{x:.1%}<extra></extra>",
    }  # fmt: skip
    drawn: Figure = figure([bars, ticks], "share", "")
    drawn["layout"]["yaxis"] |= {"autorange": "reversed", "type": "category"}
    drawn["layout"]["xaxis"] |= {"tickformat": ".0%", "rangemode": "tozero"}
    drawn["layout"]["height"] = 130 + 34 * len(keys)
    ties = f"; {found.num_tied:,} tie as the best" if found.num_tied > 1 else ""
    caption = (
        f"What decides whether a trial is among the best {found.num_top} of {found.num_trials:,} by {objective}{ties}"
    )
    return chart_part(name, caption, drawn)


def _table(found: Importances, objective: str) -> str:
    rows = [
        (esc(key), f"{share:.1%}", f"{min(found.chance[key], 1.0):.1%}",
         "yes" if share > found.chance[key] else "cannot be told from chance")
        for key, share in found.shares.items()
    ]  # fmt: skip
    grid = table(("setting", "importance", "chance alone up to", "matters"), rows, classes=("", "num", "num", ""))
    return f"<details><summary>As a table: {esc(objective)}</summary>{grid}</details>"
