"""When blows fall. The storm is a list of what was asked of it; only the clock and the cluster are made up."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from cluster.drill.outcome import Blow, Outcome
from cluster.drill.plan import Kind, Planned
from cluster.drill.scripts import Drawn, Replay
from cluster.drill.storm import Storm
from cluster.drill.trace import Change
from training.progress import Silent


@dataclass
class MadeUpStorm:
    """Nodes are numbers; a node that was told to go stands no more."""

    standing: list[str] = field(default_factory=lambda: ["n0"])
    asked: list[Any] = field(default_factory=list)
    blows: list[Blow] = field(default_factory=list)
    step: int = 0
    is_settled: bool = True
    resumed: bool = False
    notice_s: float = 5.0
    now: float = 1000.0

    @property
    def watch(self) -> "MadeUpStorm":
        return self

    @property
    def rules(self) -> "MadeUpStorm":
        return self

    progress = Silent()

    def strike(self, kind: Kind, draw: float) -> None:
        self.asked.append((kind, self.step))
        self.blows.append(Blow(len(self.blows) + 1, kind, self.now))
        self.resumed = False

    def lose(self, kind: Kind, node: str, *, is_replaced: bool) -> None:
        assert not is_replaced
        self.asked.append((kind, self.now - 1000.0))
        self.standing.remove(node)

    def add_node(self) -> None:
        self.asked.append(("up", self.now - 1000.0))
        self.standing.append(f"n{len(self.asked)}")

    def outcomes(self) -> list[Outcome]:
        seconds = 3.0 if self.resumed else None
        return [Outcome(blow, 10, 10 if self.resumed else None, 0.0, seconds, 0.0) for blow in self.blows]


def test_a_blow_falls_at_its_step_and_the_next_one_not_before_the_run_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cluster.drill.scripts.ASK_EVERY_S", 0.0)
    storm = MadeUpStorm()
    script = Drawn([Planned(1, Kind.NOTICE, 100, 0.0), Planned(2, Kind.KILL_NODE, 120, 0.0)])
    act = _act(script, storm)
    act(step=99)
    assert storm.asked == []
    act(step=104)
    act(step=150)  # the run is not back yet
    assert storm.asked == [(Kind.NOTICE, 104)]
    storm.resumed, storm.is_settled = True, False
    act(step=151)  # the machine stands still
    assert len(storm.asked) == 1
    storm.is_settled = True
    act(step=152)
    assert storm.asked == [(Kind.NOTICE, 104), (Kind.KILL_NODE, 152)]
    assert script.num_missed == 0


def test_blows_that_did_not_fall_are_counted() -> None:
    assert Drawn([Planned(1, Kind.NOTICE, 100, 0.0)]).num_missed == 1


def test_a_replay_waits_for_the_first_step_and_tells_losses_ahead_of_their_time() -> None:
    storm = MadeUpStorm()
    changes = [Change(0.0, 1), Change(20.0, 0), Change(30.0, 1), Change(40.0, 0), Change(1e9, 1)]
    act = _act(Replay(changes, 0, with_notice=True, clock=lambda: storm.now), storm)
    act(step=0)
    storm.now += 500.0  # start-up is no time of the trace
    began = storm.now - 1000.0
    act(step=1)
    for _ in range(60):
        storm.now += 1.0
        act(step=2)
    told = [(what, at - began) for what, at in storm.asked]
    assert told == [(Kind.NOTICE, 15.0), ("up", 30.0), (Kind.NOTICE, 35.0)]


def test_a_replay_without_notices_kills_at_the_trace_s_moment() -> None:
    storm = MadeUpStorm(standing=["a", "b"])
    changes = [Change(0.0, 2), Change(10.0, 0), Change(12.0, 1), Change(1e9, 1)]
    act = _act(Replay(changes, 0, with_notice=False, clock=lambda: storm.now), storm)
    for _ in range(15):
        act(step=1)
        storm.now += 1.0
    assert storm.asked == [(Kind.KILL_NODE, 10.0), (Kind.KILL_NODE, 10.0), ("up", 12.0)]


def _act(script: Any, storm: MadeUpStorm) -> Callable[..., None]:
    def act(*, step: int) -> None:
        storm.step = step
        script.act(cast(Storm, storm))

    return act
