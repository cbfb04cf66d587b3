"""Results of drills that never were."""

from dataclasses import replace

from cluster.drill.compare import Difference
from cluster.drill.goodput import Goodput
from cluster.drill.outcome import Blow, Outcome, Reading
from cluster.drill.plan import Kind
from cluster.drill.result import DrillResult, RunFacts, Saving

EQUAL = Difference(0.0, "", 12)


def made_up_result() -> DrillResult:
    """Two events, all well."""
    notice = Blow(1, Kind.NOTICE, 1030.0, "ab12cd34", None, 8.0)
    kill = Blow(2, Kind.KILL_WORKER, 1060.0, "ef56ab78", 4711)
    outcomes = (
        Outcome(notice, 300, 300, 0.0, 9.0, 0.0),
        Outcome(kill, 520, 480, 4.0, 11.5, 2.0),
    )  # fmt: skip
    unbroken = RunFacts(60.0, 48.0, 2.0, 1000, (1,), (Reading(510.0, 100), Reading(560.0, 1000)), 500.0)
    broken = RunFacts(120.0, 55.0, 2.0, 1000, (1,), (Reading(1010.0, 100), Reading(1115.0, 1000)), 1000.0)
    return DrillResult(
        name="digits", settings={"script": "2 events, seed 0"}, unbroken=unbroken, broken=broken, outcomes=outcomes,
        absences=((1062.0, 1064.0),), num_missed=0, weights=EQUAL, history=EQUAL,
        goodput=Goodput(48.0, 120.0, 2.0, 2), saving=Saving(20, 4_000_000, 0.01, 0.004), allowed_s=8.0,
    )  # fmt: skip


def with_two_workers(result: DrillResult) -> DrillResult:
    """The broken run once had another number of workers."""
    return replace(result, broken=replace(result.broken, num_workers=(1, 2)))
