"""Searches as the driver leaves them in a run folder: journal, study, what goes on now. Numbers are made up."""

import json
import math
import random
from bisect import insort
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from tests.training.made_up_runs import EXPERIMENT, MadeUpRun
from training.search.study import SearchStudy, name_of

RUNGS = (2, 6, 18)
OWN = {"train": {"peak_lr": 3e-3, "global_batch_size": 256, "optimizer": {"kind": "adamw"}}}
SPACE: dict[str, Any] = {
    "train.peak_lr": {"log": [1e-4, 1e-1], "when": {}},
    "model.hidden": {"choice": [[128], [256, 256], [512, 256, 128]], "when": {}},
    "model.dropout": {"range": [0.0, 0.5], "step": None, "when": {}},
    "train.optimizer.kind": {"choice": ["adamw", "sgd"], "when": {}},
    "train.optimizer.momentum": {"range": [0.5, 0.99], "step": None, "when": {"train.optimizer.kind": "sgd"}},
    "train.global_batch_size": {"int": [64, 512], "step": 1, "log": True, "when": {}},
}
DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "train.peak_lr": FloatDistribution(1e-4, 1e-1, log=True),
    "model.hidden": CategoricalDistribution(["[128]", "[256, 256]", "[512, 256, 128]"]),
    "model.dropout": FloatDistribution(0.0, 0.5),
    "train.optimizer.kind": CategoricalDistribution(["adamw", "sgd"]),
    "train.optimizer.momentum": FloatDistribution(0.5, 0.99),
    "train.global_batch_size": FloatDistribution(64, 512, log=True),
}
DIVERGED = "the loss is not finite at step {step}; a lower train.peak_lr helps"
KILLED = "its process used 2,{step} MB, above search.memory_mb_per_trial=2,000"


def drawn(rng: random.Random) -> dict[str, Any]:
    """Settings of one trial; momentum only where it means something."""
    params: dict[str, Any] = {
        "train.peak_lr": 10 ** rng.uniform(-4, -1),
        "model.hidden": rng.choice([[128], [256, 256], [512, 256, 128]]),
        "model.dropout": rng.uniform(0, 0.5),
        "train.optimizer.kind": rng.choice(["adamw", "sgd"]),
    }
    if params["train.optimizer.kind"] == "sgd":
        params["train.optimizer.momentum"] = rng.uniform(0.5, 0.99)
    return params | {"train.global_batch_size": round(2 ** rng.uniform(6, 9))}


def quality(params: dict[str, Any]) -> float:
    """The learning rate decides, dropout a little, the rest not at all."""
    return 0.86 - 0.012 * (math.log10(params["train.peak_lr"]) + 2.5) ** 2 - 0.02 * params["model.dropout"]


