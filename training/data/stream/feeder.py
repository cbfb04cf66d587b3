"""The feeder of a run: an actor that decodes each window once, for all workers, into the object store.

It takes no CPU from Ray, so it runs beside workers that hold all of them. It is an actor of our own because Ray
Data's executor spends most of a core on waiting for its consumer (measured: 3.7 s of CPU in 4 s).
"""

import logging
from collections import OrderedDict
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import ObjectLostError, RayActorError, RayTaskError

from training.data.stream.part import StreamPart
from training.data.stream.plan import WindowPlan
from training.data.stream.windows import Coming, Window
from training.errors import ConfigError, TrainingFailed
from training.package.errors import UserError

logger = logging.getLogger(__name__)
WINDOWS_HELD = 2  # the one at hand, and the one after it
MAX_TRIES = 5  # lost feeders that one window survives


class _WindowStore:
    """Keeps the windows that were asked for last. It knows nothing of who asks, so it can begin anew anywhere."""

    def __init__(self, part: StreamPart) -> None:
        self._part = part
        self._held: OrderedDict[tuple[int, int], Any] = OrderedDict()

    def window(self, plan: WindowPlan) -> list[Any]:
        """A reference to a window, in a list: Ray would send the window itself, once for each that asks."""
        place = (plan.epoch, plan.number)
        if place not in self._held:
            while len(self._held) >= WINDOWS_HELD:
                self._held.popitem(last=False)  # before reading: its memory is for the new one
            self._held[place] = ray.put(self._part.decode(plan))
            pa.default_memory_pool().release_unused()
        self._held.move_to_end(place)
        return [self._held[place]]


def start_feeder(part: StreamPart) -> Any:
    """A feeder for the workers of a run; `ray.kill` ends it. Raises ConfigError where the windows are too large."""
    _require_room(part)
    # Its memory is lost with it, not its work: it is started again, and what was asked for is asked again.
    return ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_WindowStore).remote(part)


class RayFeeder:
    """A worker's side of the feeder."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def request(self, plan: WindowPlan) -> Coming:
        """Ask for a window; the first worker that asks has it decoded."""
        return _Asked(self._actor, plan)


class _Asked:
    def __init__(self, actor: Any, plan: WindowPlan) -> None:
        self._actor, self._plan = actor, plan
        self._answer: Any = actor.window.remote(plan)

    def result(self) -> Window:
        """The window, without a copy where it lies on this node."""
        for _ in range(MAX_TRIES):
            try:
                references: list[Any] = ray.get(self._answer)
                window: Window = ray.get(references[0])
                return window
            except RayTaskError as error:
                if isinstance(error.cause, UserError):
                    raise error.cause from None
                raise
            except (ObjectLostError, RayActorError) as error:
                logger.warning("the feeder was lost with window %d: %s; asking again", self._plan.number, error)
                self._answer = self._actor.window.remote(self._plan)
        raise TrainingFailed(
            f"window {self._plan.number} of epoch {self._plan.epoch} was lost {MAX_TRIES} times with the process that "
            "decodes it",
            "if it is killed for its memory, lower data.window_mb",
        )


def _require_room(part: StreamPart) -> None:
    """One window more than is held must fit: it is copied into the store before the oldest reader lets go."""
    stores = [node["Resources"].get("object_store_memory", 0.0) for node in ray.nodes() if node["Alive"]]
    needed = (WINDOWS_HELD + 1) * part.largest_window_bytes
    if needed > min(stores):
        room_mb = int(min(stores)) // (WINDOWS_HELD + 1) >> 20
        raise ConfigError(
            f"{WINDOWS_HELD + 1} windows of a stream take {needed >> 20:,} MB, and the smallest object store of the "
            f"cluster has {int(min(stores)) >> 20:,} MB",
            f"lower data.window_mb to {room_mb} or less, or start Ray with more object store memory",
        )
