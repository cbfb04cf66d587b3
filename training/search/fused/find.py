"""How many lanes pay, found by a few real steps; and whether a lane trains as its trial would by itself."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from training.config import Experiment
from training.data.prepared import Facts, Part
from training.data.stream.part import StreamPart
from training.loop import Trainer
from training.models import ModelInputs, build_model
from training.models.attention import Attention
from training.search.fused.shape import signature
from training.search.fused.stack import Stack
from training.session import Gauges, Order, Place, PlainSession

COUNTS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
FLAT = 1.1  # times the throughput of fewer lanes, below which more of them are not worth their memory
WORTH = 1.2  # times the throughput of one trial after the other, below which a stack is not worth its trouble
STEPS_COMPARED = 3
ALIKE = 1e-4  # relative difference of the losses in them: rounding stays far below, another computation far above
TURNS, LEAST_STEPS, LEAST_S, MOST_STEPS = 2, 3, 0.025, 30  # of one measurement
MOST_S = 2.0  # of all measurements, after which no further number of lanes is tried
# So that steps do not run out, and that the first ones already move the weights.
_MEASURED_WITH = {"epochs": 100_000, "early_stopping": None, "warmup_fraction": 0.0, "peak_lr": 1e-3}


@dataclass(frozen=True)
class LanesFound:
    """What was measured."""

    lanes: int  # 1: trials train by themselves
    samples_per_s: dict[int, float] = field(default_factory=dict)  # of all lanes together; 1: by the usual loop
    reason: str = ""  # why not more, in words

    @property
    def speedup(self) -> float:
        """Throughput of the lanes chosen, over that of trials one after the other."""
        return self.samples_per_s[self.lanes] / self.samples_per_s[1] if self.samples_per_s else 1.0


class Life(Protocol):
    """Told what goes on, by which a watchdog knows a hang from slow work."""

    def beat(self) -> None:
        """A step was made."""

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Around what may take minutes without a step."""


