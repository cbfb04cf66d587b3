"""What driver and slots say to each other. Plain values: they travel between processes once or twice a second.

A level is a number of epochs; of replicates (folds, seeds), where a trial is judged by several trainings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

HeardState = Literal["running", "judged", "finished", "failed", "left"]


@dataclass(frozen=True)
class Assignment:
    """A trial for a slot."""

    trial: str
    params: Mapping[str, Any]  # experiment key -> value
    until: int  # level at which it waits for a verdict, or ends
    known: int = 0  # level up to which the driver has heard of it
    resumes: bool = False  # it was begun elsewhere: a checkpoint may be there
    clone: "Cloning | None" = None  # of a population: ordered before, and not known to be done
    alone: bool = False  # its neighbours' process died: who did it is found by training each by itself


@dataclass(frozen=True)
class Cloning:
    """A member of a population goes on from another one's weights, with other settings."""

    source: str
    params: Mapping[str, Any]
    until: int


@dataclass(frozen=True)
class Orders:
    """From the driver: what to begin, and what becomes of the trials that wait."""

    start: tuple[Assignment, ...] = ()
    go_on: Mapping[str, int] = field(default_factory=dict)  # trial -> level of its next verdict
    stop: tuple[str, ...] = ()  # these trials end here
    keep: tuple[str, ...] = ()  # ended trials whose best weights are to be kept
    clone: Mapping[str, Cloning] = field(default_factory=dict)
    wait_s: float = 0.0  # there is nothing to do just now
    deadline: float | None = None  # unix time at which everything is saved and left
    is_over: bool = False  # nothing will come any more


@dataclass(frozen=True)
class Part:
    """One training of several that judge a trial."""

    fold: int | None
    seed: int
    score: float


@dataclass(frozen=True)
class Heard:
    """What is new of one trial."""

    trial: str
    state: HeardState  # judged: it waits for a verdict; left: it was saved and goes on elsewhere
    level: int
    values: tuple[float, ...] = ()  # of the objectives at this level, the score first
    curve: tuple[float, ...] = ()  # score of each level since `Assignment.known`, or since what was told last
    loss: float = 0.0  # decides between equal scores
    parts: tuple[Part, ...] = ()  # all so far
    epochs: int = 0  # in all
    useful_s: float = 0.0  # since the last time
    startup_s: float = 0.0
    restored_s: float | None = None  # useful seconds that a checkpoint brought back; None where nothing was resumed
    cause: str = ""
    lanes: int = 1
    saved_bytes: int = 0  # that its checkpoints take in the run's storage
    share: float = 0.0  # done of a whole trial


@dataclass(frozen=True)
class Told:
    """From a slot."""

    incarnation: str  # of its process: another one means that the last one died
    handle: Any = None  # of the slot's actor, in its first words
    heard: tuple[Heard, ...] = ()
    wants: int = 0  # trials that it could take
    waiting_s: float = 0.0  # idle since the last time
    startup_s: float = 0.0  # of the process, and measuring what trains together, since the last time
    notes: tuple[tuple[str, str], ...] = ()  # what it is about, and a line for the person: the first slot's is said
    left: str = ""  # why this slot leaves its machine
    broken: str = ""  # why it cannot begin
    node: str = ""
