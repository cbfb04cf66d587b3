"""A slot: one long-lived Tune trial, an actor that Ray gives its resources, in which the search's trials take turns.

Start-up, imports and the data are paid once a slot. Needs a running Ray.
"""

import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.experimental import internal_kv

from training.alone import as_cause
from training.config import Experiment
from training.hosts import machines
from training.hosts.root_cause import short_path
from training.hosts.vitals import private_memory_mb, process_age_s
from training.search.messages import Assignment, Orders, Told
from training.search.slot.solo import SoloRun
from training.search.slot.stacking import Stacking
from training.search.slot.surroundings import FoldRows, Rows, Surroundings
from training.search.slot.workbench import Run, Workbench

logger = logging.getLogger(__name__)
TOLD = "told"  # in a Tune result: what the slot says
SLOT = "slot"  # in a Tune config: its name
WATCH_EVERY_S = 0.5
LAST_WORDS = b"manta-search"  # namespace of the cluster's key-value store
MEMORY_SHARE = 0.95  # of the node's memory, shared among its slots


class Slot(tune.Trainable):
    """Takes trials, trains them, and tells. `obey` is called by the driver between two steps."""

    def setup(  # type: ignore[override]  # tune.with_parameters gives what comes after `config`
        self, config: dict[str, Any], experiment: dict[str, Any], data: Rows, folds: FoldRows | None,
        settings: dict[str, Any],
    ) -> None:  # fmt: skip
        """Once a slot. The data comes through the object store, so slots of one node share it."""
        self._broken = ""
        try:
            self._set_up(config[SLOT], Experiment.model_validate(experiment), data, folds, settings)
        except Exception as error:  # Tune would begin the slot again for ever, and tell nobody
            self._broken = as_cause(error)

    def _set_up(
        self, name: str, base: Experiment, data: Rows, folds: FoldRows | None, settings: dict[str, Any]
    ) -> None:
        use_gpu = settings["gpus"] > 0
        torch.set_num_threads(max(1, int(base.train.cpus_per_worker)))
        if 0 < settings["gpus"] < 1:
            torch.cuda.set_per_process_memory_fraction(settings["gpus"])  # a neighbour on the same GPU needs the rest
        self._around = Surroundings(
            base, data, folds, settings["metric"], settings["trials_uri"], settings["code_path"],
            Path(settings["data_base"]), torch.device("cuda" if use_gpu else "cpu"),
            num_devices=settings["gpus"] if use_gpu else settings["cpus"],
        )  # fmt: skip
        self._key = f"{settings['search_id']}/{name}".encode()
        cap_mb = _memory_cap_mb(settings, base.search.concurrency if base.search else None)
        stacking = Stacking(self._around, settings["most_lanes"], cap_mb)
        self._bench = Workbench(self._around, stacking, _alone(base))
        self._is_known = False
        self._node = ray.get_runtime_context().get_node_id()
        hang_s = base.train.hang_timeout_s
        self._watchdog = Watchdog(self._around, self._key, cap_mb, hang_s, self._node)
        self._watchdog.start()

    def obey(self, orders: Orders) -> None:
        """The driver's answer to the last words."""
        self._bench.obey(orders)

    def step(self) -> dict[str, Any]:
        """Work until there is something to tell. The first time it only introduces itself."""
        if self._broken:
            return {TOLD: Told("", broken=self._broken), "done": True}
        if not self._is_known:
            self._is_known = True
            me: Any = ray.get_runtime_context().current_actor
            told = Told(self._bench.incarnation, handle=me, wants=1, node=self._node, startup_s=process_age_s())
            return {TOLD: told, "done": False}
        try:
            told = self._bench.work()
        except Exception as error:  # not a trial's own, which its run catches: the process begins anew
            say_last(self._key, (), as_cause(error))
            raise
        return {TOLD: told, "done": self._bench.is_over}

    def cleanup(self) -> None:
        """The end of the slot."""
        if self._broken:
            return
        self._watchdog.stop()
        self._bench.close()


