"""Which of the things that several processes raised, or died of, was the one that mattered. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from training.hosts.failures import Failure
from training.hosts.pulse import Pulse
from training.hosts.root_cause import Cause, first_cause

LEFT = "Leaving"  # a cause's type: no error, the rank saved itself and went
TRACES = "the full traces are in errors.log of the run's folder; what was reached is kept"
OUT_OF_MEMORY = ("out of memory", "oom", "memory pressure", "memory usage threshold")


@dataclass(frozen=True)
class Death:
    """A worker process that ended without raising anything."""

    rank: int
    message: str  # Ray's
    is_preempted: bool = False  # Ray says that its node was taken


def judged(
    causes: Sequence[Cause], deaths: Sequence[Death], group: Mapping[int, Pulse], silent: Collection[int],
    gone: Collection[str], hang: str, left: str, start_error: str,
) -> Failure:  # fmt: skip
    """One failure out of all that is known.

    Args:
        causes: what ranks raised.
        deaths: processes that ended.
        group: the newest pulse of each rank, or where it was placed.
        silent: ranks that were not heard of lately.
        gone: nodes of the group that are lost, or were told to go.
        hang: the line that says who stood still, if somebody did.
        left: why the ranks were told to leave, if they were.
        start_error: why a group could not even begin.
    """
    size = len(group)
    own = [cause for cause in causes if cause.error_type != LEFT]
    if hang:
        return Failure("hang", hang, size, hint=TRACES)
    if len(own) < len(causes) and not deaths and first_cause(own) is None:
        return Failure("left", left or "told to leave", size)
    lost = sorted({pulse.ip for pulse in group.values() if pulse.node_id in gone})
    taken = [death for death in deaths if death.is_preempted]
    if lost or taken:
        # The survivors' errors follow from it. A mistake of the code's own comes again without a lost machine.
        of_taken = group.get(taken[0].rank) if taken else None  # unknown to a monitor that just began anew
        where = ", ".join(lost) or (of_taken.ip if of_taken else f"of worker {taken[0].rank}")
        return Failure("machine", f"node {where} was lost", size)
    if (cause := first_cause(own)) is not None:
        return Failure("error", cause.line(size), size, cause, TRACES)
    if deaths:
        return Failure("crash", _said(deaths[0], group), size, hint=TRACES)
    if start_error:
        return Failure("start", f"the workers could not be started: {last_line(start_error)}", size, hint=TRACES)
    return _only_collateral(own, group, silent)


def last_line(trace: str) -> str:
    """What an exception's full text ends with: its message."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "no reason was given"


def _said(death: Death, group: Mapping[int, Pulse]) -> str:
    pulse = group.get(death.rank)
    who = pulse.who if pulse else f"worker {death.rank}"
    if any(words in death.message.lower() for words in OUT_OF_MEMORY[2:]):
        return f"{who} was killed by Ray because its node ran out of memory"
    held = f"; it held {pulse.memory_mb:.0f} MB" if pulse and pulse.memory_mb else ""
    return f"{who} was killed or crashed: its process ended without an error of its own (out of memory?{held})"


def _only_collateral(causes: Sequence[Cause], group: Mapping[int, Pulse], silent: Collection[int]) -> Failure:
    """Ranks lost a peer, and the peer says nothing: it is one that raised nothing, best one that is silent."""
    raised = {cause.rank for cause in causes}
    missing = [rank for rank in group if rank not in raised]
    quiet = [rank for rank in missing if rank in silent] or missing
    if quiet:
        return Failure("crash", f"{group[quiet[0]].who} is gone: the others lost it", len(group), hint=TRACES)
    said = causes[0].line(len(group)) if causes else "the workers ended"
    return Failure("crash", said, len(group), hint=TRACES)
