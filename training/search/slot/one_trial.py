"""What a run of one trial by itself is to its slot, whoever trains it."""

from abc import abstractmethod

from training.search.messages import Assignment, HeardState


class OneTrial:
    """One trial."""

    is_alone = True

    def __init__(self, assignment: Assignment) -> None:
        self.assignment, self.until = assignment, assignment.until

    @property
    @abstractmethod
    def state(self) -> HeardState:
        """How it stands."""

    @property
    def trials(self) -> tuple[str, ...]:
        """Its name."""
        return (self.assignment.trial,)

    @property
    def num_busy(self) -> int:
        """1, or 0 once it has ended."""
        return int(self.state in ("running", "judged"))

    @property
    def can_advance(self) -> bool:
        """It waits for nothing."""
        return self.state == "running"

    def go_on(self, trial: str, until: int) -> None:
        """It was judged, and stays."""
        self.until = until
