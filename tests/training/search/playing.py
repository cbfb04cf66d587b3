"""A search without Ray and torch: the real driver on real files, and slots whose trainings are arithmetic."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.config import Experiment
from training.metric_names import Mode
from training.progress import Silent, TrialDone
from training.run_folder import RunFolder
from training.search.conductor import Conductor
from training.search.judges import judge_of
from training.search.limits.spending import Spending
from training.search.limits.weights import KeptWeights
from training.search.messages import Assignment, Cloning, Heard, HeardState, Orders, Part, Told
from training.search.record import LIVE_FILE, SearchRecord
from training.search.sampling.proposals import Proposals
from training.search.slot.one_trial import OneTrial
from training.search.study import FILE, SearchStudy
from training.search_config import SearchConfig

Score = Callable[[Mapping[str, Any], int], float]  # of a trial's settings at a level
EPOCHS = 9


def played(storage: Path, trials: int = 6, *, epochs: int = EPOCHS, **search: Any) -> Experiment:
    """An experiment to play."""
    space = search.pop("space", {"train.peak_lr": {"log": [1e-4, 1e-1]}})
    search = {"trials": trials, "sampler": "random", "scheduler": {"kind": "asha", "grace": 1}, "space": space} | search
    return Experiment.model_validate(
        {
            "name": "played", "storage": str(storage), "data": {"source": "t.csv", "target": "y"},
            "train": {"epochs": epochs, "early_stopping": None}, "search": search,
        }
    )  # fmt: skip


def better_with_rate(params: Mapping[str, Any], level: int) -> float:
    """The higher the rate, the better; and it rises with the level."""
    return (4 + math.log10(float(params["train.peak_lr"]))) / 3 - 0.5 / (level + 1)


class Heeding(Silent):
    """Collects what a person would see."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done: list[TrialDone] = []

    def note(self, text: str) -> None:
        """Remember."""
        self.notes.append(text)

    def trial(self, done: TrialDone, num_done: int, num_trials: int, best_score: float | None) -> None:
        """Remember."""
        self.done.append(done)


@dataclass
class Driver:
    """One execution of a search."""

    conductor: Conductor
    study: SearchStudy
    run: RunFolder
    weights: KeptWeights
    progress: Heeding
    capacity: list[int]
    lost_nodes: set[str]
    last_words: dict[str, tuple[tuple[str, ...], str]]

    @property
    def events(self) -> dict[str, dict[str, Any]]:
        """Ended trials as the journal has them."""
        return {event["trial"]: event for event in self.run.journal.events("trial")}


@contextlib.contextmanager
def driver(wanted: Experiment, clock: Callable[[], float] | None = None) -> Iterator[Driver]:
    """One, for the length of a `with` block; leaving it is a kill: nothing is written that was not."""
    search = wanted.search
    assert search is not None
    run = RunFolder.of(wanted)
    run.open(wanted)
    modes: list[Mode] = ["max", *(["min"] * (len(search.objectives) - 1))]  # type: ignore[list-item]
    study = SearchStudy(run.trials / FILE, modes)
    progress, capacity = Heeding(), [2]
    lost, words = set[str](), dict[str, tuple[tuple[str, ...], str]]()
    last_level = search.replicates if search.replicates > 1 else wanted.train.epochs
    weights = KeptWeights(search, run.checkpoints_of("").rstrip("/"), "max", progress.note)
    times = {} if clock is None else {"clock": clock}
    conductor = Conductor(
        search=search, study=study, proposals=Proposals(search, wanted, study, "accuracy", progress.note),
        judge=judge_of(search, last_level, modes), last_level=last_level, modes=modes,
        spending=Spending(search, run.journal, run.trials / LIVE_FILE, modes, 1.0, **times),
        record=SearchRecord(run, search, 1.0), weights=weights, progress=progress, capacity=lambda: capacity[0],
        is_lost=lost.__contains__, last_words=lambda slot: words.pop(slot, ((), "")),
    )  # fmt: skip
    yield Driver(conductor, study, run, weights, progress, capacity, lost, words)


