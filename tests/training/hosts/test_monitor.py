"""The monitor, with a clock and machines that the test moves."""

from dataclasses import replace

from training.hosts.judge import Death
from training.hosts.monitor import Monitor
from training.hosts.pulse import Pulse
from training.hosts.record import Waiting

GROUP = [Pulse(rank, 2, f"node{rank}", f"10.0.0.{rank + 2}", 70 + rank) for rank in range(2)]
BACKWARD = ["/x/site-packages/torch/autograd/graph.py:850 in _engine_run_backward"]
SLEEPS = ["/app/nets.py:33 in forward"]


class World:
    """Clock and nodes."""

    def __init__(self, max_failures: int = 3) -> None:
        self.now, self.going, self.gone = 0.0, set[str](), set[str]()
        self.monitor = Monitor(max_failures, 10.0, self, lambda: self.now)
        self.monitor.started(GROUP)

    def draining(self) -> set[str]:
        """Those that the test says."""
        return self.going

    def lost(self, node_ids: object) -> set[str]:
        """Those that the test says."""
        return self.gone

    def step(self, boundaries: int, *ranks: int, seconds: float = 1.0) -> list[object]:
        """Some ranks pulse."""
        self.now += seconds
        pulses = [replace(GROUP[r], boundaries=boundaries, step=boundaries, phase="train") for r in ranks]
        return [self.monitor.pulse(pulse) for pulse in pulses]

    def kinds(self) -> list[str]:
        """Of the new records."""
        return [kind for kind, _ in self.monitor.pull().records]


def test_a_notice_for_one_node_orders_all_ranks_to_leave() -> None:
    world = World()
    world.step(1, 0, 1)
    world.going = {"node1", "somebody else's"}
    world.monitor.tick()
    assert [orders.leave for orders in world.step(2, 0, 1)] == ["node 10.0.0.3 is being drained"] * 2  # type: ignore[attr-defined]


def test_a_monitor_that_began_anew_goes_on_with_the_workers_there_are() -> None:
    world = World()
    world.monitor = Monitor(3, 10.0, world, lambda: world.now)  # as Ray starts it again, with nothing in it
    world.step(7, 0, 1)
    assert world.monitor.pull().is_running
    world.going = {"node1"}
    world.monitor.tick()
    assert [orders.leave for orders in world.step(8, 0, 1)] == ["node 10.0.0.3 is being drained"] * 2  # type: ignore[attr-defined]
    world.monitor.started(GROUP[:1])
    assert world.monitor.pulse(replace(GROUP[1], boundaries=9)).leave == ""  # of the group before


def test_a_rank_that_stands_still_is_named_and_all_end() -> None:
    world = World()
    for _ in range(12):
        orders = world.step(5, 0, 1)
        for rank, stack in enumerate((BACKWARD, SLEEPS)):
            if orders[rank].send_stack:  # type: ignore[attr-defined]
                world.monitor.stack(rank, stack)
        world.monitor.tick()
    assert all("worker 1 on 10.0.0.3" in each.die for each in world.step(5, 0, 1))  # type: ignore[attr-defined]
    records = dict(world.monitor.pull().records)
    assert "worker 0 waits in the gradient exchange" in records["hang"]["what"]
    assert world.monitor.failed([], [Death(0, "died")])
    assert "made no step" in dict(world.monitor.pull().records)["worker_lost"]["what"]


def test_a_rank_that_compiles_is_waited_for() -> None:
    world = World()
    for _ in range(30):
        world.step(5, 0)
        world.monitor.pulse(replace(GROUP[1], phase="compile"))
        world.monitor.tick()
    assert world.kinds() == []


def test_lost_steps_and_the_time_to_come_back_are_counted() -> None:
    world = World()
    world.monitor.restored(0, 0, [], None)
    world.step(40, 0, 1)
    world.gone = {"node1"}
    assert world.monitor.failed([], [Death(1, "died")])
    world.step(41, 0)  # a survivor
    world.gone, world.now = set(), world.now + 20
    world.monitor.started(GROUP)
    world.monitor.restored(30, 2, [], "00000030")
    world.step(1, 0, 1, seconds=0)
    report = world.monitor.pull()
    resumed = dict(report.records)["resumed"]
    assert (resumed["step"], resumed["steps_lost"], resumed["workers"], round(resumed["seconds"])) == (30, 11, 2, 21)
    assert (report.restarts, report.lost_steps) == (1, 11)


def test_a_group_that_ends_before_its_first_step_hides_nothing_of_what_was_lost_before() -> None:
    world = World()
    world.monitor.restored(0, 0, [], None)
    world.step(40, 0, 1)
    assert world.monitor.failed([], [Death(1, "died")])
    world.now += 5
    world.monitor.started(GROUP)
    assert world.monitor.failed([], [], "the rendezvous failed")
    world.now += 5
    world.monitor.started(GROUP)
    world.monitor.restored(30, 2, [], "00000030")
    world.step(1, 0, 1, seconds=0)
    resumed = dict(world.monitor.pull().records)["resumed"]
    assert (resumed["steps_lost"], resumed["seconds"]) == (10, 10)


def test_checkpoints_are_recorded_once_a_minute() -> None:
    world = World()
    for step in range(130):
        world.now += 1
        world.monitor.saved(step, 0.01, 100)
    records = [facts for kind, facts in world.monitor.pull().records if kind == "checkpoint"]
    assert [facts["count"] for facts in records] == [1, 60, 60]


def test_waiting_is_told_soon_and_then_rarely() -> None:
    now, told = [0.0], list[str]()
    waiting = Waiting(told.append, lambda: now[0])
    for second in range(3600):
        now[0] = float(second)
        waiting.look("2 are needed, and 1 fits")
    assert told[0] == "training waits for machines since 10 s: 2 are needed, and 1 fits"
    assert 5 < len(told) < 14
    waiting.look("")
    waiting.look("again")
    assert len(told) < 14


def test_what_a_worker_tells_is_taken_in_its_order_and_once() -> None:
    world = World()
    epochs = [(i, ("epoch", {"epoch": float(i + 1)})) for i in range(4)]
    world.monitor.pulse(GROUP[0], epochs[:3])
    world.monitor.pulse(GROUP[0], epochs[1:])  # the answer was lost, so two came again
    world.monitor.pulse(replace(GROUP[0], pid=GROUP[0].pid + 1), [(9, ("epoch", {"epoch": 9.0}))])  # of another group
    told = [facts["epoch"] for kind, facts in world.monitor.pull().records if kind == "epoch"]
    assert told == [1.0, 2.0, 3.0, 4.0]
