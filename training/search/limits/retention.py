"""Which checkpoints of a search go, so that all of them together stay within their bytes."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from training.metric_names import Mode
from training.progress import TrialState
from training.search_config import SearchConfig

BYTES = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


@dataclass(frozen=True)
class Stored:
    """One checkpoint of a trial: of one that runs, what it goes on from; of one that ended, its best weights."""

    trial: str
    state: TrialState | None  # None while it runs, or waits to go on
    num_bytes: int
    saved_at: float  # unix time
    score: float | None = None
    loss: float = 0.0  # decides between equal scores
    path: str = ""


@dataclass(frozen=True)
class Retention:
    """What to delete, first things first, and what is then left."""

    delete: tuple[Stored, ...]
    left_bytes: int
    too_much: str = ""  # a sentence, where what must stay is more than the budget


def retained(stored: Sequence[Stored], search: SearchConfig, mode: Mode, front: Collection[str] = ()) -> Retention:
    """What goes: ended trials that are neither among the best nor on the front, the worst first.

    Where there is a budget and it is not enough, older checkpoints of trials that run go too, the oldest first. The
    newest one of each trial that runs, the best trials and the front always stay.

    Args:
        stored: all checkpoints of the search.
        search: its settings.
        mode: of the score.
        front: trials on the Pareto front.
    """
    kept = best_trials(stored, search.keep_best, mode) | set(front)
    ended = [each for each in stored if each.state is not None]
    delete = sorted((each for each in ended if each.trial not in kept), key=lambda each: _order(each, mode))[::-1]
    left = sum(each.num_bytes for each in stored) - sum(each.num_bytes for each in delete)
    budget = search.storage_budget_bytes
    for each in _superseded(stored) if budget is not None else ():
        if budget is None or left <= budget:
            break
        delete.append(each)
        left -= each.num_bytes
    too_much = "" if budget is None or left <= budget else _sentence(stored, delete, search, left)
    return Retention(tuple(delete), left, too_much)


def best_trials(stored: Sequence[Stored], keep: int, mode: Mode) -> set[str]:
    """Names of the best that ended: a complete trial comes before one that was stopped, whatever its score."""
    ended = [each for each in stored if each.state in ("complete", "pruned") and _has_score(each)]
    names = dict.fromkeys(each.trial for each in sorted(ended, key=lambda each: _order(each, mode)))
    return set(list(names)[:keep])


def _order(each: Stored, mode: Mode) -> tuple[int, float, float, str]:
    """The best first: as the search chooses its result."""
    rank = ("complete", "pruned", "failed").index(each.state or "failed")
    loss = (each.score or 0.0) * (-1 if mode == "max" else 1) if _has_score(each) else math.inf
    return rank, loss, each.loss, each.trial


def _has_score(each: Stored) -> bool:
    return each.score is not None and not math.isnan(each.score)


def _superseded(stored: Sequence[Stored]) -> list[Stored]:
    """Of trials that run, all but the newest checkpoint, the oldest first."""
    running = sorted((each for each in stored if each.state is None), key=lambda each: each.saved_at)
    newest = {each.trial: each for each in running}
    return [each for each in running if each is not newest[each.trial]]


def _sentence(stored: Sequence[Stored], delete: Sequence[Stored], search: SearchConfig, left: int) -> str:
    gone = {id(each) for each in delete}
    stays = [each for each in stored if id(each) not in gone]
    running = [each for each in stays if each.state is None]
    live = sum(each.num_bytes for each in running)
    num_kept = len({each.trial for each in stays if each.state is not None})
    return (
        f"the checkpoints of the search take {size_text(left)}, more than search.storage_budget="
        f"{search.storage_budget}, and none of them can go: {len(running)} trials that run need {size_text(live)}, and "
        f"{num_kept} that are kept need {size_text(left - live)}; raise it, or lower search.concurrency, search.lanes "
        "or search.keep_best"
    )


def size_text(num_bytes: int) -> str:
    """A size for a person."""
    for unit, size in BYTES:
        if num_bytes >= size:
            return f"{num_bytes / size:.3g} {unit}"
    return f"{num_bytes} bytes"