def _alone(base: Experiment) -> Callable[[Assignment, Surroundings], Run]:
    """What trains one trial."""
    if base.train.max_workers == 1:
        return SoloRun
    from training.search.slot.team import TeamRun  # noqa: PLC0415  # Ray Train, 2 s that other slots need not wait for

    return TeamRun


def _memory_cap_mb(settings: dict[str, Any], concurrency: int | None) -> float:
    """As told, or this slot's share of the node's memory."""
    if settings["memory_mb"] is not None:
        return float(settings["memory_mb"])
    from ray._common.utils import get_system_memory  # noqa: PLC0415  # knows of containers' limits

    here = next(node for node in ray.nodes() if node["NodeID"] == ray.get_runtime_context().get_node_id())
    total = here["Resources"]
    kind, each = ("GPU", settings["gpus"]) if settings["gpus"] else ("CPU", settings["cpus"])
    num_slots = max(1, int(total.get(kind, 1.0) / (each or total.get(kind, 1.0))))
    num_slots = min(num_slots, concurrency or num_slots)
    return float(get_system_memory()) * MEMORY_SHARE / num_slots / 1e6


class Watchdog(threading.Thread):
    """Ends a process whose trial hangs or eats the memory, and hears that the node is to go.

    Neither can be stopped from inside: a step that never returns takes no orders, and one that allocates is killed by
    the system without a word, together with its neighbours.
    """

    def __init__(self, around: Surroundings, key: bytes, cap_mb: float, hang_timeout_s: float, node: str) -> None:
        super().__init__(name="manta-slot-watchdog", daemon=True)
        self._around, self._key, self._cap_mb, self._hang_s, self._node = around, key, cap_mb, hang_timeout_s, node
        self._ends = threading.Event()
        self._seen, self._moved_at = -1, time.monotonic()

    def stop(self) -> None:
        """Watch no more."""
        self._ends.set()

    def run(self) -> None:
        """Every half second."""
        while not self._ends.wait(WATCH_EVERY_S):
            self._look_for_hang()
            mb = private_memory_mb()
            if self._around.watched.trials and mb > self._cap_mb:
                self._die(f"took {mb:,.0f} MB of memory, and a slot may take {self._cap_mb:,.0f}")
            try:
                is_going = self._node in machines.draining()
            except Exception:  # a GCS that cannot be asked now is asked again
                logger.exception("could not ask whether this node is to go")
                continue
            if is_going:
                self._around.notices.leave("its node is to go")

    def _look_for_hang(self) -> None:
        watched, now = self._around.watched, time.monotonic()
        if watched.beats != self._seen or not watched.trials or watched.is_paused:
            self._seen, self._moved_at = watched.beats, now
        elif now - self._moved_at > self._hang_s:
            self._die(f"made no step for {now - self._moved_at:.0f} s{self._where()}")

    def _where(self) -> str:
        """File and line of the person's own code that the training stands in."""
        top = sys._current_frames().get(threading.main_thread().ident or 0)  # where an actor's tasks run
        frames = [
            frame
            for frame in (traceback.extract_stack(top) if top else ())
            if "site-packages" not in frame.filename and "/lib/python" not in frame.filename
        ]
        return f", in {short_path(f'{frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}')}" if frames else ""

    def _die(self, cause: str) -> None:
        say_last(self._key, self._around.watched.trials, cause)
        os._exit(1)


def say_last(key: bytes, guilty: Sequence[str], cause: str) -> None:
    """Leave word of why this process ends, where the driver finds it."""
    said = f"{','.join(guilty)}|{cause}".encode()
    internal_kv._internal_kv_put(key, said, overwrite=True, namespace=LAST_WORDS)


def last_words(search_id: str, slot: str) -> tuple[tuple[str, ...], str]:
    """The trials of a process that ended itself, and why; nothing where it was ended by others."""
    key = f"{search_id}/{slot}".encode()
    said: bytes | None = internal_kv._internal_kv_get(key, namespace=LAST_WORDS)
    if said is None:
        return (), ""
    internal_kv._internal_kv_del(key, namespace=LAST_WORDS)
    trials, _, cause = said.decode().partition("|")
    return tuple(trials.split(",")), cause