class Unwatched:
    """Where nobody looks."""

    def beat(self) -> None:
        """A step was made."""

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Around what may take minutes without a step."""
        return contextlib.nullcontext()


class _Enough(Exception):
    """As many steps as were wanted are made."""


class _Clock:
    """Ends a training after some steps, and knows how long the quickest of them took."""

    def __init__(self, device: torch.device, life: Life) -> None:
        self._device, self.life = device, life
        self._most, self._count, self._step = 0, 0, 0
        self._began = self._last = self.quickest_s = 0.0

    def start(self, most: int, step: int) -> None:
        """Count from here on, where so many steps are made in all."""
        self._most, self._count, self.quickest_s, self._step = most, 0, float("inf"), step
        self._began = self._last = self._now()

    def tick(self, step: int) -> None:
        """So many steps are made in all; a batch of an evaluation adds none, and is not timed. Raises _Enough."""
        self.life.beat()
        now = self._now()
        if step == self._step:
            self._last = now
            return
        self._step = step
        # The quickest: whatever else the machine does only ever slows a step down.
        self.quickest_s, self._last, self._count = min(self.quickest_s, now - self._last), now, self._count + 1
        if self._count >= self._most or (self._count >= LEAST_STEPS and now - self._began > LEAST_S):
            raise _Enough

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        # On a busy machine a long step is interrupted and a short one is not: on one thread only its own time counts.
        is_alone = self._device.type == "cpu" and torch.get_num_threads() == 1
        return time.process_time() if is_alone else time.perf_counter()


class _Timed(PlainSession):
    """A session whose boundaries are ticks."""

    def __init__(self, device: torch.device, clock: _Clock) -> None:
        super().__init__(device=device)
        self._clock = clock

    def boundary(self, place: Place, gauges: Gauges) -> Order:
        """Go on, or not: raises _Enough."""
        self._clock.tick(place.step)
        return Order.GO_ON


def find_lanes(
    experiment: Experiment, facts: Facts, train: Part | StreamPart, validation: Part, *, metric: str,
    device: torch.device, most: int, memory_cap_mb: float | None = None, code_path: str = "",
    life: Life | None = None,
) -> LanesFound:  # fmt: skip
    """The number of lanes from which more bring less than a tenth, at most `most`, within the memory.

    A shape is trained both ways for three steps first: one that does not stack cleanly is found here, not in a search.

    Args:
        experiment: a trial's own, at best one with dropout where dropout is searched.
        facts: of the data.
        train: rows to learn from.
        validation: rows that judge each epoch.
        metric: decides which epoch is best.
        device: to train on.
        most: lanes that are of use, for example trials left for a slot.
        memory_cap_mb: megabytes (10^6 bytes) that a stack may take; None: no limit.
        code_path: folder that the experiment's own code is imported from.
        life: told of each step, and of what may take long.
    """
    shape = signature(experiment, facts)
    if isinstance(shape, str):
        return LanesFound(1, reason=shape)
    if isinstance(train, StreamPart):
        return LanesFound(1, reason="rows are streamed, and lanes gather theirs in memory")
    measured = experiment.model_copy(update={"train": experiment.train.model_copy(update=_MEASURED_WITH)})
    life = life or Unwatched()
    clock = _Clock(device, life)

    def stack(num_lanes: int) -> Stack:
        with life.paused():
            made = Stack(measured, facts, train, validation, metric=metric, device=device, code_path=code_path)
            for number in range(num_lanes):
                made.add(str(number), measured)
        return made

    with life.paused():
        inputs = ModelInputs.of(facts.transforms, facts.num_outputs)
        model = build_model(measured.model, inputs, measured.train.seed, code_path)
        session = _Timed(device, clock)
        solo = Trainer(measured.train, model, facts, train, validation, session, metric, code_path=code_path)
    reason, lane_mb = _tried(stack, solo, clock)
    if reason:
        return LanesFound(1, reason=reason)
    fitting = most if memory_cap_mb is None else min(most, int(memory_cap_mb / lane_mb))
    if fitting < 2:
        told = f"a lane takes about {lane_mb:.0f} MB of {memory_cap_mb:.0f}" if fitting < most and memory_cap_mb else ""
        return LanesFound(1, reason=told or "one trial at a time is of use")
    measure = _Measure(stack, solo, clock, measured.train.global_batch_size)
    return measure.found(fitting, "memory holds no more" if fitting < most else "no more are of use")


def _tried(stack: Callable[[int], Stack], solo: Trainer, clock: _Clock) -> tuple[str, float]:
    """Why the model cannot be stacked, empty where it can; and megabytes of a lane."""
    before = _plain_state(solo.model)
    _run(solo.train_epoch, clock, STEPS_COMPARED, solo.step)
    if changed := [name for name, value in _plain_state(solo.model).items() if before.get(name) != value]:
        return f"the model keeps what lanes would share, beside its tensors: {', '.join(changed[:3])}", 0.0
    try:
        lanes = stack(2)
        with _counted() as storages:
            _run_lanes(lanes, clock, 1)
        _run_lanes(lanes, clock, STEPS_COMPARED - 1)
        last = lanes.lane(lanes.names[-1])
    # Whatever torch's mapping over lanes, or code of somebody's own, makes of tensors that it does not know.
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        return f"the model cannot be stacked: {' '.join(str(error).split())[:200]}", 0.0
    # What a forward pass keeps is about half of what a step needs: its gradients come to as much.
    lane_mb = (lanes.num_bytes + 2 * sum(storages.values())) / lanes.num_lanes / 1e6
    ours, alone = (float(each["loss_sums"].sum()) for each in (lanes.checkpoint(last.name), solo.checkpoint()))
    return _unlike(ours, alone, solo), lane_mb


def _plain_state(model: nn.Module) -> dict[str, str]:
    """Attributes of a model's parts that are no tensors, such as a count of calls."""
    return {
        f"{path}.{name}".strip("."): repr(value)
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if name != "training" and isinstance(value, bool | int | float | str | list)
    }


