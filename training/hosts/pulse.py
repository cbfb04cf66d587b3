"""What a worker tells about itself about once a second. Importable without torch or ray."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from training.progress import Live

Phase = Literal["start", "restore", "train", "evaluate", "compile", "save", "done"]
MAKES_STEPS: tuple[Phase, ...] = ("train", "evaluate")  # in the others no boundary is passed for long, rightly


@dataclass(frozen=True)
class Pulse:
    """One worker at one moment."""

    rank: int
    world_size: int
    node_id: str
    ip: str
    pid: int
    boundaries: int = 0  # passed since the process began; it stands still only where nothing is done
    step: int = 0
    epoch: int = 0  # epochs done
    samples: int = 0  # of the next epoch, consumed by all workers together
    samples_per_s: float = 0.0  # all workers together
    wait_fraction: float = 0.0  # of the time since the pulse before, spent waiting for batches
    loss: float | None = None
    phase: Phase = "start"
    memory_mb: float = 0.0
    gpu_memory_mb: float | None = None
    flops_per_s: float | None = None  # all workers together
    mfu: float | None = None  # that as a share of what all workers' GPUs could
    lr: float | None = None  # of the last step

    @property
    def who(self) -> str:
        """As errors and records name a worker."""
        return f"worker {self.rank} on {self.ip} (pid {self.pid})"


@dataclass(frozen=True)
class Scale:
    """How much a training is, to say how far it is."""

    num_epochs: int
    num_steps: int
    num_samples: int  # of one epoch


def live_of(
    pulses: Sequence[Pulse], scale: Scale, score: tuple[str, float] | None = None, best: float | None = None
) -> Live:
    """One picture of all workers. Raises ValueError where there is none."""
    first = min(pulses, key=lambda pulse: pulse.rank)
    gpu = [pulse.gpu_memory_mb for pulse in pulses if pulse.gpu_memory_mb is not None]
    return Live(
        epoch=min(first.epoch + 1, scale.num_epochs), num_epochs=scale.num_epochs, step=first.step,
        num_steps=scale.num_steps, samples_per_s=first.samples_per_s,
        wait_fraction=sum(pulse.wait_fraction for pulse in pulses) / len(pulses),
        num_workers=first.world_size, loss=first.loss, score=score, best=best, lr=first.lr, mfu=first.mfu,
        memory_mb=max(pulse.memory_mb for pulse in pulses), gpu_memory_mb=max(gpu, default=None),
        flops_per_s=first.flops_per_s, phase=first.phase,
    )  # fmt: skip
