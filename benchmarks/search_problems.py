"""Made-up trainings whose best score is known: a test function says how good settings become, a curve how soon.

A trial's score after t of T epochs is f(settings) * (1 - exp(-pace * t / T)) / (1 - exp(-pace)) plus noise, so the last
epoch's true score is f, and the best that any trial can have is 1. Where `pace` differs among settings, curves cross.
Where a model overfits, the score falls from its best, f, towards the end: there an early score, even a poor one, may be
above the last score of a good trial.
"""

import json
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from training.config import Experiment

Params = Mapping[str, Any]
AT = "model.args"  # where the settings of a model of somebody's own stand

# Hartmann's constants, from Dixon and Szego, Towards Global Optimisation 2 (1978).
ALPHA_4 = np.array([1.0, 1.2, 3.0, 3.2])
A3_43 = np.array([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]])
P3_43 = 1e-4 * np.array([[3689, 1170, 2673], [4699, 4387, 7470], [1091, 8732, 5547], [381, 5743, 8828]])
A6_46 = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
P6_46 = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
BEST_3, BEST_6, BRANIN_BEST, BRANIN_WORST = 3.86278, 3.32237, 0.397887, 308.129


class Problem(Protocol):
    """Something to search, with all that may be known of it."""

    name: str
    space: Mapping[str, Any]
    epochs: int
    grace: int
    factor: int
    stops_often: bool  # most trials are stopped at the first rung
    best: float  # true score of the best trial there is

    def true_curve(self, params: Params) -> np.ndarray:
        """Scores without noise, one an epoch."""

    def seen_curve(self, params: Params, seed: int) -> np.ndarray:
        """Scores as a search sees them."""


@dataclass(frozen=True)
class MadeUp:
    """A test function with learning curves."""

    name: str
    space: Mapping[str, Any]
    score: Callable[[Params], float]  # of the last epoch, up to 1
    pace: Callable[[Params, float], float]
    epochs: int = 27
    grace: int = 2
    factor: int = 3
    stops_often: bool = False
    noise: float = 0.01
    falls: float = 0.0  # share of the score that is lost by the end, by overfitting
    best: float = 1.0

    def true_curve(self, params: Params) -> np.ndarray:
        """Scores without noise, one an epoch."""
        final = self.score(params)
        pace = self.pace(params, final)
        done_T = np.arange(1, self.epochs + 1) / self.epochs
        curve_T = (1 - np.exp(-pace * done_T)) / (1 - math.exp(-pace)) - self.falls * done_T
        return final * curve_T / curve_T.max() if self.falls else final * curve_T

    def seen_curve(self, params: Params, seed: int) -> np.ndarray:
        """Scores as a search sees them: the same settings and seed give the same noise."""
        word = zlib.crc32(json.dumps(params, sort_keys=True, default=str).encode())
        noise_T = np.random.default_rng([word, seed]).normal(0, self.noise, self.epochs)
        return self.true_curve(params) + noise_T


def experiment_of(problem: Problem, storage: str, name: str, seed: int) -> Experiment:
    """The search of a problem as a person would write it: our defaults, but for the rungs."""
    return Experiment.model_validate(
        {
            "name": name,
            "storage": storage,
            "data": {"source": "sklearn:iris", "target": "target"},  # never read
            "model": {"target": "nobody:Model"},
            "train": {"epochs": problem.epochs},
            "search": {
                "trials": 10**6, "seed": seed, "space": dict(problem.space),
                "scheduler": {"kind": "asha", "grace": problem.grace, "reduction_factor": problem.factor},
            },
        }
    )  # fmt: skip


def _unit(num: int) -> dict[str, Any]:
    return {f"{AT}.x{i}": {"range": [0.0, 1.0]} for i in range(num)}


def _branin(params: Params) -> float:
    x, y = params[f"{AT}.x"], params[f"{AT}.y"]
    value = (y - 5.1 * x**2 / (4 * math.pi**2) + 5 * x / math.pi - 6) ** 2
    value += 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10
    return 1 - math.log1p(value - BRANIN_BEST) / math.log1p(BRANIN_WORST - BRANIN_BEST)


