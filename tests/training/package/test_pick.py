"""Which variant answers where: decided by the measurements, and by what the machine has."""

from typing import Any

import pytest

from training.package.errors import PackageError
from training.package.machine import Machine
from training.package.manifest import Comparison, Lineage, Manifest, Variant
from training.package.pick import pick_variant

NEW = Machine(
    description="new", arch="x86_64", cpu="new", num_cores=8,
    instruction_sets=("avx2", "avx512f", "avx512_vnni", "avx512_bf16"),
)  # fmt: skip
OLD = NEW.model_copy(update={"cpu": "old", "instruction_sets": ("avx2",)})
NO_BF16 = NEW.model_copy(update={"instruction_sets": ("avx2", "avx512f", "avx512_vnni")})
ARM = NEW.model_copy(update={"arch": "aarch64", "instruction_sets": ("asimddp", "i8mm")})
H200 = NEW.model_copy(update={"gpu": "H200"})


def variant(name: str, **more: Any) -> Variant:
    fields = {
        "file": f"variants/{name}", "size_bytes": 1, "metrics": {}, "latency": {}, "tolerance": 1e-4, "offered": True,
        "weights_quantized_fraction": 0.0 if name in ("fp32", "structured-50") else 0.9, "machine": NEW,
    }  # fmt: skip
    return Variant(name=name, **{**fields, **more})


def comparison(machine: Machine, chosen: str, at: str = "2026-01-01") -> Comparison:
    return Comparison(
        at=at, machine=machine, target="cpu", objective="latency_p99", batch_size=1, num_threads=1, baseline="fp32",
        costs={}, chosen=chosen, reason=f"{chosen} won",
    )  # fmt: skip


def manifest(*comparisons: Comparison, chosen: str = "int8", **more: Any) -> Manifest:
    variants = ("fp32", "structured-50", "int8", "bf16")
    fields: dict[str, Any] = {"variants": tuple(variant(name) for name in variants), "format_version": 3}
    return Manifest(
        name="adult", created_at="", task="regression", inputs=(), outputs=(), metric="test/rmse", metric_mode="min",
        chosen=chosen, chosen_reason=f"{chosen} was best", comparisons=comparisons,
        lineage=Lineage(run="r", data_fingerprint=""), sha256={}, **{**fields, **more},
    )  # fmt: skip


def picked(package: Manifest, machine: Machine, why_not: dict[str, str] | None = None) -> tuple[str, str]:
    found = pick_variant(package, machine, lambda variant: (why_not or {}).get(variant.name, ""))
    return found.variant.name, found.reason


def test_the_newest_comparison_on_a_machine_like_this_one_decides() -> None:
    package = manifest(comparison(NEW, "bf16", "1"), comparison(OLD, "fp32", "2"), comparison(NEW, "int8", "3"))
    assert picked(package, NEW) == ("int8", "int8 is the choice for machines like this one: int8 won")
    assert picked(package, OLD) == ("fp32", "fp32 is the choice for machines like this one: fp32 won")
    other_cores = NEW.model_copy(update={"cpu": "another", "num_cores": 2})
    assert picked(package, other_cores)[0] == "int8"


def test_where_the_choice_cannot_run_the_next_best_does() -> None:
    ranked = comparison(NEW, "bf16").model_copy(update={"ranking": ("bf16", "int8", "fp32")})
    assert picked(manifest(ranked), NEW, {"bf16": "OpenVINO is not installed"}) == (
        "int8", "int8 is the next best on machines like this one (bf16: OpenVINO is not installed)"
    )  # fmt: skip
    assert picked(manifest(ranked), NEW, {"bf16": "no", "int8": "no"})[0] == "fp32"


def test_without_one_the_packages_choice_answers_where_its_measurements_hold() -> None:
    package = manifest(comparison(OLD, "fp32"))
    assert picked(package, NEW) == ("int8", "int8 is the package's choice: int8 was best")
    assert picked(package, NO_BF16)[0] == "int8"  # what int8 does not use may be missing
    assert picked(package, H200)[0] == "int8"


def test_where_they_do_not_hold_fp32_answers_and_the_reason_is_one_sentence() -> None:
    wanted = "int8: it was measured with avx512f, avx512_vnni, which this machine lacks; so fp32 answers"
    assert picked(manifest(), OLD) == ("fp32", wanted)
    assert picked(manifest(), ARM)[1] == "int8: it was measured on x86_64, and this machine is aarch64; so fp32 answers"
    lacks = "bf16: it was measured with avx512_bf16, which this machine lacks; so fp32 answers"
    assert picked(manifest(chosen="bf16"), NO_BF16) == ("fp32", lacks)


def test_a_smaller_fp32_is_right_anywhere() -> None:
    assert picked(manifest(chosen="structured-50"), ARM)[0] == "structured-50"
    on_openvino = variant("structured-50", runtime="openvino")
    assert picked(manifest(chosen="structured-50", variants=(variant("fp32"), on_openvino)), ARM)[0] == "fp32"


def test_a_gpus_variant_is_for_the_same_gpu_whatever_the_cpu() -> None:
    on_gpu = variant("fp8", runtime="torch", device="cuda", machine=H200)
    package = manifest(chosen="fp8", variants=(variant("fp32"), on_gpu))
    assert picked(package, OLD.model_copy(update={"gpu": "H200"}))[0] == "fp8"
    a10 = NEW.model_copy(update={"gpu": "A10"})
    assert picked(package, a10) == ("fp32", "fp8: it was measured on H200, and here is A10; so fp32 answers")


def test_packages_that_recorded_no_machine_answer_as_before() -> None:
    older = tuple(variant(name, machine=None) for name in ("fp32", "int8"))
    assert picked(manifest(variants=older, format_version=2), ARM)[0] == "int8"


def test_what_cannot_run_here_is_left_out_with_its_reason() -> None:
    package = manifest(comparison(NEW, "bf16"), chosen="int8")
    assert picked(package, NEW, {"bf16": "no openvino"}) == ("int8", "int8 is the package's choice: int8 was best")
    name, reason = picked(package, NEW, {"bf16": "no openvino", "int8": "no kernel"})
    assert (name, reason) == ("fp32", "bf16: no openvino; int8: no kernel; so fp32 answers")


def test_where_nothing_can_run_every_reason_is_said() -> None:
    reasons = {"int8": "no kernel", "fp32": "no runtime"}
    with pytest.raises(PackageError, match=r"adult cannot answer here: int8: no kernel; fp32: no runtime") as caught:
        picked(manifest(), NEW, reasons)
    assert caught.value.hint == "here can run: structured-50, bf16"
    with pytest.raises(PackageError, match=r"here: fp32: no runtime\n"):
        picked(manifest(chosen="fp32", variants=(variant("fp32"),)), NEW, reasons)


def test_one_that_is_asked_for_answers_or_is_refused_with_what_can() -> None:
    package = manifest()

    def ask(name: str) -> str:
        why_not = {"bf16": "no openvino"}
        return pick_variant(package, OLD, lambda variant: why_not.get(variant.name, ""), name).variant.name

    assert ask("int8") == "int8"  # also where its measurements do not hold
    with pytest.raises(PackageError, match="the variant bf16 of adult cannot run here: no openvino") as caught:
        ask("bf16")
    assert caught.value.hint == "here can run: fp32, structured-50, int8"
    with pytest.raises(PackageError, match="adult has no variant 'int4'; it has fp32, structured-50, int8, bf16"):
        ask("int4")
