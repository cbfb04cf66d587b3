"""How much of the time went into steps that count."""

from dataclasses import dataclass

HOUR_S = 3600.0


@dataclass(frozen=True)
class Goodput:
    """Useful step time against wall time; all in seconds."""

    useful_s: float  # the steps of the run, as long as the unbroken run took for them
    wall_s: float  # from the command to its end, start-up and all restarts included
    absent_s: float  # of it, without enough machines to train at all
    num_blows: int

    @property
    def of_wall(self) -> float:
        """Useful step time / wall time."""
        return self.useful_s / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def of_machines(self) -> float:
        """Useful step time / wall time in which there were machines."""
        had_s = self.wall_s - self.absent_s
        return self.useful_s / had_s if had_s > 0 else 0.0

    def cost_s(self, unbroken_wall_s: float) -> float:
        """Seconds that a blow cost on average: restart, repeated steps, slower saving; absence left out."""
        return max(0.0, self.wall_s - self.absent_s - unbroken_wall_s) / self.num_blows if self.num_blows else 0.0

    def at_one_an_hour(self, unbroken_wall_s: float) -> float:
        """What it would be in a long run that loses a machine every hour, at the same cost a loss. Reckoned."""
        return HOUR_S / (HOUR_S + self.cost_s(unbroken_wall_s))
