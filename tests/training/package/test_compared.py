"""A package that was compressed again: what people read follows the newest verdict, what was stored stays."""

from pathlib import Path

from tests.packages import write_table_package
from training.package.compared import as_compared
from training.package.machine import this_machine
from training.package.manifest import Comparison, Cost, Quality


def test_the_newest_verdict_stands_over_the_one_that_a_form_was_made_with(tmp_path: Path) -> None:
    variants = write_table_package(tmp_path / "package").variants
    assert [(each.name, each.offered) for each in variants] == [("fp32", True), ("int8", True)]
    lost = Quality(metric="other/accuracy", drop=0.1, low=0.05, high=0.15, num_rows=99)
    newest = Comparison(
        at="", machine=this_machine(), target="cpu", objective="size", batch_size=1, num_threads=1, baseline="fp32",
        metric="other/accuracy", scores={"fp32": 0.9, "int8": 0.8}, qualities={"int8": lost}, passed=("fp32",),
        costs={name: Cost(latency={}) for name in ("fp32", "int8")}, notes={"int8": "it loses"}, chosen="fp32",
        reason="",
    )  # fmt: skip
    fp32, int8 = as_compared(variants, newest)
    assert (fp32.offered, fp32.metrics["other/accuracy"]) == (True, 0.9)
    assert (int8.offered, int8.quality, int8.note) == (False, lost, "it loses")
    assert int8.metrics == variants[1].metrics | {"other/accuracy": 0.8}
    unmeasured = newest.model_copy(update={"costs": {"fp32": Cost(latency={})}})
    assert as_compared(variants, unmeasured)[1] == variants[1]
    assert as_compared(variants, None) == variants
