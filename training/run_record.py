"""A run as its journal tells it, in one object. No torch, no ray: the report and `manta runs` read it anywhere."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import yaml

from training.errors import StorageError
from training.journal import Event, Journal
from training.metric_names import DEFAULTS, METRIC_MODES, Mode, is_better
from training.package.manifest import Comparison, Variant

RunState = Literal["finished", "failed", "interrupted", "unfinished"]
BY_HAND = "stopped by hand"  # the message of an execution that Ctrl-C ended
KINDS = ("choice", "ordered", "range", "log")  # of a searched setting


@dataclass(frozen=True)
class RunRecord:
    """What a run folder holds. A later event of a kind supersedes the earlier ones."""

    folder: Path
    experiment: dict[str, Any]  # as in experiment.yaml; empty where there is none
    data: dict[str, Any]  # as in data.json
    events: tuple[Event, ...]

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """Read a run folder, finished or not. Raises StorageError for a folder that is not a run, or is damaged."""
        journal = folder / "journal.jsonl"
        experiment_file, data_file = folder / "experiment.yaml", folder / "data.json"
        if not journal.exists() and not experiment_file.exists():
            raise StorageError(
                f"{folder} is not a run: it has neither journal.jsonl nor experiment.yaml", "see `manta runs`"
            )
        experiment = mapping_in(experiment_file, yaml.safe_load) if experiment_file.exists() else {}
        data = mapping_in(data_file, json.loads) if data_file.exists() else {}
        return cls(folder, experiment, data, tuple(Journal(journal).events()))

    def last(self, kind: str) -> Event:
        """The newest event of this kind, or an empty one."""
        return next((event for event in reversed(self.events) if event.get("event") == kind), {})

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.experiment.get("name") or self.folder.name)

    @cached_property
    def state(self) -> RunState:
        """How the newest execution ended; `unfinished` also while it goes on."""
        for event in reversed(self.events):
            match event.get("event"):
                case "finished":
                    return "finished"
                case "failed":
                    return "interrupted" if event.get("message") == BY_HAND else "failed"
                case "started":
                    return "unfinished"
        return "unfinished"

    @cached_property
    def trials(self) -> tuple[Event, ...]:
        """One event a trial, in the order in which they ended first."""
        return tuple({event["trial"]: event for event in self._all("trial")}.values())

    @cached_property
    def epochs(self) -> tuple[Event, ...]:
        """The epochs of the final training as it went in the end."""
        fit = self.last("fit")
        return standing(self._all("epoch"), fit.get("training", fit.get("trial")))

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """The compressed forms, measured."""
        return tuple(_variant(raw) for raw in self.last("compressed").get("variants", []))

    @cached_property
    def comparison(self) -> Comparison | None:
        """How the forms were measured side by side; None of runs of before format 3 of packages."""
        raw = self.last("compressed").get("comparison")
        return Comparison.model_validate(raw) if raw else None

    @property
    def task(self) -> str:
        """What is predicted, empty before the data was read."""
        return str(self.last("data").get("task") or self.data.get("task") or "")

    @property
    def metric(self) -> str:
        """The score that decides during training, for example "validation/accuracy"."""
        named = self._told_by_search("metric") or (self.experiment.get("search") or {}).get("metric")
        return str(named or f"validation/{DEFAULTS.get(self.task, DEFAULTS['classification'])}")

    @property
    def mode(self) -> Mode:
        """Whether a higher or a lower score is better."""
        return self._told_by_search("mode") or METRIC_MODES.get(self.metric.removeprefix("validation/"), "max")

    def _told_by_search(self, key: str) -> Any:
        return self.last("searched").get(key) or self.last("search").get(key)

    @cached_property
    def objectives(self) -> tuple[tuple[str, Mode], ...]:
        """What a search weighs against each other, the score first, each with what is better."""
        told = self.last("search").get("objectives") or []
        return tuple((each["name"], each["mode"]) for each in told) or (("score", self.mode),)

    @property
    def level(self) -> str:
        """What rungs of the search count: "epochs", "folds" or "seeds"."""
        return str(self.last("search").get("level") or "epochs")

    def kind_of_setting(self, key: str) -> str:
        """How the search draws it: "choice", "ordered", "range", "log", "int", or empty where nobody says."""
        space = (self.experiment.get("search") or {}).get("space") or {}
        drawn = space.get(key) or {}
        if "int" in drawn:  # asked first: whether it is logarithmic stands beside it under the name of another kind
            return "log" if drawn.get("log") else "int"
        return next((kind for kind in KINDS if kind in drawn), "")

    def own_setting(self, key: str) -> Any:
        """What the experiment itself says for a searched key; None where it says nothing."""
        value: Any = self.experiment
        for name in key.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return value

    @cached_property
    def searched(self) -> Event:
        """How the search ended; empty while it goes on, also where one that had ended is extended."""
        for event in reversed(self.events):
            if event.get("event") == "search":
                return {}
            if event.get("event") == "searched":
                return event
        return {}

    @cached_property
    def live(self) -> Event:
        """What the search was doing a moment ago, while it goes on; empty where that is not known."""
        file = self.folder / "trials" / "live.json"
        if self.state != "unfinished" or self.searched or not file.exists():
            return {}
        try:
            return mapping_in(file, json.loads)
        except StorageError:
            return {}  # of the moment, and written anew each second: half of it must not cost the whole page

    @cached_property
    def best_trial(self) -> Event:
        """The search's best, or the best so far while it goes on; empty without one."""
        if named := self.searched.get("best_trial"):
            return next((trial for trial in self.trials if trial["trial"] == named), {})
        best: Event = {}
        for trial in self.trials:
            if trial["state"] == "complete" and is_better(number(trial["score"]), best.get("score"), self.mode):
                best = trial
        return best

    @property
    def best_score(self) -> float | None:
        """Validation score of the best trial, or of the fitted model where there was no search."""
        score = self.best_trial.get("score")
        return score if score is not None else self.last("fit").get("metrics", {}).get(self.metric)

    @cached_property
    def seconds_by_stage(self) -> dict[str, float]:
        """Time of each stage that ended: of all executions that worked on it, the pauses between them left out."""
        compressed = self.last("compressed").get("seconds")
        stages = {
            "data": self._data_s(), "search": self._search_s(), "train": self._train_s(), "compress": compressed,
            "serve": self._serve_s(),
        }  # fmt: skip
        return {stage: seconds for stage, seconds in stages.items() if seconds is not None}

    def _data_s(self) -> float | None:
        """Of the first reading."""
        began = None
        for event in self.events:
            if event.get("event") == "started":
                began = event["time"]
            elif event.get("event") == "data" and began is not None:
                return float(event["time"] - began)
        return None

    def _search_s(self) -> float | None:
        """By the ledger, which counts all executions; without one by what each of them told at its end."""
        told = [event["seconds"] for event in self._all("searched") if "seconds" in event]
        ledgers = (event["ledger"] for event in reversed(self.events) if event.get("ledger"))
        ledger: dict[str, float] = next(ledgers, {})
        return (ledger.get("wall_s") or float(sum(told))) if told else None

    def _train_s(self) -> float | None:
        """Of the newest model: the execution that ended its training, and the epochs of those before."""
        fit = self.last("fit")
        training = fit.get("training", fit.get("trial"))
        before_s = epochs_s = 0.0
        found = None
        for event in self.events:
            match event.get("event"):
                case "started":
                    before_s, epochs_s = before_s + epochs_s, 0.0
                case "epoch" if event.get("training", training) == training:
                    epochs_s += event.get("seconds") or 0.0
                case "fit":
                    found = before_s + event["seconds"] if "seconds" in event else None
                    before_s = epochs_s = 0.0
        return found

    def _serve_s(self) -> float | None:
        """As it was measured; where it was not, since the registration right before it."""
        for event, before in pairwise(reversed(self.events)):
            if event.get("event") != "served":
                continue
            if "seconds" in event:
                return float(event["seconds"])
            return float(event["time"] - before["time"]) if before.get("event") == "registered" else None
        return None

    @cached_property
    def seconds(self) -> float:
        """Time spent in all executions together, the pauses between them left out."""
        total, previous = 0.0, None
        for event in self.events:
            if previous is not None and event.get("event") != "started":
                passed = event["time"] - previous["time"]
                # `manta compress` adds forms to a run that has finished without beginning another execution.
                is_added = previous.get("event") == "finished"
                total += min(passed, float(event.get("seconds", passed))) if is_added else passed
            previous = event
        return total

    def _all(self, kind: str) -> Iterator[Event]:
        return (event for event in self.events if event.get("event") == kind)


