"""A drill's result for a person."""

from collections.abc import Iterator

from cluster.console import duration, table_lines
from cluster.drill.compare import Difference
from cluster.drill.result import DrillResult

MB = 1e6


def drill_text(result: DrillResult) -> str:
    """The events as a table, then what they came to."""
    return "\n".join([*table_lines(_event_rows(result)), "", *_lines(result)])


def _event_rows(result: DrillResult) -> list[list[str]]:
    rows = [["event", "kind", "at step", "node", "steps lost", "s to resume", "ok"]]
    for each in result.outcomes:
        resumed = "-" if each.seconds_to_resume is None else f"{each.seconds_to_resume:.1f}"
        lost = "-" if each.from_step is None else str(each.steps_lost)
        rows.append(
            [
                str(each.blow.number), each.blow.kind, str(each.at_step), each.blow.node or "-", lost, resumed,
                "ok" if each.ok else each.problem,
            ]
        )  # fmt: skip
    return rows


def _lines(result: DrillResult) -> Iterator[str]:
    unbroken, broken, goodput, saving = result.unbroken, result.broken, result.goodput, result.saving
    yield f"events       {result.settings['script']}; {len(result.outcomes)} fell"
    took = f"{duration(unbroken.step_s)}, {duration(unbroken.wall_s)} with start-up"
    yield f"unbroken     {unbroken.num_steps} steps in {took}"
    absent = f", {duration(goodput.absent_s)} of it without machines" if goodput.absent_s else ""
    yield f"broken       {broken.num_steps} steps, {duration(broken.wall_s)} in all{absent}"
    yield f"workers      {_workers(result)}"
    yield f"weights      {_verdict(result.weights, result)}"
    yield f"history      {_verdict(result.history, result)}"
    cost_s = goodput.cost_s(unbroken.wall_s)
    yield (
        f"goodput      {goodput.of_wall:.3f} of the wall time, {goodput.of_machines:.3f} of the time with machines; "
        f"an event costs {cost_s:.1f} s, so one an hour would leave {goodput.at_one_an_hour(unbroken.wall_s):.4f}"
    )
    each_mb = saving.num_bytes / saving.count / MB if saving.count else 0.0
    yield (
        f"checkpoints  {saving.count}, {saving.num_bytes / MB:.1f} MB ({each_mb:.2f} MB each); "
        f"{saving.cost_s * 1000:.1f} ms each, {saving.blocked_fraction:.2%} of the steps' time"
    )
    yield f"result       {'ok' if result.ok else 'NOT OK'}"
    for problem in result.problems:
        yield f"             {problem}"


def _workers(result: DrillResult) -> str:
    first, then = result.unbroken.num_workers, result.broken.num_workers
    same = ", ".join(map(str, first)) or "?"
    return same if result.same_workers else f"{same} unbroken; {', '.join(map(str, then))} broken"


def _verdict(difference: Difference | None, result: DrillResult) -> str:
    if difference is None:
        return "-"
    if difference.is_equal:
        return "equal to the bit"
    reason = "" if result.same_workers else ", as sums over other numbers of workers do"
    return f"differ by at most {difference.largest:.3g}, in {difference.where}{reason}"
