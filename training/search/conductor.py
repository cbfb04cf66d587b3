"""The search's driver without Ray: which trial goes where, what becomes of it, and the record of both.

It is told what slots say and answers with orders. Every outcome goes into the study (a stopped trial is PRUNED, a
broken one FAIL with its cause, one whose machine went is the same trial continued) and into the run's journal, before
anything acts on it.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import TrialState

from training.errors import TrainingFailed
from training.metric_names import Mode
from training.progress import Progress
from training.search.judges import Clone, GoOn, Judge, Stop
from training.search.limits.spending import Spending
from training.search.limits.weights import KeptWeights
from training.search.messages import Assignment, Cloning, Heard, Orders, Told
from training.search.open_trial import OpenTrial
from training.search.outcomes import Outcomes, no_score
from training.search.record import SearchRecord
from training.search.sampling.proposals import Proposals
from training.search.slots import Slots, SlotState
from training.search.study import SearchStudy
from training.search.supply import Supply
from training.search_config import SearchConfig

WAIT_S = 0.2  # a slot without work asks again after so long


@dataclass
class Answer:
    """What becomes of the trials that a slot told of."""

    go_on: dict[str, int] = field(default_factory=dict)
    stop: list[str] = field(default_factory=list)
    keep: list[str] = field(default_factory=list)
    clone: dict[str, Cloning] = field(default_factory=dict)


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
        self._outcomes = Outcomes(
            study=study, judge=judge, modes=modes, spending=spending, record=record, weights=weights,
            progress=progress, num_trials=search.trials,
        )  # fmt: skip
        self._is_lost, self._last_words = is_lost, last_words
        self._supply = Supply(study, proposals, search.trials, last_level)
        self._slots = Slots(min(search.trials, search.concurrency or search.trials), capacity)
        self._open: dict[str, OpenTrial] = {}
        self._said: set[str] = set()
        self._num_broken = 0  # slots in a row that could not begin
        self.ended = ""  # why, once it is to end
        self.failure: Exception | None = None  # for which this execution ends at once
        for event in record.complete(study.trials, proposals.params_of):
            spending.recall(event)
        self._outcomes.recall(study.trials)
        self._supply.take_up(study.trials)

    # -- slots ------------------------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Nothing runs, and nothing is left to run."""
        if self.failure is not None:
            return True
        if self.ended:
            return self._slots.are_idle
        return not self._open and not self._supply.has_more

    def longest_trial_s(self) -> float:
        """What a whole trial would take, by those that are open; 0 where none has made a step."""
        begun = [opened for opened in (*self._open.values(), *self._supply.waiting) if opened.share]
        return max((opened.useful_s / opened.share for opened in begun), default=0.0)

    def new_slot(self, key: str) -> str | None:
        """The name of another slot, where there is work for one; `key` is Tune's id of it."""
        if self.ended or self.is_over or not self._supply.has_more:
            return None
        return self._slots.new(key)

    def hear(self, key: str, told: Told) -> Orders:
        """What a slot says, and what it is to do."""
        slot = self._slots[key]
        if told.handle is not None:
            told = self._introduced(slot, told)
        for about, note in told.notes:
            self._say(about, note)
        self._spending.told(told)
        answer = Answer()
        for heard in told.heard:
            self._hear(slot, heard, answer)
        self.look_at_budget()
        start = () if told.left else self._assign(slot, told.wants)
        self._study.flush()
        self._record.live(self._open.values(), self._outcomes.num_done, self._spending.fields)
        self._spending.keep_books()
        self._weights.look()
        if told.left:
            self._gone(slot)
        kept = [name for name in answer.keep if self._weights.is_kept(name)]  # no better one ended in the same words
        return Orders(
            start, answer.go_on, tuple({*answer.stop, *answer.keep} - {*kept}), tuple(kept), answer.clone,
            wait_s=0.0 if start else WAIT_S, deadline=time.time() if self.ended else self._spending.deadline(),
            is_over=not slot.trials and (bool(self.ended) or not self._supply.has_more),
        )  # fmt: skip

    def _introduced(self, slot: SlotState, told: Told) -> Told:
        if slot.incarnation:
            self._process_died(slot)
        self._num_broken = 0
        told = slot.introduced(told)
        self._spending.slot_started(slot.name, told.startup_s)
        return told

    def _say(self, about: str, note: str) -> None:
        """Once, and into the record."""
        if about not in self._said:
            self._said.add(about)
            self._record.note(note)
            self._progress.note(note)

    def process_ended(self, key: str, why: str) -> None:
        """A slot's process died, and Tune begins another one."""
        slot = self._slots.get(key)
        if slot is None:
            return
        if slot.incarnation:
            self._process_died(slot)
        else:
            self._is_broken(why)
        slot.lost()
        self._study.flush()

    def _is_broken(self, why: str) -> None:
        """It died before it could take a trial, so that no trial would ever count it."""
        self._num_broken += 1
        self._progress.note(f"a slot could not begin: {why}")
        if self._num_broken > self._search.max_failures_per_trial:
            self.failure = TrainingFailed(
                f"no slot of the search can begin, {self._num_broken} times in a row: {why}",
                "mend the cause; the same command goes on",
            )

    def handle_of(self, key: str) -> Any:
        """The actor of a slot."""
        return self._slots[key].handle

    def slot_ended(self, key: str, told: Told | None) -> None:
        """Tune has ended it: it said so, or it died once too often."""
        if told is not None and self._slots.get(key) is not None:
            if told.broken:
                self._is_broken(told.broken)
            else:
                self.hear(key, told)
        slot = self._slots.pop(key)
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
        what = cause or ("its node is gone" if is_lost else "its process died")
        self._progress.note(f"{slot.name} ended: {what}; {_counted(trials)}")
        for name in trials:
            opened = self._open[name]
            if cause and name in guilty and len(guilty) == 1:
                self._finish(opened, TrialState.FAIL, cause=cause)
                continue
            if alone and opened.is_suspect and not is_lost:
                self._supply.clear()  # here is the culprit: the others of its stack go on together
            opened.is_suspect = opened.is_suspect or not is_lost
            opened.deaths += alone and not is_lost
            if opened.deaths > self._search.max_failures_per_trial:
                self._finish(opened, TrialState.FAIL, cause=f"{what}, {opened.deaths} times")
                continue
            self._requeue(opened)
        slot.trials.clear()

    def _requeue(self, opened: OpenTrial) -> None:
        opened.slot, opened.resumes = "", True
        opened.remember()
        if not self.ended:
            self._supply.again(opened)

    # -- trials -----------------------------------------------------------------------------------------------------

    def _assign(self, slot: SlotState, wants: int) -> tuple[Assignment, ...]:
        found: list[Assignment] = []
        if any(self._open[name].is_suspect for name in slot.trials):
            return ()  # who ends its process must be alone in it
        while len(found) < wants and not self.ended:
            opened = self._supply.next(is_free=not slot.trials)
            if opened is None:
                break
            opened.slot, opened.attempts = slot.name, opened.attempts + 1
            if opened.resumes:
                opened.remember()
            slot.trials.add(opened.name)
            self._open[opened.name] = opened
            self._judge.meet(opened.name, opened.params)
            # One that left while it waited for a verdict is judged where it stands.
            opened.until = self._judge.next_level(opened.name, opened.judged)
            clone = Cloning(opened.lineage[-1]["from"], opened.params, opened.until) if opened.is_cloning else None
            found.append(
                Assignment(
                    opened.name, opened.params, opened.until, opened.known, opened.resumes, clone,
                    alone=opened.is_suspect,
                )
            )  # fmt: skip
            if opened.is_suspect:
                break
        return tuple(found)

    def _hear(self, slot: SlotState, heard: Heard, answer: Answer) -> None:
        opened = self._open.get(heard.trial)
        if opened is None or heard.trial not in slot.trials:  # it was given to another slot meanwhile
            if heard.state in ("judged", "finished"):
                answer.stop.append(heard.trial)
            return
        lost_s = opened.recomputed_s
        opened.take(heard)
        self._spending.heard(heard, opened.recomputed_s - lost_s)
        if len(self._modes) == 1:  # Optuna takes intermediate values of one objective only
            opened.report(self._modes[0], is_mean=self._search.replicates > 1)
        match heard.state:
            case "judged":
                self._verdict(opened, heard, answer)
            case "finished":
                self._finished(opened, heard, answer)
            case "failed":
                self._finish(opened, TrialState.FAIL, cause=heard.cause)
            case "left":
                slot.trials.discard(opened.name)
                self._requeue(opened)

    def _verdict(self, opened: OpenTrial, heard: Heard, answer: Answer) -> None:
        level, values = heard.level, heard.values
        is_new = opened.note_judgement(level, values)
        parts = [part.score for part in heard.parts]
        match self._judge.hear(opened.name, level, values, parts):
            case Stop(reason=reason):
                answer.stop.append(opened.name)
                self._finish(opened, TrialState.PRUNED, stopped=reason)
            case Clone(source=source, params=params, reason=reason):
                if is_new:
                    opened.lineage.append({"level": level, "from": source, "params": params, "why": reason})
                    opened.trial.set_user_attr("lineage", opened.lineage)
                opened.params = dict(params)
                opened.until = self._judge.next_level(opened.name, level)
                answer.clone[opened.name] = Cloning(source, params, opened.until)
            case GoOn():
                opened.until = self._judge.next_level(opened.name, level)
                answer.go_on[opened.name] = opened.until

    def _finished(self, opened: OpenTrial, heard: Heard, answer: Answer) -> None:
        if heard.level >= self._last_level and opened.values:
            opened.note_judgement(heard.level, opened.values)
            self._judge.hear(opened.name, heard.level, opened.values, [part.score for part in heard.parts])
        if not opened.values or any(math.isnan(value) for value in opened.values):
            answer.stop.append(opened.name)
            self._finish(opened, TrialState.FAIL, cause=no_score(self._search, opened.values))
        elif self._finish(opened, TrialState.COMPLETE):
            answer.keep.append(opened.name)
        else:
            answer.stop.append(opened.name)

    def _finish(self, opened: OpenTrial, state: TrialState, *, cause: str = "", stopped: str = "") -> bool:
        """Whether its weights are to be kept."""
        is_kept = self._outcomes.finish(opened, state, cause=cause, stopped=stopped)
        self._open.pop(opened.name, None)
        self._slots.forget_trial(opened.name)
        return is_kept

    def close(self) -> None:
        """The end of this execution: what is not on disk yet goes there, and no slot writes any more."""
        self._study.flush()
        self._spending.close()
        self._weights.close()

    def look_at_budget(self) -> None:
        """End where there is enough: also while no slot says anything, since there is no room for one."""
        if not self.ended:
            self.ended = self._spending.why_to_end()
            if self.ended and self._open:
                self._progress.note(f"the search ends: {self.ended}")


def _counted(trials: Sequence[str]) -> str:
    return f"{len(trials)} trial{'' if len(trials) == 1 else 's'} of it" if trials else "no trial was in it"