def _hartmann(params: Params, A: np.ndarray, P: np.ndarray, best: float) -> float:
    point = np.array([params[f"{AT}.x{i}"] for i in range(A.shape[1])])
    return float(ALPHA_4 @ np.exp(-(A * (point - P) ** 2).sum(axis=1))) / best


def _hartmann3(params: Params) -> float:
    return _hartmann(params, A3_43, P3_43, BEST_3)


def _hartmann6(params: Params) -> float:
    return _hartmann(params, A6_46, P6_46, BEST_6)


def _decades_off(params: Params, key: str, best: float) -> float:
    return math.log10(params[f"{AT}.{key}"] / best)


def _mixed(params: Params) -> float:
    """Three kinds of models with settings of their own: the best kind is the hardest to tune."""
    match params[f"{AT}.kind"]:
        case "linear":
            return 0.85 - 0.10 * _decades_off(params, "penalty", 1e-2) ** 2
        case "trees":
            depth = params[f"{AT}.depth"]
            return max(0.0, 0.93 - 0.003 * (depth - 6) ** 2 - 0.15 * _decades_off(params, "shrinkage", 0.1) ** 2)
        case _:
            width, off = params[f"{AT}.width"], _decades_off(params, "rate", 2e-3)
            dropout = params[f"{AT}.dropout"]
            return max(0.0, 1 - 0.35 * off**2 - 0.06 * math.log2(width / 128) ** 2 - 1.2 * (dropout - 0.2) ** 2)


def _mixed_space() -> dict[str, Any]:
    def only(kind: str, dimension: dict[str, Any]) -> dict[str, Any]:
        return {**dimension, "when": {f"{AT}.kind": kind}}

    return {
        f"{AT}.kind": {"choice": ["linear", "trees", "net"]},
        f"{AT}.penalty": only("linear", {"log": [1e-4, 10.0]}),
        f"{AT}.depth": only("trees", {"int": [1, 14]}),
        f"{AT}.shrinkage": only("trees", {"log": [1e-3, 1.0]}),
        f"{AT}.rate": only("net", {"log": [1e-5, 1e-1]}),
        f"{AT}.width": only("net", {"int": [8, 512], "log": True}),
        f"{AT}.dropout": only("net", {"range": [0.0, 0.8]}),
    }


def _even(_params: Params, _final: float) -> float:
    return 4.0


def _slow_winners(_params: Params, final: float) -> float:
    """The better the settings, the later it shows: early scores mislead."""
    return 1.0 + 9.0 * (1 - final) ** 2


def _fast(params: Params, _final: float) -> float:
    return 12.0 + 6.0 * math.sin(7.0 * params[f"{AT}.x0"] + 5.0 * params[f"{AT}.x1"])


def _wavy(params: Params, _final: float) -> float:
    """Fast and slow settings, whatever they come to."""
    return 4.0 + 3.0 * math.sin(7.0 * params[f"{AT}.x0"] + 5.0 * params[f"{AT}.x1"])


PROBLEMS: tuple[MadeUp, ...] = (
    MadeUp("branin", {f"{AT}.x": {"range": [-5.0, 10.0]}, f"{AT}.y": {"range": [0.0, 15.0]}}, _branin, _even),
    MadeUp("hartmann3", _unit(3), _hartmann3, _wavy),
    MadeUp("hartmann6", _unit(6), _hartmann6, _wavy),
    MadeUp("mixed", _mixed_space(), _mixed, _even),
    MadeUp("misleading", _unit(3), _hartmann3, _slow_winners),
    MadeUp("frequent3", _unit(3), _hartmann3, _wavy, epochs=64, grace=1, factor=4, stops_often=True),
    MadeUp("frequent6", _unit(6), _hartmann6, _even, epochs=64, grace=1, factor=4, stops_often=True),
    MadeUp("overfit", _unit(3), _hartmann3, _fast, falls=0.6),
    MadeUp("frequent_overfit", _unit(6), _hartmann6, _fast, epochs=64, grace=1, factor=4, stops_often=True, falls=0.6),
)