class MadeUpSearch(MadeUpRun):
    """A run with a search of trials that are stopped at rungs."""

    def __init__(self, folder: Path, num: int = 60, objectives: tuple[str, ...] = ("score",), **search: Any) -> None:
        settings = EXPERIMENT["search"] | {"trials": num, "space": SPACE, "objectives": list(objectives), **search}  # type: ignore[operator]
        model = {"kind": "mlp", "hidden": [256, 256], "dropout": 0.1}
        super().__init__(folder, EXPERIMENT | OWN | {"model": model, "search": settings})
        self.num, self.names, self.rng = num, objectives, random.Random(0)
        self.told: list[dict[str, Any]] = []
        self.frozen: list[FrozenTrial] = []
        self.marks: dict[int, list[float]] = {}
        self.start()
        self.data()

    def search(self, **fields: Any) -> None:
        """The event at the start of each execution of a search."""
        modes = [{"name": name, "mode": "max" if name == "score" else "min"} for name in self.names]
        told = {
            "metric": "validation/accuracy", "mode": "max", "objectives": modes, "trials": self.num, "sampler": "tpe",
            "scheduler": "asha", "rungs": list(RUNGS), "level": "epochs", "num_slots": 2, "cpus_per_slot": 1.0,
            "gpus_per_slot": 0.0, "usd_per_device_hour": 0.4, "fuse": "off: it was measured to be slower here",
        }  # fmt: skip
        self.event("search", 0.2, **(told | fields))

    def make(self, num: int, one: "Callable[[MadeUpSearch, int], dict[str, Any]] | None" = None) -> None:
        """So many trials, one after the other."""
        for number in range(len(self.told), len(self.told) + num):
            self.told.append((one or by_epochs)(self, number))
            self.event("trial", 1.7, **self.told[-1])

    def study(self) -> None:
        """The study's file, as the driver writes it."""
        study = SearchStudy(self.folder / "trials" / "study.log", ["max", *["min"] * (len(self.names) - 1)])  # type: ignore[list-item]
        study.study.add_trials(_frozen(told, self.names) for told in self.told)
        study.close()

    def live(self, **fields: Any) -> None:
        """What is rewritten once a second."""
        running = [{"trial": name_of(len(self.told)), "slot": "slot-0", "level": 3, "epoch": 3, "score": 0.8123,
                    "params": drawn(self.rng), "fold": None}]  # fmt: skip
        told = {"time": self.now, "running": running, "num_done": len(self.told), "num_trials": self.num,
                "ledger": self.ledger()}  # fmt: skip
        (self.folder / "trials").mkdir(exist_ok=True)
        (self.folder / "trials" / "live.json").write_text(json.dumps(told | fields))

    def ledger(self) -> dict[str, float]:
        """Sums over the trials, and some time of devices that belongs to none."""
        names = {"useful_s": "seconds", "startup_s": "startup_s", "waiting_s": "waiting_s",
                 "recomputed_s": "recomputed_s"}  # fmt: skip
        sums = {name: sum(told[key] for told in self.told) for name, key in names.items()}
        return sums | {"device_s": 1.1 * sum(sums.values()), "usd": sum(told["usd"] for told in self.told)}

    def searched(self, **fields: Any) -> None:
        """The event at the end."""
        complete = [told for told in self.told if told["state"] == "complete"]
        leader = max(complete, key=lambda told: told["score"])
        counts = {f"num_{s}": sum(told["state"] == s for told in self.told) for s in ("complete", "pruned", "failed")}
        told = {
            "best_trial": leader["trial"], "params": leader["params"], "best_score": leader["score"],
            "metric": "validation/accuracy", "mode": "max", **counts, "seconds": 1.7 * len(self.told),
            "front": [leader["trial"]], "ended": f"all {self.num} trials have ended", "ledger": self.ledger(),
        }  # fmt: skip
        self.event("searched", **(told | fields))