def config_of(wanted: Experiment) -> SearchConfig:
    """Its search."""
    assert wanted.search is not None
    return wanted.search


@dataclass
class Trained:
    """A trial in a slot, or as it was saved."""

    level: int = 0
    params: dict[str, Any] = field(default_factory=dict)


@dataclass
class PlayedRun(OneTrial):
    """One trial whose epochs are one call of a function. Saved by `leave` and at every `save_every` levels."""

    assignment: Assignment
    score: Score
    saved: dict[str, Trained]
    last_level: int = EPOCHS
    parts: bool = False
    breaks: Callable[[Mapping[str, Any], int], str] | None = None  # why it fails at this level; empty where it does not
    save_every: int = 2
    is_alone: bool = True
    at: Trained = field(default_factory=Trained)
    until: int = 0
    left: bool = False
    cause: str = ""
    told: tuple[HeardState, int] | None = None
    told_level: int = 0
    ended: list[tuple[str, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.until, self.told_level = self.assignment.until, self.assignment.known
        self.at = Trained(0, dict(self.assignment.params))
        if self.assignment.resumes and self.assignment.trial in self.saved:
            self.at.level = self.saved[self.assignment.trial].level

    @property
    def state(self) -> HeardState:
        """How it stands."""
        if self.cause:
            return "failed"
        if self.left:
            return "left"
        if self.at.level >= self.last_level:
            return "finished"
        return "judged" if self.at.level >= self.until else "running"

    def advance(self) -> None:
        """One more level."""
        self.at.level += 1
        self.cause = self.breaks(self.at.params, self.at.level) if self.breaks else ""
        if self.at.level % self.save_every == 0:
            self.save()

    def heard(self) -> list[Heard]:
        """What is new."""
        state, level = self.state, self.at.level
        if (state, level) == self.told:
            return []
        self.told = (state, level)
        curve = [] if self.cause else [self.score(self.at.params, each + 1) for each in range(level)]
        new, self.told_level = curve[self.told_level : level], max(self.told_level, level)
        parts = tuple(Part(fold, 0, each) for fold, each in enumerate(curve)) if self.parts else ()
        finite = [each for each in curve if math.isfinite(each)]
        best = sum(curve) / level if self.parts and curve else max(finite, default=math.nan)
        return [
            Heard(
                self.assignment.trial, state, level, values=(best,) if curve else (), curve=tuple(new), parts=parts,
                epochs=level, useful_s=0.1 * len(new), cause=self.cause, share=level / self.last_level,
                restored_s=0.0 if self.assignment.resumes else None,
            )
        ]  # fmt: skip

    def save(self) -> None:
        """As the run's storage would have it."""
        self.saved[self.assignment.trial] = Trained(self.at.level, dict(self.at.params))

    def clone(self, trial: str, cloning: Cloning) -> None:
        """It has the other's settings from here on."""
        self.at.params, self.until = dict(cloning.params), cloning.until

    def end(self, trial: str, *, keep: bool) -> None:
        """It has ended."""
        self.ended.append((trial, keep))

    def leave(self) -> None:
        """Saved, and no more steps."""
        if self.num_busy:
            self.save()
            self.left = True


def introduction(name: str, node: str = "n1") -> Told:
    """A process that begins."""
    return Told(name, handle=name, wants=1, node=node)


def told(*heard: Heard, wants: int = 0, **more: Any) -> Told:
    """A slot's words."""
    return Told(more.pop("incarnation", "p"), heard=heard, wants=wants, **more)


def judged(trial: str, level: int, *scores: float, **more: Any) -> Heard:
    """A trial that waits for a verdict; `scores` of the levels since it was told of last."""
    state: HeardState = more.pop("state", "judged")
    values = more.pop("values", (max(scores),) if scores else ())
    return Heard(trial, state, level, values=values, curve=scores, epochs=level, **more)


def begun(one: Driver, key: str = "a", process: str = "p1", node: str = "n1") -> Orders:
    """A new slot, and what it is to begin with."""
    assert one.conductor.new_slot(key) is not None
    return one.conductor.hear(key, introduction(process, node))
