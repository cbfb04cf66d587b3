"""What the sections on a search have in common: its trials, best first or few enough to draw, and its clock.

Runs of older versions lack keys of a trial; whoever reads one asks with `get`.
"""

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from optuna.study import Study

from training.evaluation.folds import FoldSpread, fold_spread
from training.journal import Event
from training.metric_names import METRIC_MODES, Mode, is_better, range_of
from training.report.search.study_file import read_study
from training.report.text import plotted, score, setting
from training.run_record import RunRecord, number
from training.search.study import EARLIER, name_of

KEPT = 200  # of a large search: so many of the best are always drawn
MAX_POINTS = 1500  # of one chart: more are a smear, and slow
UNITS = {"epochs": "epoch", "folds": "fold", "seeds": "seed", "trainings": "training"}
FLAT_MARGIN = 0.05  # of a value that all trials have, on each side of it
Numbered = list[tuple[int, Event]]  # a trial's place in the order in which they ended, from 1, and the trial


class Search:
    """A run's search, as the page looks at it."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self.trials: tuple[Event, ...] = record.trials
        self.metric: str = record.metric
        self.mode: Mode = record.mode

    @cached_property
    def level(self) -> str:
        """What rungs count: "epochs", "folds", "seeds", or "trainings" where each fold has several seeds."""
        told = self.record.level
        return "trainings" if told == "folds" and self._num_seeds > 1 else told

    @property
    def _num_seeds(self) -> int:
        return int((self.record.experiment.get("search") or {}).get("seeds") or 1)

    @property
    def unit(self) -> str:
        """What a trial's age is counted in: epoch, fold, seed or training."""
        return UNITS.get(self.level, "epoch")

    @property
    def part(self) -> str:
        """What `units_of` has a score for: a fold, whose seeds are averaged, or a seed."""
        return "fold" if self.unit == "training" else self.unit

    @cached_property
    def study(self) -> Study | None:
        """The search's study; None where it cannot be read."""
        return read_study(self.record.folder)

    @cached_property
    def losses(self) -> dict[str, float]:
        """Loss of each trial, which decides between equal scores; empty where the study cannot be read."""
        trials = self.study.get_trials(deepcopy=False) if self.study is not None else []
        return {name_of(trial.number): float(loss) for trial in trials
                if EARLIER not in trial.user_attrs and (loss := trial.user_attrs.get("loss")) is not None}  # fmt: skip

    @cached_property
    def best_trial(self) -> Event:
        """The one that the search named, or the best so far while it goes on; empty without one."""
        if self.record.searched.get("best_trial"):
            return self.record.best_trial
        return next((trial for trial in self._in_order if trial["state"] == "complete"), {})

    @cached_property
    def best(self) -> str:
        """Its name; empty without one."""
        return str(self.best_trial.get("trial", ""))

    @cached_property
    def scored(self) -> Numbered:
        """Trials that have a score."""
        return [(i, trial) for i, trial in enumerate(self.trials, 1) if math.isfinite(number(trial.get("score")))]

    @cached_property
    def ranked(self) -> list[Event]:
        """The best first: finished ones, then those that were stopped, each by score, loss and number."""
        return sorted(self._in_order, key=lambda trial: trial["trial"] != self.best)

    @cached_property
    def _in_order(self) -> list[Event]:
        """As `best_trial` of the search's study picks the best."""
        sign = -1.0 if self.mode == "max" else 1.0
        states = {"complete": 0, "pruned": 1}

        def place(trial: Event) -> tuple[int, float, float, int, str]:
            name = trial["trial"]
            return states.get(trial["state"], 2), sign * trial["score"], self.losses.get(name, 0.0), len(name), name

        return sorted((trial for _, trial in self.scored), key=place)

    def drawn(self, limit: int = MAX_POINTS) -> Numbered:
        """Scored trials, not more than the limit: of many the best, those that led for a while, and an even share."""
        if len(self.scored) <= limit:
            return self.scored
        always = {trial["trial"] for trial in self.ranked[:KEPT]} | {self.trials[i - 1]["trial"] for i in self.leaders}
        others = [each for each in self.scored if each[1]["trial"] not in always]
        places = np.linspace(0, len(others) - 1, max(limit - len(always), 1)).round()
        chosen = always | {others[int(place)][1]["trial"] for place in places}
        return [each for each in self.scored if each[1]["trial"] in chosen]

    def drawn_note(self, limit: int = MAX_POINTS) -> str:
        """What a caption adds where not all trials are drawn."""
        is_all = len(self.scored) <= limit
        return "" if is_all else f"; {len(self.drawn(limit)):,} of {len(self.scored):,} drawn, the best among them"

    @cached_property
    def leaders(self) -> list[int]:
        """Places of the finished trials that were better than all before them."""
        found: list[int] = []
        best: float | None = None
        for i, trial in self.scored:
            if trial["state"] == "complete" and is_better(trial["score"], best, self.mode):
                found.append(i)
                best = trial["score"]
        return found

    @cached_property
    def keys(self) -> list[str]:
        """Searched settings, in the order of the experiment."""
        space = (self.record.experiment.get("search") or {}).get("space") or {}
        found = dict.fromkeys(key for trial in self.trials for key in trial["params"])
        return [*(key for key in space if key in found), *(key for key in found if key not in space)]

    @cached_property
    def clock(self) -> tuple[dict[str, float], list[float]]:
        """Seconds that the search had worked when each trial ended, and when it was begun again. Pauses do not count.

        What the run did between two parts of an extended search does not count either.
        """
        is_told = any(event.get("event") == "search" for event in self.record.events)  # older runs do not say it
        begins, ends = ("search", ("searched", "started", "failed")) if is_told else ("data", ())
        ended: dict[str, float] = {}
        again: list[float] = []
        passed, is_on, previous = 0.0, False, 0.0
        for event in self.record.events:
            kind = event.get("event")
            if is_on and kind != "started":
                passed += event["time"] - previous
            previous = event["time"]
            if kind == "trial":
                ended[event["trial"]] = passed
            if kind == begins and ended:
                again.append(passed)
            is_on = kind == begins or (is_on and kind not in ends)
        return ended, again

    @property
    def held_over_trained(self) -> float:
        """Rows judged by over rows trained on, for one of K folds; 0 for seeds, which share all their rows."""
        folds = (self.record.experiment.get("search") or {}).get("folds")
        return 1 / (folds - 1) if folds and self.part == "fold" else 0.0

    def spread(self, values: Sequence[float], *, is_difference: bool = False) -> FoldSpread:
        """Mean and 95 % interval of a score, or of a difference of scores, over folds or seeds."""
        within = (-math.inf, math.inf) if is_difference else self._possible
        return fold_spread(np.asarray(values, dtype=float), self.held_over_trained, within)

    @property
    def _possible(self) -> tuple[float, float]:
        """Values that the score can take."""
        plain = self.metric.removeprefix("validation/")
        return range_of(plain) if plain in METRIC_MODES else (-math.inf, math.inf)

    def flat_range(self, values: Sequence[float | None]) -> list[float] | None:
        """Ends of an axis for scores that are all equal, which alone get one from 0 to 2; None for others."""
        known = [number(value) for value in values if math.isfinite(number(value))]
        if not known or not math.isclose(min(known), max(known), rel_tol=1e-9, abs_tol=1e-12):
            return None
        margin, (lowest, highest) = FLAT_MARGIN * (abs(known[0]) or 1.0), self._possible
        return [max(known[0] - margin, lowest), min(known[0] + margin, highest)]

    @property
    def num_rows(self) -> dict[str, int]:
        """Rows of each part of the data."""
        return dict(self.record.last("data").get("num_rows") or {})


def units_of(trial: Event) -> dict[int, float]:
    """Score of each fold, its seeds averaged; of each seed where there are no folds. Empty without either."""
    parts = [part for part in trial.get("replicates") or () if part.get("score") is not None]
    by = "fold" if any(part.get("fold") is not None for part in parts) else "seed"
    scores: dict[int, list[float]] = {}
    for part in parts:
        scores.setdefault(int(part[by]), []).append(float(part["score"]))
    return {unit: float(np.mean(found)) for unit, found in sorted(scores.items())}


def words_of(trial: Event) -> str:
    """What hovering over a trial shows."""
    settings = "<br>".join(f"{plotted(key)} {plotted(setting(value))}" for key, value in trial["params"].items())
    return f"{plotted(trial['trial'])}, {trial['state']}: {score(trial['score'])}<br>{settings}".replace("%{", "% {")


def short_words_of(trial: Event) -> str:
    """The same in one line, for charts that show the setting anyway."""
    return f"{plotted(trial['trial'])}, {trial['state']}: {score(trial['score'])}".replace("%{", "% {")
