"""The search's driver without Ray: which trial goes where, what becomes of it, and the record of both.

It is told what slots say and answers with orders. Every outcome goes into the study (a stopped trial is PRUNED, a
broken one FAIL with its cause, one whose machine went is the same trial continued) and into the run's journal, before
anything acts on it.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from training.metric_names import Mode, is_better
from training.progress import Progress
from training.search.judges import Clone, GoOn, Judge, Stop
from training.search.messages import Assignment, Cloning, Heard, Orders, Part, Told
from training.search.proposals import Proposals
from training.search.record import SearchRecord
from training.search.spending import Spending
from training.search.study import DONE, STATES, SearchStudy, name_of, score_of
from training.search.weights import KeptWeights
from training.search_config import SearchConfig

WAIT_S = 0.2  # a slot without work asks again after so long


@dataclass
class OpenTrial:
    """A trial that has not ended, and what this driver heard of it."""

    name: str
    trial: Trial
    params: dict[str, Any]
    source: str
    slot: str = ""
    began: float = field(default_factory=time.time)
    level: int = 0  # heard of
    until: int = 0
    curve: list[float] = field(default_factory=list)
    rungs: list[tuple[int, float]] = field(default_factory=list)
    heard: list[list[float | None]] = field(default_factory=list)  # level and values of each judgement
    parts: tuple[Part, ...] = ()
    values: tuple[float, ...] = ()
    loss: float = 0.0
    epochs: int = 0
    useful_s: float = 0.0
    startup_s: float = 0.0
    recomputed_s: float = 0.0
    lanes: int = 1
    attempts: int = 1
    deaths: int = 0
    is_suspect: bool = False  # it was in a process that died with others
    resumes: bool = False
    saved_bytes: int = 0
    lineage: list[dict[str, Any]] = field(default_factory=list)

    def take(self, heard: Heard) -> None:
        """What is new; a process that went on from a checkpoint repeats levels, which count once."""
        new = heard.curve[max(0, len(heard.curve) - (heard.level - self.level)) :] if heard.level > self.level else ()
        self.curve += list(new)
        self.level = max(self.level, heard.level)
        self.values, self.loss, self.parts = heard.values or self.values, heard.loss, heard.parts or self.parts
        if heard.restored_s is not None:
            self.recomputed_s += max(0.0, self.useful_s - self.recomputed_s - heard.restored_s)
        self.epochs, self.lanes = max(self.epochs, heard.epochs), max(self.lanes, heard.lanes)
        self.useful_s += heard.useful_s
        self.startup_s += heard.startup_s
        self.saved_bytes = max(self.saved_bytes, heard.saved_bytes)

    def note_judgement(self, level: int, values: Sequence[float]) -> bool:
        """Keep what the judge hears, for a later driver's judge; False where it was heard before."""
        if any(known[0] == level for known in self.heard):
            return False
        self.rungs.append((level, values[0]))
        self.heard.append([level, *_finite(values)])
        self.trial.set_user_attr("heard", self.heard)
        return True


@dataclass
class SlotState:
    """A slot that lives."""

    name: str
    handle: Any = None
    incarnation: str = ""
    node: str = ""
    trials: set[str] = field(default_factory=set)