def _unlike(ours: float, alone: float, solo: Trainer) -> str:
    """How a lane's losses differ from those of the trial by itself, in words; empty where they do not.

    On a GPU the dropouts of a lane draw other masks, so that only a model without them can be compared.
    """
    draws = any(isinstance(part, nn.Dropout | Attention) for part in solo.model.modules())
    # Weights are no measure: those that an output does not depend on are moved by rounding alone.
    if abs(ours - alone) <= ALIKE * max(abs(alone), 1e-3) or (solo.session.device.type == "cuda" and draws):
        return ""
    return f"after {STEPS_COMPARED} steps the loss of a lane is {ours:.6g}, and {alone:.6g} for the trial by itself"


class _Measure:
    """Throughput of stacks as a multiple of that of trials one after the other.

    Both are measured in turns, and only what was measured in the same moments is compared: whatever else the machine
    does, it does to both.
    """

    def __init__(self, stack: Callable[[int], Stack], solo: Trainer, clock: _Clock, batch_size: int) -> None:
        self._stack, self._solo, self._clock, self._batch_size = stack, solo, clock, batch_size
        self._speedups: dict[int, float] = {}
        self._solo_rates: list[float] = []

    def found(self, most: int, most_because: str) -> LanesFound:
        """The number of lanes, at most so many."""
        num_flat, reason, began = 0, most_because, time.perf_counter()
        for count in sorted({*(count for count in COUNTS if count < most), most}):
            before = max(self._speedups.values(), default=0.0)
            # More than there are lanes is what a busy machine makes of it.
            self._speedups[count] = speedup = min(self._speedup_of(count), float(count))
            num_flat = num_flat + 1 if speedup < FLAT * before else 0
            if num_flat == 2:  # one alone may be chance
                reason = f"{count} bring {speedup / before:.2f} times what fewer do"
                break
            if time.perf_counter() - began > MOST_S:
                reason = f"{count} are the most that were measured in {MOST_S:g} s"
                break
        best = min(count for count, speedup in self._speedups.items() if FLAT * speedup >= max(self._speedups.values()))
        told = f"{best} stacked trials train {self._speedups[best]:.2f} times as fast as one after the other"
        alone = statistics.median(self._solo_rates)
        rates = {1: alone, **{count: speedup * alone for count, speedup in self._speedups.items()}}
        if self._speedups[best] < WORTH:
            return LanesFound(1, rates, told)
        return LanesFound(best, rates, f"{told}; {reason}")

    def _speedup_of(self, count: int) -> float:
        lanes = self._stack(count)
        alone_s, stacked_s = [], []
        for _ in range(TURNS):
            _run(self._solo.train_epoch, self._clock, MOST_STEPS, self._solo.step)
            alone_s.append(self._clock.quickest_s)
            _run_lanes(lanes, self._clock, MOST_STEPS)
            stacked_s.append(self._clock.quickest_s)
        self._solo_rates.append(self._batch_size / min(alone_s))
        return count * min(alone_s) / min(stacked_s)


def _run(epoch: Callable[[], object], clock: _Clock, num_steps: int, made: int) -> None:
    clock.start(num_steps, made)
    with contextlib.suppress(_Enough):
        while True:
            epoch()


def _run_lanes(lanes: Stack, clock: _Clock, num_steps: int) -> None:
    lane = lanes.lane(lanes.names[0])
    _run(lambda: lanes.train_epoch(lambda: clock.tick(lane.step)), clock, num_steps, lane.step)


@contextlib.contextmanager
def _counted() -> Iterator[dict[int, int]]:
    """Bytes of what the forward passes inside keep for their backward passes, by where it lies."""
    storages: dict[int, int] = {}

    def packed(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(packed, lambda tensor: tensor):
        yield storages