def mapping_in(file: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """What a file of a run says. Raises StorageError where it says nothing that we wrote."""
    try:
        found = parse(file.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError):
        found = None
    if not isinstance(found, dict):
        raise StorageError(f"{file} is damaged", "bring it back from a copy, or give the run another name")
    return found


def standing(epochs: Iterable[Event], training: str | None = None) -> tuple[Event, ...]:
    """Epochs as one training went in the end: that of this name, else the newest.

    One that resumes at epoch 6, or begins anew at 1, makes what was recorded from there on void.
    """
    told = list(epochs)
    if training is None and told:
        training = told[-1].get("training")
    kept: list[Event] = []
    for event in told:
        if event.get("training", training) != training:
            continue
        while kept and kept[-1]["epoch"] >= event["epoch"]:
            kept.pop()
        kept.append(event)
    return tuple(kept)


def number(value: Any) -> float:
    """A score as a float; NaN for null, which is how JSON keeps what was not a number."""
    return float("nan") if value is None else float(value)


def _variant(raw: Mapping[str, Any]) -> Variant:
    """A form that answers NaN has a NaN for a score and a loss, which a journal keeps as null."""
    told = {key: _told_as_nan(raw[key]) for key in ("metrics", "quality") if raw.get(key)}
    return Variant.model_validate({**raw, **told})


def _told_as_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _told_as_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_told_as_nan(item) for item in value]
    return number(value) if value is None else value