class Conductor:
    """One execution of a search."""

    def __init__(
        self, *, search: SearchConfig, study: SearchStudy, proposals: Proposals, judge: Judge, last_level: int,
        modes: Sequence[Mode], spending: Spending, record: SearchRecord, weights: KeptWeights, progress: Progress,
        capacity: Callable[[], int], is_lost: Callable[[str], bool],
        last_words: Callable[[str], tuple[tuple[str, ...], str]],
    ) -> None:  # fmt: skip
        """
        Args:
            search: its settings.
            study: where outcomes go.
            proposals: who says what to try next.
            judge: who says which trial goes on.
            last_level: at which a trial ends.
            modes: of the objectives.
            spending: time and money, and when there is enough of it.
            record: the journal's side.
            weights: whose stay.
            progress: told of each trial.
            capacity: slots that there is room for.
            is_lost: whether a node is gone or goes.
            last_words: of a slot's process that ended itself: its trials, and why.
        """
        self._search, self._study, self._proposals, self._judge = search, study, proposals, judge
        self._last_level, self._modes, self._spending, self._record = last_level, modes, spending, record
        self._weights, self._progress = weights, progress
        self._capacity, self._is_lost, self._last_words = capacity, is_lost, last_words
        self._open: dict[str, OpenTrial] = {}
        self._slots: dict[str, SlotState] = {}
        self._again: deque[OpenTrial] = deque()
        self._best: float | None = None
        self._said: set[str] = set()
        self._num_slots = 0
        self.ended = ""  # why, once it is to end
        self._take_up(study.trials)

    # -- what an earlier driver left --------------------------------------------------------------------------------

    def _take_up(self, trials: Sequence[FrozenTrial]) -> None:
        """Trials that were open when their driver died go on first; the judge learns again what was heard."""
        self._num_started = len(trials)
        self._num_done = sum(trial.state in DONE for trial in trials)
        self._record.complete(trials, self._proposals.params_of)
        for trial in trials:
            self._recall(trial)
            if trial.state not in DONE:
                self._again.append(self._reopened(trial))
                continue
            score = score_of(trial)
            self._weights.recall(name_of(trial.number), STATES[trial.state], score, trial.user_attrs.get("loss", 0.0))
            if trial.state == TrialState.COMPLETE:
                self._note_best(score)

    def _reopened(self, frozen: FrozenTrial) -> OpenTrial:
        trial = Trial(self._study.study, frozen._trial_id)
        params, source = self._proposals.drawn(trial), self._proposals.source_of(frozen)
        opened = OpenTrial(name_of(frozen.number), trial, params, source, resumes=True)
        opened.level = max(frozen.intermediate_values, default=0)
        opened.curve = [frozen.intermediate_values[level] for level in sorted(frozen.intermediate_values)]
        spent = frozen.user_attrs.get("spent", {})
        opened.useful_s, opened.startup_s = spent.get("useful_s", 0.0), spent.get("startup_s", 0.0)
        opened.recomputed_s, opened.attempts = spent.get("recomputed_s", 0.0), spent.get("attempts", 1) + 1
        opened.lineage = list(frozen.user_attrs.get("lineage", []))
        opened.heard = list(frozen.user_attrs.get("heard", []))
        opened.rungs = [(int(known[0] or 0), _number(known[1])) for known in opened.heard]
        if opened.lineage:
            opened.params = dict(opened.lineage[-1]["params"])
        return opened

    def _recall(self, trial: FrozenTrial) -> None:
        parts = [part[2] for part in trial.user_attrs.get("parts", [])]
        for level, *values in trial.user_attrs.get("heard", []):
            self._judge.recall(name_of(trial.number), int(level), values, parts[: int(level)])

    # -- slots ------------------------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Nothing runs, and nothing is left to run."""
        if self.ended:
            return not any(slot.trials for slot in self._slots.values())
        return not self._open and not self._again and not self._may_start

    def longest_trial_s(self) -> float:
        """What a whole trial would take, by those that are open."""
        guesses = [opened.useful_s / opened.level * self._last_level for opened in self._open.values() if opened.level]
        return max(guesses, default=0.0)

    @property
    def _may_start(self) -> bool:
        return self._num_started < self._search.trials and not self._proposals.is_exhausted

    def new_slot(self, key: str) -> str | None:
        """The name of another slot, where there is work for one; `key` is Tune's id of it."""
        if self.ended or self.is_over or not (self._again or self._may_start):
            return None
        most = self._search.trials if self._search.concurrency is None else self._search.concurrency
        # One that waits for room would start up when the others end, and be waited for.
        if len(self._slots) >= min(most, self._search.trials, max(1, self._capacity())):
            return None
        self._slots[key] = SlotState(f"slot-{self._num_slots}")
        self._num_slots += 1
        return self._slots[key].name

    def hear(self, key: str, told: Told) -> Orders:
        """What a slot says, and what it is to do."""
        slot = self._slots[key]
        if told.handle is not None:
            if slot.incarnation:
                self._process_died(slot)
            slot.handle, slot.incarnation, slot.node = told.handle, told.incarnation, told.node
            self._spending.slot_started(slot.name, told.startup_s)
        for about, note in told.notes:
            if about not in self._said:
                self._said.add(about)
                self._record.note(note)
                self._progress.note(note)
        self._spending.told(told)
        go_on: dict[str, int] = {}
        stop: list[str] = []
        keep: list[str] = []
        clone: dict[str, Cloning] = {}
        for heard in told.heard:
            self._hear(slot, heard, go_on, stop, keep, clone)
        self._look_at_budget()
        start = () if told.left else self._assign(slot, told.wants)
        self._study.flush()
        self._record.live(self._open.values(), self._num_done, self._spending.fields)
        self._spending.keep_books()
        self._weights.look()
        if told.left:
            self._gone(slot)
        return Orders(
            start, go_on, tuple(stop), tuple(keep), clone, wait_s=0.0 if start else WAIT_S,
            deadline=time.time() if self.ended else self._spending.deadline(),
            is_over=not slot.trials and (bool(self.ended) or not (self._again or self._may_start)),
        )  # fmt: skip

    def handle_of(self, key: str) -> Any:
        """The actor of a slot."""
        return self._slots[key].handle

    def slot_ended(self, key: str, told: Told | None) -> None:
        """Tune has ended it: it said so, or it died once too often."""
        if told is not None and key in self._slots:
            self.hear(key, told)
        slot = self._slots.pop(key, None)
        if slot is not None:
            if told is None:
                self._process_died(slot)
            self._gone(slot)
        self._study.flush()

    def _gone(self, slot: SlotState) -> None:
        self._spending.slot_ended(slot.name)
        for name in sorted(slot.trials):
            self._requeue(self._open[name])
        slot.trials.clear()

    def _process_died(self, slot: SlotState) -> None:
        """Its trials go on elsewhere; who ended the process by hanging or by its memory does not."""
        guilty, cause = self._last_words(slot.name)
        trials = sorted(slot.trials)
        is_lost = bool(slot.node) and self._is_lost(slot.node)
        alone = len(trials) == 1
        for name in trials:
            opened = self._open[name]
            if cause and name in guilty and len(guilty) == 1:
                self._finish(opened, TrialState.FAIL, cause=cause)
                continue
            opened.is_suspect = opened.is_suspect or not is_lost
            opened.deaths += alone and not is_lost
            if opened.deaths > self._search.max_failures_per_trial:
                why = cause or "its process died"
                self._finish(opened, TrialState.FAIL, cause=f"{why}, {opened.deaths} times")
                continue
            self._requeue(opened)
        slot.trials.clear()

    def _requeue(self, opened: OpenTrial) -> None:
        opened.slot, opened.resumes = "", True
        opened.attempts += 1
        self._remember(opened)
        if not self.ended:
            self._again.append(opened)

    # -- trials -----------------------------------------------------------------------------------------------------

    def _assign(self, slot: SlotState, wants: int) -> tuple[Assignment, ...]:
        found: list[Assignment] = []
        while len(found) < wants and not self.ended:
            opened = self._next(is_free=not slot.trials)
            if opened is None:
                break
            opened.slot = slot.name
            slot.trials.add(opened.name)
            self._open[opened.name] = opened
            self._judge.meet(opened.name, opened.params)
            opened.until = max(self._judge.next_level(opened.name, opened.level), opened.level)
            found.append(
                Assignment(
                    opened.name, opened.params, opened.until, opened.level, opened.resumes, alone=opened.is_suspect
                )
            )
            if opened.is_suspect:
                break
        return tuple(found)

    def _next(self, *, is_free: bool) -> OpenTrial | None:
        """A trial that goes on, or a new one. A suspect gets a slot that trains nothing else."""
        for opened in self._again:
            if is_free or not opened.is_suspect:
                self._again.remove(opened)
                return opened
        if not self._may_start:
            return None
        proposed = self._proposals.ask()
        if proposed is None:
            return None
        self._num_started += 1
        trial, params, source = proposed
        return OpenTrial(name_of(trial.number), trial, params, source)

    def _hear(
        self, slot: SlotState, heard: Heard, go_on: dict[str, int], stop: list[str], keep: list[str],
        clone: dict[str, Cloning],
    ) -> None:  # fmt: skip
        opened = self._open.get(heard.trial)
        if opened is None or heard.trial not in slot.trials:  # it was given to another slot meanwhile
            if heard.state in ("judged", "finished"):
                stop.append(heard.trial)
            return
        self._report(opened, heard)
        match heard.state:
            case "judged":
                self._verdict(opened, heard, go_on, stop, clone)
            case "finished":
                self._finished(opened, heard, stop, keep)
            case "failed":
                self._finish(opened, TrialState.FAIL, cause=heard.cause)
            case "left":
                slot.trials.discard(opened.name)
                self._requeue(opened)

    def _report(self, opened: OpenTrial, heard: Heard) -> None:
        """Every level is an intermediate value; Optuna takes them of one objective only."""
        before, lost_s = opened.level, opened.recomputed_s
        opened.take(heard)
        self._spending.heard(heard, opened.recomputed_s - lost_s)
        if len(self._modes) > 1:
            return
        for level in range(before + 1, opened.level + 1):
            score = self._score_at(opened, level)
            if math.isfinite(score):
                opened.trial.report(score, level)

    def _score_at(self, opened: OpenTrial, level: int) -> float:
        scores = [score for score in opened.curve[:level] if math.isfinite(score)]
        if not scores:
            return math.nan
        if self._search.replicates > 1:
            return sum(scores) / len(scores)
        return max(scores) if self._modes[0] == "max" else min(scores)

    def _verdict(
        self, opened: OpenTrial, heard: Heard, go_on: dict[str, int], stop: list[str], clone: dict[str, Cloning]
    ) -> None:
        level, values = heard.level, heard.values
        is_new = opened.note_judgement(level, values)
        parts = [part.score for part in heard.parts]
        match self._judge.hear(opened.name, level, values, parts):
            case Stop(reason=reason):
                stop.append(opened.name)
                self._finish(opened, TrialState.PRUNED, stopped=reason)
            case Clone(source=source, params=params, reason=reason):
                if is_new:
                    opened.lineage.append({"level": level, "from": source, "params": params, "why": reason})
                    opened.trial.set_user_attr("lineage", opened.lineage)
                opened.params = dict(params)
                opened.until = self._judge.next_level(opened.name, level)
                clone[opened.name] = Cloning(source, params, opened.until)
            case GoOn():
                opened.until = self._judge.next_level(opened.name, level)
                go_on[opened.name] = opened.until

    def _finished(self, opened: OpenTrial, heard: Heard, stop: list[str], keep: list[str]) -> None:
        if heard.level >= self._last_level:
            opened.note_judgement(heard.level, opened.values)
            self._judge.hear(opened.name, heard.level, opened.values, [part.score for part in heard.parts])
        if not opened.values or math.isnan(opened.values[0]):
            stop.append(opened.name)
            self._finish(opened, TrialState.FAIL, cause="the score was NaN in every epoch")
            return
        is_kept = self._finish(opened, TrialState.COMPLETE)
        (keep if is_kept else stop).append(opened.name)

    def _finish(self, opened: OpenTrial, state: TrialState, *, cause: str = "", stopped: str = "") -> bool:
        """Whether its weights are to be kept.

        It goes into the study, then into the journal: a driver that died between the two completes it when it starts.
        """
        values = [float(value) for value in opened.values]
        attributes: dict[str, Any] = {"loss": opened.loss}
        if opened.parts:
            attributes["parts"] = [[part.fold, part.seed, part.score] for part in opened.parts]
        if cause:
            attributes["cause"] = cause
        if stopped:
            attributes["stopped"] = stopped
        if state == TrialState.PRUNED and len(values) > 1:
            attributes["values"], attributes["score"] = _finite(values), values[0]
        self._remember(opened, **attributes)
        self._study.study.tell(opened.trial, values if state == TrialState.COMPLETE else None, state)
        self._study.flush()
        if state == TrialState.FAIL:
            self._judge.forget(opened.name)
        else:
            self._judge.leave(opened.name)
        self._open.pop(opened.name, None)
        for slot in self._slots.values():
            slot.trials.discard(opened.name)
        self._num_done += 1
        told = self._record.trial(opened, STATES[state], cause=cause, stopped=stopped)
        is_complete = state == TrialState.COMPLETE
        self._spending.trial_ended(values if is_complete else None, opened.useful_s)
        if is_complete:
            self._note_best(told.score)
        front = [name_of(trial.number) for trial in self._study.study.best_trials] if len(self._modes) > 1 else None
        is_kept = self._weights.ended(
            opened.name, STATES[state], told.score, opened.loss, has_files=bool(opened.saved_bytes or opened.resumes),
            front=front,
        )  # fmt: skip
        self._progress.trial(told, self._num_done, self._search.trials, self._best)
        return is_kept

    def _note_best(self, score: float | None) -> None:
        if score is not None and is_better(score, self._best, self._modes[0]):
            self._best = score

    def _remember(self, opened: OpenTrial, **more: Any) -> None:
        """What a later driver needs to go on with the trial."""
        spent = {
            "useful_s": opened.useful_s, "startup_s": opened.startup_s, "recomputed_s": opened.recomputed_s,
            "attempts": opened.attempts,
        }  # fmt: skip
        for key, value in {"spent": spent, **more}.items():
            opened.trial.set_user_attr(key, value)

    def close(self) -> None:
        """The end of this execution: what is not on disk yet goes there."""
        self._study.flush()
        self._spending.close()

    def _look_at_budget(self) -> None:
        if not self.ended:
            self.ended = self._spending.why_to_end()
            if self.ended and self._open:
                self._progress.note(f"the search ends: {self.ended}")


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _finite(values: Sequence[float]) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]
