"""The model card: what was measured and what its owner says stand in it, and nothing in the data breaks its tables."""

import math
from pathlib import Path
from typing import Any

import pytest

from tests.packages import write_image_package, write_table_package
from training.package.card import CardFacts, model_card
from training.package.card_measured import MAX_SLICES, SliceScore
from training.package.card_text import digits
from training.package.machine import Machine
from training.package.manifest import Comparison, Cost, Latency, Manifest, Quality, SliceDrop

MACHINE = Machine(description="A CPU, 8 cores", arch="x86_64", cpu="A CPU", instruction_sets=("avx2",), num_cores=8)
TIMES = {"1": Latency(p50_ms=0.5, p99_ms=0.75), "32": Latency(p50_ms=4, p99_ms=5), "8": Latency(p50_ms=2, p99_ms=3)}


def facts(**more: Any) -> CardFacts:
    return CardFacts(source="t.csv", target="bought", architecture="mlp", port=8000, example={"age": 1.0}, **more)


def measured(manifest: Manifest) -> Manifest:
    """With slices, costs and machines, as compression records them."""
    slices = tuple(
        SliceDrop(column="city", value=value, num_rows=1200, baseline=0.9, score=0.9 - drop, drop=drop, p_value=0.001,
                  sacrificed=drop > 0.02)
        for value, drop in (("Rome", 0.0), ("Oslo|north", 0.05))
    )  # fmt: skip
    quality = Quality(metric="test/accuracy", drop=0.01, low=0.0, high=0.02, num_rows=9000, slices=slices)
    int8 = manifest.variant("int8").model_copy(update={"quality": quality, "machine": MACHINE})
    comparison = Comparison(
        at="2026-02-03T04:05:06+00:00", machine=MACHINE, target="cpu", objective="latency_p99", batch_size=1,
        num_threads=1, usd_per_hour=0.1, baseline="fp32", chosen="fp32", reason="int8 sacrifices a slice",
        costs={"fp32": Cost(latency=TIMES, memory_mb=3.25, usd_per_million=0.0123), "int8": Cost(latency=TIMES)},
    )  # fmt: skip
    return manifest.model_copy(
        update={
            "variants": (manifest.variant("fp32"), int8), "comparisons": (comparison,),
            "not_made": {"int4": "no layer is large enough"},
            "lineage": manifest.lineage.model_copy(update={"code_digest": "ab" * 32, "commit": "c0ffee"}),
        }
    )  # fmt: skip


def test_every_measurement_stands_in_the_card(tmp_path: Path) -> None:
    card = model_card(measured(write_table_package(tmp_path / "package")), facts())
    for line in (
        "| city | Oslo\\|north | 1,200 | 0.9000 | 0.8500 | +0.0500 | 0.001 |",
        "Sacrificed: city = Oslo\\|north.",
        "| variant | 1 row, p50 / p99 ms | 8 rows, p50 / p99 ms | 32 rows, p50 / p99 ms | memory | USD per million |",
        "| fp32 | 0.5 / 0.75 | 2 / 3 | 4 / 5 | 3.25 MB | 0.0123 |",
        "| int8 | 0.5 / 0.75 | 2 / 3 | 4 / 5 | - | - |",
        "on A CPU, 8 cores, at 0.1 USD an hour, 1 thread a call",
        "Chosen there: **fp32**. int8 sacrifices a slice.",
        "- int4: no layer is large enough",
        "- fp32: a machine not recorded",
        "- int8: A CPU, 8 cores",
        "Latency is of the model alone, on: ",
        f"- Manta's code: sha256 `{'ab' * 32}`",
        "- Commit: `c0ffee`",
    ):
        assert line in card.splitlines() or line in card, line


def test_what_the_owner_says_stands_in_the_card(tmp_path: Path) -> None:
    manifest = write_table_package(tmp_path / "package")
    assert "is for its owner to say" in model_card(manifest, facts())
    said = model_card(manifest, facts(intended_use="Leaflets.\nNo more.", out_of_scope="Credit", owner="Data team"))
    assert "## Intended use\n\n- For: Leaflets. No more.\n- Not for: Credit\n- Owner: Data team\n" in said
    assert "is for its owner to say" not in said


def test_the_worst_slices_come_first_and_no_more_than_people_read(tmp_path: Path) -> None:
    manifest = write_table_package(tmp_path / "package")
    slices = [SliceScore("test/roc_auc", "city", f"c{i}", 10, i / 100, 0.1, 0.2) for i in range(50)]
    card = model_card(manifest, facts(slices=slices))
    assert "| column | value | rows | test/roc_auc | 95 % interval |" in card  # and not the package's test/accuracy
    rows = [line for line in card.splitlines() if line.startswith("| city | c")]
    assert rows[0] == "| city | c0 | 10 | 0.0000 | 0.1000 to 0.2000 |"
    assert len(rows) == MAX_SLICES
    assert f"The worst ones first, {MAX_SLICES} of 50." in card


