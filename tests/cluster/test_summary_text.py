"""The lines that a run ends with: the variants fit a terminal and say what decided."""

from pathlib import Path

from cluster.summary_text import MOST_VARIANTS, WIDTH, package_text, summary_text
from tests.packages import write_table_package
from tests.training.made_up_runs import full_run
from tests.training.report.compressed_runs import (
    FORMS,
    compared_by,
    comparison,
    compressed_event,
    compressed_run,
    variant,
)
from training.run_record import RunRecord


def table_of(folder: Path) -> list[str]:
    return summary_text(RunRecord.read(folder)).partition("\n\n")[2].splitlines()


def words(line: str) -> str:
    return " ".join(line.split())


def test_the_variants_fit_a_terminal_and_say_what_decided(tmp_path: Path) -> None:
    lines = table_of(compressed_run(tmp_path / "adult"))
    assert max(map(len, lines)) <= WIDTH
    assert words(lines[0]) == "variant test/accuracy drop p99 of 1 row memory size"
    assert words(lines[1]) == "fp32 0.8561 0.341 ms 41 MB 8512 KiB on the front"
    assert lines[7].split() == [
        "*",
        "structured-50+int8_static",
        "0.8538",
        "+0.0023",
        "0.046",
        "ms",
        "12",
        "MB",
        "640",
        "KiB",
        "chosen",
    ]
    assert lines[5].endswith("…")
    assert "KiB  not offered: it loses 0.0312" in lines[5]
    assert " ".join(line.strip() for line in lines[11:]) == (
        "not made: bf16 (ONNX Runtime has no kernels of bf16 for CPUs); int4@openvino (OpenVINO refused it: "
        "unsupported element type i4 of MatMulNBits)"
    )


def test_a_drop_of_another_score_is_named_and_tiny_values_keep_their_digits(tmp_path: Path) -> None:
    told = compressed_event()
    for each in told["variants"]:
        if each["quality"]:
            each["quality"] |= {"metric": "test/roc_auc", "drop": 1.23e-6}
        each["metrics"]["test/accuracy"] = 0.000012346
    lines = table_of(compressed_run(tmp_path / "adult", **told))
    assert words(lines[0]).startswith("variant test/accuracy drop of test/roc_auc p99")
    assert words(lines[7]).startswith("* structured-50+int8_static 1.235e-05 +1.23e-06 0.046 ms")
    told["variants"][-1]["quality"]["metric"] = "other/log_loss"
    lines = table_of(compressed_run(tmp_path / "again", **told))
    assert words(lines[0]).startswith("variant test/accuracy rise of other/log_loss p99")
    assert "+1.23e-06 of test/roc_auc" in lines[7]


def test_another_objective_has_a_column_beside_the_latency(tmp_path: Path) -> None:
    lines = table_of(compressed_run(tmp_path / "adult", **compared_by("cost")))
    assert "USD per million  p99 of 1 row" in lines[0]
    assert "0.00092" in lines[7]
    assert max(map(len, lines)) <= WIDTH


def test_of_many_variants_those_that_matter_are_shown(tmp_path: Path) -> None:
    told = compressed_event()
    others = [variant("int4").model_copy(update={"name": f"int4-{i}"}).model_dump(mode="json") for i in range(4)]
    told["comparison"]["costs"] |= {each["name"]: told["comparison"]["costs"]["int4"] for each in others}
    lines = table_of(compressed_run(tmp_path / "adult", **(told | {"variants": [*others, *told["variants"]]})))
    shown = {line[2:].split()[0] for line in lines[1 : MOST_VARIANTS + 1]}
    assert len(shown) == MOST_VARIANTS
    assert {name for name in FORMS if variant(name).offered} < shown
    assert "  and 4 more, see the report" in lines


def test_an_older_runs_variants_are_shown_with_what_it_has(tmp_path: Path) -> None:
    lines = table_of(full_run(tmp_path / "adult"))
    assert lines[2].split() == [
        "*",
        "int8",
        "0.8559",
        "+0.0002",
        "0.091",
        "ms",
        "0.155",
        "ms",
        "-",
        "2186",
        "KiB",
        "chosen",
    ]


def test_a_package_shows_what_it_was_compared_to_last(tmp_path: Path) -> None:
    written = write_table_package(tmp_path / "package")
    alone = package_text(written).splitlines()
    assert alone[0] == "variant    fp32: the only one measured"
    assert words(alone[3]) == "* fp32 0.9000 0.100 ms 0.200 ms - 0 KiB chosen"
    told = {"variants": tuple(map(variant, FORMS)), "comparisons": (comparison(),), "not_made": {"bf16": "no kernels"}}
    lines = package_text(written.model_copy(update=told)).splitlines()
    assert lines[0].startswith("variant    structured-50+int8_static: structured-50+int8_static answers")
    assert words(lines[9]) == "* structured-50+int8_static 0.8538 +0.0023 0.046 ms 12 MB 640 KiB chosen"
    assert lines[-1] == "  not made: bf16 (no kernels)"
