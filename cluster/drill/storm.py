"""The broken run: a driver, the machines under it, and blows that fall on both."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from cluster.drill.machines import Machines, TrainWorker, kill_worker
from cluster.drill.outcome import Blow, Outcome, Seen, outcomes_of
from cluster.drill.plan import Kind
from cluster.drill.process import Driver
from cluster.drill.watch import Watch, all_readings, starts_of
from cluster.errors import ClusterError
from training.progress import Progress

TICK_S = 0.05
WORKERS_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Rules:
    """How blows fall."""

    notice_s: float  # between a notice and the end of the machine
    replace_s: float  # between the end of a machine and a new one
    patience_s: float  # without a new step, machines being there, the run counts as lost
    max_s: float  # of the whole broken run
    allowed_s: float  # of steps that a blow without a notice may cost
    min_workers: int  # fewer machines than this cannot train


class Script(Protocol):
    """What decides when something falls."""

    @property
    def num_missed(self) -> int:
        """Blows that were to fall and did not, since the training was over."""

    def act(self, storm: "Storm") -> None:
        """Called many times a second while the training goes on."""


@dataclass
class Storm:
    """A run under blows. Everything happens in the thread that calls `run`."""

    machines: Machines
    driver: Driver
    watch: Watch
    rules: Rules
    progress: Progress
    blows: list[Blow] = field(default_factory=list)
    began_at: float = 0.0
    ended_at: float | None = None
    problem: str = ""  # why the run was lost; empty when it was not
    absences: list[tuple[float, float]] = field(default_factory=list)
    going: set[str] = field(default_factory=set)  # nodes that were told to go
    _timers: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _absent_since: float | None = None
    _moved: tuple[int, float] = (-1, 0.0)  # newest step, and since when it is that

    def run(self, script: Script) -> None:
        """From the driver's start to its end."""
        self.began_at = time.time()
        self._moved = (-1, self.began_at)
        self.watch.begin()
        self.driver.start(self.machines.address)
        try:
            while not self._is_over():
                self._fire()
                script.act(self)
                self._look()
                time.sleep(TICK_S)
        finally:
            self.ended_at = time.time()
            self._mind_absence()
            self.driver.kill()
            self.watch.end()

    def strike(self, kind: Kind, draw: float) -> None:
        """Let one blow fall. The draw in [0, 1) picks the worker or machine; a new one comes in its place."""
        match kind:
            case Kind.NOTICE | Kind.KILL_NODE:
                self.lose(kind, self._node_of(draw), is_replaced=True)
            case Kind.KILL_WORKER:
                workers = self._workers()
                worker = workers[int(draw * len(workers))]
                self._record(kind, worker.node_id, worker.pid)
                kill_worker(worker)
            case Kind.KILL_DRIVER:
                self._record(kind)
                self.driver.kill()
                self.driver.start(self.machines.address)
            case Kind.KILL_CLUSTER:
                self._record(kind)
                self._kill_cluster()
            case _:
                assert_never(kind)

    def lose(self, kind: Kind, node: str, *, is_replaced: bool) -> None:
        """Take one machine, at once or after a notice."""
        notice_s = self.rules.notice_s if kind == Kind.NOTICE else 0.0
        self._record(kind, node, announced_s=notice_s)
        if kind == Kind.NOTICE:
            self.machines.notify(node, notice_s)
            self.going.add(node)
            self._later(notice_s, lambda: self._take_node(node))
        else:
            self._take_node(node)
        if is_replaced:
            self._later(notice_s + self.rules.replace_s, self.add_node)

    def _kill_cluster(self) -> None:
        num_nodes = len(self.machines.node_ids)
        self.driver.kill()
        self.machines.kill_all()
        self.going.clear()
        self.machines.begin(num_nodes)
        self.driver.start(self.machines.address)

    def _record(self, kind: Kind, node: str = "", pid: int | None = None, announced_s: float = 0.0) -> None:
        """Before it falls, so that nothing of the time after it counts as before."""
        blow = Blow(len(self.blows) + 1, kind, time.time(), node[:8], pid, announced_s)
        self.blows.append(blow)
        hit = "".join([f", node {blow.node}" if blow.node else "", f", pid {pid}" if pid else ""])
        self.progress.note(f"{blow.number:>3} {kind:<12} at step {self.watch.step}{hit}")

    def _workers(self) -> list[TrainWorker]:
        """Those that train; a group may just be starting, so they are waited for."""
        deadline = time.monotonic() + WORKERS_TIMEOUT_S
        while not (workers := self.machines.train_workers()):
            if time.monotonic() > deadline:
                raise ClusterError(f"steps were made, and no worker was seen for {WORKERS_TIMEOUT_S:.0f} s")
            time.sleep(TICK_S)
        return sorted(workers, key=lambda worker: worker.pid)

    def _node_of(self, draw: float) -> str:
        """A node that trains: to lose another one would be no blow."""
        nodes = sorted({worker.node_id for worker in self._workers()} - self.going) or self.standing
        return nodes[int(draw * len(nodes))]

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something then; the driver's restarts and blows do not hold it up."""
        self._timers.append((time.time() + seconds, action))

    @property
    def is_settled(self) -> bool:
        """Nothing is still to happen of the blows that fell."""
        return not self._timers

    @property
    def standing(self) -> list[str]:
        """Nodes that are there and were not told to go."""
        return [node for node in self.machines.node_ids if node not in self.going]

    def add_node(self) -> None:
        """One more machine."""
        self.machines.add()
        self._mind_absence()

    def _take_node(self, node: str) -> None:
        """The end of a machine."""
        if node in self.machines.node_ids:
            self.machines.kill(node)
        self.going.discard(node)
        self._mind_absence()

    def seen(self) -> Seen:
        """Of the run, until now."""
        events = self.watch.events
        readings = all_readings(list(self.watch.readings), events)
        starts = starts_of(events, readings, self.driver.starts)
        absences = [*self.absences, *([(self._absent_since, time.time())] if self._absent_since else [])]
        return Seen(readings, starts, self.ended_at, tuple(absences))

    def outcomes(self) -> tuple[Outcome, ...]:
        """Of the blows, until now."""
        return outcomes_of(self.blows, self.seen(), self.rules.allowed_s)

    def _fire(self) -> None:
        due = [timer for timer in self._timers if timer[0] <= time.time()]
        for timer in due:
            self._timers.remove(timer)
            timer[1]()

    def _is_over(self) -> bool:
        code = self.driver.exit_code
        if code is not None:
            self.problem = "" if code == 0 else f"the training ended with exit code {code}:\n{self.driver.last_words()}"
        elif time.time() - self.began_at > self.rules.max_s:
            self.problem = f"not done after {self.rules.max_s / 60:.3g} minutes"
        elif time.time() - self._moved[1] > self.rules.patience_s:
            self.problem = f"no new step for {self.rules.patience_s:.0f} s:\n{self.driver.last_words()}"
        return code is not None or bool(self.problem)

    def _look(self) -> None:
        """Time without enough machines is nobody's fault."""
        step = self.watch.step
        if step != self._moved[0] or self._absent_since is not None:
            self._moved = (step, time.time())

    def _mind_absence(self) -> None:
        now, is_enough = time.time(), len(self.machines.node_ids) >= self.rules.min_workers
        if (is_enough and self._absent_since is not None) or (self.ended_at and self._absent_since):
            self.absences.append((self._absent_since, now))
            self._absent_since = None
        elif not is_enough and self._absent_since is None and not self.ended_at:
            self._absent_since = now