@pytest.mark.parametrize(
    ("task", "unit"),
    [
        ("classification", "share of right answers"), ("multilabel", "share of right labels"),
        ("regression", "mean absolute error"), ("language_modelling", "mean log-likelihood of a byte"),
    ],
)  # fmt: skip
def test_slices_are_compared_by_what_the_task_is_judged_by(task: str, unit: str, tmp_path: Path) -> None:
    manifest = measured(write_table_package(tmp_path / "package")).model_copy(update={"task": task})
    if task in ("regression", "language_modelling"):
        manifest = manifest.model_copy(update={"labels": (), "threshold": None})
    assert f"| baseline, {unit} | int8, {unit} | loss | p |" in model_card(manifest, facts())


def test_tiny_values_keep_their_digits(tmp_path: Path) -> None:
    manifest = measured(write_table_package(tmp_path / "package"))
    tiny = manifest.variant("fp32").model_copy(update={"metrics": {"test/accuracy": 0.000012346}})
    lost = SliceDrop(column="city", value="Rome", num_rows=9, baseline=3.21e-5, score=3.2e-5, drop=1e-7, p_value=0.5,
                     sacrificed=False)  # fmt: skip
    int8 = manifest.variant("int8")
    assert int8.quality is not None
    judged = int8.model_copy(update={"quality": int8.quality.model_copy(update={"slices": (lost,)})})
    slices = [SliceScore("test/accuracy", "city", "Rome", 9, 0.000056789, 0.0000123, 0.0000999)]
    card = model_card(manifest.model_copy(update={"variants": (tiny, judged)}), facts(slices=slices))
    for line in (
        "test/accuracy **1.235e-05**", "| fp32 | 1.235e-05 |", "| test/accuracy | 1.235e-05 | 0.9000 |",
        "| city | Rome | 9 | 5.679e-05 | 1.23e-05 to 9.99e-05 |",
        "| city | Rome | 9 | 3.21e-05 | 3.2e-05 | +1e-07 | 0.5 |",
    ):  # fmt: skip
        assert line in card, line


@pytest.mark.parametrize(
    ("value", "sign", "told"),
    [
        (0.85, "", "0.8500"), (0.0, "+", "+0.0000"), (-1e-17, "+", "+0.0000"), (0.001, "", "0.0010"),
        (0.00099, "+", "+0.00099"), (52341.126, "", "52,341.13"), (math.nan, "", "-"), (None, "", "-"),
    ],
)  # fmt: skip
def test_digits(value: float | None, sign: str, told: str) -> None:
    assert digits(value, sign) == told


def test_threads_are_those_that_were_measured_with(tmp_path: Path) -> None:
    manifest = measured(write_table_package(tmp_path / "package"))
    comparison = manifest.comparisons[0].model_copy(update={"num_threads": 3})
    variants = tuple(variant.model_copy(update={"latency": TIMES}) for variant in manifest.variants)
    card = model_card(manifest.model_copy(update={"variants": variants, "comparisons": (comparison,)}), facts())
    assert "- int8: A CPU, 8 cores, 3 threads a call" in card
    assert "one thread" not in card


def test_the_score_of_a_form_that_was_chosen_by_it_is_not_called_untouched(tmp_path: Path) -> None:
    manifest = write_table_package(tmp_path / "package")
    said = "The form that is served was chosen on the rows that it is scored on"
    assert said in model_card(manifest, facts())
    alone = manifest.model_copy(update={"variants": (manifest.variant("fp32"),)})
    assert said not in model_card(alone, facts())


def test_a_form_whose_score_was_not_measured_has_a_card(tmp_path: Path) -> None:
    manifest = write_table_package(tmp_path / "package")
    unknown = manifest.variant("fp32").model_copy(update={"metrics": {}})
    card = model_card(manifest.model_copy(update={"variants": (unknown,)}), facts())
    assert "Served is the variant fp32, whose test/accuracy was not measured." in card


def test_what_was_not_measured_has_no_section(tmp_path: Path) -> None:
    card = model_card(write_image_package(tmp_path / "package"), facts())
    assert "## Cost" not in card
    assert "## Quality by slice" not in card
    assert "- A row without image is refused." in card


def test_every_table_has_as_many_cells_in_each_row(tmp_path: Path) -> None:
    slices = [SliceScore("test/accuracy", "a|b", "x\ny", 10, 0.5)]
    card = model_card(measured(write_table_package(tmp_path / "package")), facts(slices=slices))
    widths: list[int] = []
    for line in card.replace("\\|", "").splitlines():
        if not line.startswith("|"):
            widths = []
            continue
        widths.append(line.count("|"))
        assert widths[0] == widths[-1], line
