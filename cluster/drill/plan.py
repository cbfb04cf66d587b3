"""Which blows fall, and when: decided by a seed before anything starts."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cluster.drill.errors import DrillError

FIRST = 0.03  # share of the training that is over before the first blow


class Kind(StrEnum):
    """What happens to the training."""

    NOTICE = "notice"  # a machine is told that it will go, and goes at the deadline
    KILL_WORKER = "kill_worker"  # SIGKILL of one training process
    KILL_NODE = "kill_node"  # SIGKILL of everything on a machine, at once
    KILL_DRIVER = "kill_driver"  # SIGKILL of `manta train`, which is then called again
    KILL_CLUSTER = "kill_cluster"  # everything dies, the head too; a new cluster goes on with the same storage


DEFAULT_KINDS = (Kind.NOTICE, Kind.KILL_WORKER, Kind.KILL_NODE, Kind.KILL_DRIVER)


@dataclass(frozen=True)
class Planned:
    """One blow to come."""

    number: int  # from 1
    kind: Kind
    at_step: int  # falls at the first sign that the training reached this optimizer step
    draw: float  # in [0, 1): which of the machines or workers there are then


def plan_blows(seed: int, num_events: int, kinds: Sequence[Kind], num_steps: int) -> tuple[Planned, ...]:
    """Blows in the order in which they fall, drawn over the whole training; every kind comes equally often.

    One part of as many as there are blows, and one, is left free at the end: what falls when the training is all but
    over hits nothing.

    Raises:
        DrillError: the training has fewer steps than there are blows to fall.
    """
    if num_steps < num_events:
        raise DrillError(
            f"{num_events} events do not fit into a training of {num_steps} steps",
            "fewer events, or more epochs: --set train.epochs=...",
        )
    draws = random.Random(seed)
    last = num_events / (num_events + 1)
    moments = sorted(FIRST + (last - FIRST) * draws.random() for _ in range(num_events))
    drawn: list[Kind] = []
    while len(drawn) < num_events:
        drawn += draws.sample(list(kinds), len(kinds))
    return tuple(
        Planned(number, kind, max(1, int(moment * num_steps)), draws.random())
        for number, (kind, moment) in enumerate(zip(drawn, moments, strict=False), start=1)
    )


def kinds_of(text: str) -> tuple[Kind, ...]:
    """Kinds from a list with commas. Raises DrillError for an unknown one, and for none."""
    names = [name.strip().replace("-", "_") for name in text.split(",") if name.strip()]
    allowed = [kind.value for kind in Kind]
    if unknown := [name for name in names if name not in allowed]:
        raise DrillError(f"{', '.join(unknown)} is no kind of event", f"there are: {', '.join(allowed)}")
    if not names:
        raise DrillError("no kind of event given", f"there are: {', '.join(allowed)}")
    return tuple(dict.fromkeys(Kind(name) for name in names))
