"""When to try again; which of several errors is the cause; who stands still."""

import socket
from collections.abc import Collection

import pytest

from training.errors import TrainingFailed
from training.hosts.failures import Budget, Failure, Stop
from training.hosts.judge import LEFT, Death, judged
from training.hosts.pulse import Pulse
from training.hosts.root_cause import Cause, describe, first_cause
from training.hosts.stall import say

GROUP = {rank: Pulse(rank, 2, f"node{rank}", f"10.0.0.{rank + 2}", 70 + rank, step=412) for rank in range(2)}
GLOO = "[enforce fail at gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:2312"


def cause(rank: int = 0, error_type: str = "ValueError", message: str = "bad row", step: int = 412) -> Cause:
    return Cause(rank, f"10.0.0.{rank + 2}", 70 + rank, step, error_type, message, "nets.py:7", "trace")


def crash() -> Failure:
    return Failure("crash", "worker 1 died", 2)


def judge(
    *causes: Cause, deaths: tuple[Death, ...] = (), gone: Collection[str] = (), hang: str = "", left: str = ""
) -> Failure:
    return judged(causes, deaths, GROUP, {1}, gone, hang, left, "")


def test_crashes_in_a_row_without_a_new_checkpoint_are_counted() -> None:
    budget = Budget(max_failures=2)
    assert budget.judge(crash()) is None
    assert budget.judge(crash()) is None
    budget.saved(10)
    assert budget.judge(crash()) is None
    budget.saved(10)  # the same place again is no progress
    assert budget.judge(crash()) is None
    stop = budget.judge(crash())
    assert isinstance(stop, Stop)
    assert stop.message == "worker 1 died (3 crashes without a new checkpoint between them)"


def test_lost_machines_and_notices_never_count() -> None:
    budget = Budget(max_failures=0)
    assert all(budget.judge(Failure(kind, "gone", 2)) is None for kind in ("machine", "left") for _ in range(50))
    assert budget.judge(crash()) is not None


def test_the_same_error_at_the_same_step_twice_is_final() -> None:
    budget = Budget(max_failures=9)
    failure = Failure("error", "worker 0 failed", 2, cause())
    assert budget.judge(failure) is None
    assert budget.judge(Failure("error", "worker 0 failed", 2, cause(step=413))) is None
    assert budget.judge(failure) is None
    stop = budget.judge(failure)
    assert stop is not None
    assert "the same at step 412 again" in stop.message


def test_an_error_of_the_only_worker_and_one_that_says_what_to_do_are_final() -> None:
    assert Budget(9).judge(Failure("error", "failed", 1, cause())) is not None
    told = describe(TrainingFailed("diverged", "lower the rate"), rank=0, ip="x", pid=1, step=3)
    stop = Budget(9).judge(Failure("error", told.line(2), 2, told))
    assert stop == Stop("diverged", "lower the rate")


@pytest.mark.parametrize(
    ("error_type", "message"),
    [("RuntimeError", GLOO), ("DistBackendError", "NCCL"), ("RuntimeError", "Timed out waiting 300000ms for recv")],
)
def test_errors_that_follow_from_another_are_not_chosen(error_type: str, message: str) -> None:
    follows = describe(type(error_type, (RuntimeError,), {})(message), rank=0, ip="a", pid=1, step=3)
    assert follows.is_collateral
    assert first_cause([follows, cause(1)]) == cause(1)
    assert first_cause([follows]) is None


def test_an_error_is_told_by_worker_node_place_and_message() -> None:
    try:
        socket.create_connection(("localhost", "no port"))
    except OSError as error:
        found = describe(error, rank=1, ip="10.0.0.3", pid=1, step=3)
    assert found.line(2).startswith("worker 1 on 10.0.0.3 failed in tests/training/hosts/test_failures.py:")
    assert "gaierror: " in found.line(2)  # the frame is ours, though the library raised
    assert "create_connection" in found.trace


def test_what_a_group_ended_of() -> None:
    gloo = describe(RuntimeError(GLOO), rank=0, ip="10.0.0.2", pid=70, step=412)
    died = Death(1, "The actor died unexpectedly")
    assert judge(cause(error_type=LEFT), left="node 10.0.0.3 is being drained") == Failure(
        "left", "node 10.0.0.3 is being drained", 2
    )
    assert judge(gloo, deaths=(died,), gone={"node1"}).line == "node 10.0.0.3 was lost"
    killed = judge(gloo, deaths=(died,))
    assert (killed.kind, killed.line.split(":")[0]) == ("crash", "worker 1 on 10.0.0.3 (pid 71) was killed or crashed")
    assert judge(gloo).line == "worker 1 on 10.0.0.3 (pid 71) is gone: the others lost it"
    assert judge(gloo, cause(1)).line == "worker 1 on 10.0.0.3 failed in nets.py:7: ValueError: bad row"
    assert judge(gloo, hang="worker 1 stands").kind == "hang"
    memory = judge(deaths=(Death(1, "worker was killed due to the node running low on memory: memory pressure"),))
    assert "killed by Ray because its node ran out of memory" in memory.line


def test_who_stands_still() -> None:
    ddp = "/x/site-packages/torch/nn/parallel/distributed.py:1637 in forward"
    backward = "/x/site-packages/torch/autograd/graph.py:850 in _engine_run_backward"
    waits = ["/app/training/step.py:70 in _step", backward]
    sleeps = ["/app/training/step.py:60 in _step", ddp, "/app/nets.py:33 in forward"]
    line = say(GROUP, set(), {0: waits, 1: sleeps}, 300.4)
    assert line == (
        "worker 1 on 10.0.0.3 (pid 71, at step 412, in /app/nets.py:33 in forward) made no step for 300 s; "
        "worker 0 waits in the gradient exchange"
    )
    assert say(GROUP, {0}, {1: waits}, 5).startswith("worker 0 on 10.0.0.2 (pid 70, at step 412, and does not answer)")
