"""Which worker the others wait for. Pure: it is told pulses and stacks."""

from collections.abc import Mapping, Sequence

from training.hosts.pulse import Pulse
from training.hosts.root_cause import short_path

EXCHANGES = ("torch/distributed/", "torch/autograd/")
DDP = "torch/nn/parallel/distributed"  # around every forward pass; only as the deepest frame it is an exchange
LIBRARIES = ("site-packages/", "/lib/python")


def waits_for_peers(stack: Sequence[str]) -> bool:
    """Whether a rank with this stack is in an exchange: gradients are exchanged below torch's autograd."""
    own = [place for place, frame in enumerate(stack) if not _is_library(frame)]
    below = stack[own[-1] + 1 :] if own else stack
    return any(part in frame for frame in below for part in EXCHANGES) or any(DDP in frame for frame in below[-1:])


def culprits(pulses: Mapping[int, Pulse], silent: set[int], stacks: Mapping[int, Sequence[str]]) -> list[int]:
    """Ranks that are behind: silent ones; else those that wait for nobody; else those of the lowest step; else all."""
    if 0 < len(silent) < len(pulses):
        return sorted(silent)
    busy = [rank for rank in sorted(pulses) if rank in stacks and not waits_for_peers(stacks[rank])]
    if 0 < len(busy) < len(pulses):
        return busy
    lowest = min(pulse.step for pulse in pulses.values())
    return [rank for rank in sorted(pulses) if pulses[rank].step == lowest]


def say(
    pulses: Mapping[int, Pulse], silent: set[int], stacks: Mapping[int, Sequence[str]], seconds: float
) -> str:  # fmt: skip
    """One line, for a person."""
    ranks = culprits(pulses, silent, stacks)
    behind = [_who(pulses[rank], stacks.get(rank, ()), is_silent=rank in silent) for rank in ranks]
    others = [str(rank) for rank in sorted(pulses) if rank not in ranks]
    line = f"{' and '.join(behind)} made no step for {seconds:.0f} s"
    if not others:
        return line
    many = len(others) > 1
    return f"{line}; worker{'s' if many else ''} {', '.join(others)} wait{'' if many else 's'} in the gradient exchange"


def _who(pulse: Pulse, stack: Sequence[str], *, is_silent: bool) -> str:
    own = [frame for frame in stack if not _is_library(frame)]
    at = f", in {short_path(own[-1])}" if own else ""
    quiet = ", and does not answer" if is_silent else ""
    return f"worker {pulse.rank} on {pulse.ip} (pid {pulse.pid}, at step {pulse.step}{at}{quiet})"


def _is_library(frame: str) -> bool:
    return any(part in frame for part in LIBRARIES)