def by_epochs(run: MadeUpSearch, number: int) -> dict[str, Any]:
    """A trial that is judged at the rungs, by epochs."""
    rng, params = run.rng, drawn(run.rng)
    if number % 13 == 12:
        cause = (KILLED if number % 26 == 25 else DIVERGED).format(step=rng.randrange(100, 999))
        params["train.peak_lr"] = max(params["train.peak_lr"], 0.06) if "loss" in cause else params["train.peak_lr"]
        return _told(run, number, params, "failed", [], cause=cause)
    level, curve, rungs = 0, list[float](), list[list[float]]()
    for level in RUNGS:
        curve += [quality(params) - 0.06 * math.exp(-e / 3) + rng.gauss(0, 1e-3) for e in range(len(curve), level)]
        best = max(curve)
        seen = run.marks.setdefault(level, [])
        insort(seen, best)
        rungs.append([level, best])
        cut = seen[-1 - len(seen) // 3]
        if level < RUNGS[-1] and len(seen) >= 3 and best < cut:
            stopped = f"{best:.4f} after {level} epochs; the best third of {len(seen)} has {cut:.4f} or more"
            return _told(run, number, params, "pruned", curve, rungs=rungs, stopped=stopped)
    return _told(run, number, params, "complete", curve, rungs=rungs)


def by_folds(run: MadeUpSearch, number: int) -> dict[str, Any]:
    """A trial that is judged by five folds, of which the third is hard."""
    rng, params = run.rng, drawn(run.rng)
    num = 5 if number % 3 == 0 else 2
    scores = [quality(params) - (0.03 if fold == 2 else 0.0) + rng.gauss(0, 0.004) for fold in range(num)]
    parts = [{"fold": fold, "seed": 0, "score": score} for fold, score in enumerate(scores)]
    means = [sum(scores[: k + 1]) / (k + 1) for k in range(num)]
    rungs = [[k + 1, mean] for k, mean in enumerate(means) if k]
    state, stopped = ("complete", None) if num == 5 else ("pruned", "surely behind t0003 on 2 folds: p 0.04")
    told = _told(run, number, params, state, means, rungs=rungs, stopped=stopped)
    return told | {"score": means[-1], "values": {"score": means[-1]}, "replicates": parts, "epochs": 18 * num}


def _told(
    run: MadeUpSearch, number: int, params: dict[str, Any], state: str, curve: list[float], cause: str | None = None,
    stopped: str | None = None, rungs: list[list[float]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    seconds = 0.3 * len(curve) + 0.2
    best = max(curve) if curve else None
    width = {"[128]": 1.0, "[256, 256]": 2.2, "[512, 256, 128]": 4.1}[json.dumps(params["model.hidden"])]
    values = {"score": best, "latency_ms": 0.05 * width, "size_mb": width, "train_s": seconds, "usd": seconds * 1e-4}
    return {
        "trial": name_of(number), "state": state, "params": params, "score": best,
        "values": {name: values[name] for name in run.names} if curve else {}, "epochs": len(curve),
        "seconds": seconds, "cause": cause, "stopped": stopped, "curve": curve, "rungs": rungs or [],
        "startup_s": 0.4, "waiting_s": 0.1, "recomputed_s": 1.5 if number % 17 == 16 else 0.0,
        "usd": (seconds + 0.5) * 0.4 / 3600, "slot": f"slot-{number % 2}", "lanes": 1, "began": run.now - seconds,
        "source": "point" if number == 0 else "random" if number < 8 else "sampler", "attempts": 1,
    }  # fmt: skip


def _frozen(told: dict[str, Any], names: tuple[str, ...]) -> FrozenTrial:
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    params = {key: json.dumps(value) if isinstance(value, list) else value for key, value in told["params"].items()}
    values = [told["values"][name] for name in names] if told["state"] == "complete" else None
    return create_trial(
        state=states[told["state"]], params=params, values=values,
        distributions={key: DISTRIBUTIONS[key] for key in params},
        intermediate_values={int(level): value for level, value in told["rungs"]},
    )  # fmt: skip


def search_run(folder: Path, num: int = 60) -> Path:
    """A search that ended, and the model that came of it."""
    run = MadeUpSearch(folder, num)
    run.search()
    run.make(num)
    run.study()
    run.searched()
    run.epochs()
    run.fitted()
    run.compressed()
    run.finish()
    return folder


def folds_run(folder: Path, num: int = 30) -> Path:
    """A search whose trials are judged by folds."""
    run = MadeUpSearch(folder, num, folds=5)
    run.search(level="folds", rungs=[2, 3, 4, 5], scheduler="racing")
    run.make(num, by_folds)
    run.study()
    run.searched(ended="the budget of 40 s was spent, less the reserve of 20 %")
    return folder


def objectives_run(folder: Path, num: int = 60, names: tuple[str, ...] = ("score", "latency_ms")) -> Path:
    """A search for several objectives that goes on."""
    run = MadeUpSearch(folder, num, names)
    run.search(sampler="nsga2", scheduler="none")
    run.make(num)
    run.study()
    run.live(num_trials=2 * num)
    return folder
