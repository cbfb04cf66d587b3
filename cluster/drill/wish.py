"""What a drill is asked for."""

from dataclasses import dataclass

from cluster.drill.plan import DEFAULT_KINDS, Kind
from cluster.drill.trace import Trace

SPACING_S, TRACE_SPACING_S = 4.0, 20.0


@dataclass(frozen=True)
class Wish:
    """What a drill was asked for."""

    num_events: int = 20
    kinds: tuple[Kind, ...] = DEFAULT_KINDS
    seed: int = 0
    num_nodes: int | None = None  # None: one a worker, and a spare one; none is spare in a trace
    trace: Trace | None = None
    acceleration: float | None = None  # None: so that about `num_events` machines are lost
    with_notice: bool = True  # of the trace's losses
    notice_s: float = 8.0
    replace_s: float = 2.0
    spacing_s: float | None = None  # training between two events, on average; 0 leaves the epochs as they are
    patience_s: float = 300.0  # without a step, machines being there, the run counts as lost
    max_s: float = 3600.0
    verbose: bool = False

    @property
    def spacing(self) -> float:
        """Seconds of training between two events."""
        default = SPACING_S if self.trace is None else TRACE_SPACING_S
        return default if self.spacing_s is None else self.spacing_s
