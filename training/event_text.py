"""What happened to a training, in words: one sentence an event of the journal, the same live and in the report.

Facts that an event may carry; one that is missing is left out of the sentence.

    preempted           step, what (why): the workers saved themselves and left
    worker_lost         step, what: a machine went, a process was killed or hung
    worker_failed       step, what: an error of a worker, after which training tries again
    hang                step, what
    resumed             step, workers, seconds (until steps were made again), steps_lost
    waiting             what
    storage_trouble     step, what, retry_s
    storage_recovered   step, seconds
    checkpoint_refused  step, what
    diverged            step, epoch, what, rows, action ("stop" or "rollback"), to_step, lr_scale
    micro_batch         step, rows, share
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Facts = Mapping[str, Any]


def event_text(event: Facts) -> str | None:
    """One sentence, with the step where that is known; None for an event that is none of these."""
    words = _WORDS.get(str(event.get("event")))
    if words is None:
        return None
    step = event.get("step")
    return words(event) if step is None else f"step {step:,}: {words(event)}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _preempted(event: Facts) -> str:
    return f"training saved itself and left{_because(event)}"


def _lost(event: Facts) -> str:
    return _what(event) or "a worker was lost"


def _failed(event: Facts) -> str:
    return f"{_what(event) or 'a worker failed'}; training tries again"


def _hang(event: Facts) -> str:
    return _what(event) or "no step is made any more"


def _resumed(event: Facts) -> str:
    facts = []
    if event.get("workers"):
        facts.append(f"with {counted(event['workers'], 'worker')}")
    if event.get("seconds"):
        facts.append(f"{duration(event['seconds'])} later")
    if event.get("steps_lost") is not None:
        facts.append(f"{counted(event['steps_lost'], 'step')} lost" if event["steps_lost"] else "no step lost")
    return " ".join(["training goes on", ", ".join(facts)]).rstrip()


def _waiting(event: Facts) -> str:
    return f"training waits for machines{_because(event)}"


def _storage_trouble(event: Facts) -> str:
    retry = f", next attempt in {duration(event['retry_s'])}" if event.get("retry_s") is not None else ""
    return f"a checkpoint could not be kept{_because(event)}; the last good one is intact{retry}"


def _storage_recovered(event: Facts) -> str:
    after = f" after {duration(event['seconds'])}" if event.get("seconds") is not None else ""
    return f"checkpoints are kept again{after}"


def _refused(event: Facts) -> str:
    return f"no checkpoint was made{_because(event)}; the last good one is intact"


def _diverged(event: Facts) -> str:
    what = f"training diverged{_because(event)}"
    if event.get("action") != "rollback":
        return f"{what}; it stops"
    scale = f", at {event['lr_scale']:g} of the rate" if event.get("lr_scale") is not None else ""
    to_step = f" to step {event['to_step']:,}" if event.get("to_step") is not None else ""
    return f"{what}; back{to_step}{scale}"


def _micro_batch(event: Facts) -> str:
    share = f" of the {event['share']:,} of a step" if event.get("share") else ""
    return f"memory holds {event.get('rows', 0):,} rows{share} at a time; their gradients add up"


def _what(event: Facts) -> str:
    """The cause as it came, in one line."""
    return " ".join(str(event.get("what") or "").split())


def _because(event: Facts) -> str:
    return f" ({what})" if (what := _what(event)) else ""


def counted(number: int, thing: str) -> str:
    """1 step, 2 steps, 1,000 steps."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def listed(names: Sequence[str], most: int = 6) -> str:
    """a, b, c and 4 more."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


_WORDS: dict[str, Callable[[Facts], str]] = {
    "preempted": _preempted,
    "worker_lost": _lost,
    "worker_failed": _failed,
    "hang": _hang,
    "resumed": _resumed,
    "waiting": _waiting,
    "storage_trouble": _storage_trouble,
    "storage_recovered": _storage_recovered,
    "checkpoint_refused": _refused,
    "diverged": _diverged,
    "micro_batch": _micro_batch,
}
TOLD = tuple(_WORDS)  # the kinds of events that have words
