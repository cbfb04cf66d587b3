"""Runtimes: the same file gives the same answers on each, calls do not disturb each other, and refusals say why."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from training.package import runtime
from training.package.errors import PackageError
from training.package.machine import Machine
from training.package.manifest import Runtime, Variant
from training.package.runtime import VariantRunner, is_bf16, open_runner, why_not_here

WEIGHT = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
NUMERIC = np.random.default_rng(1).normal(size=(200, 6)).astype(np.float32)
MACHINE = Machine(description="", arch="x86_64", cpu="", instruction_sets=("avx2",), num_cores=1)
WITH_GPU = MACHINE.model_copy(update={"gpu": "NVIDIA A100", "compute_capability": "8.0"})


def variant(
    runtime: Runtime = "onnxruntime", *, file: str = "a.onnx", steps: tuple[str, ...] = (), device: str = "cpu"
) -> Variant:
    return Variant(
        name="some", file=file, runtime=runtime, device=device, steps=steps, size_bytes=1, metrics={}, latency={},
        weights_quantized_fraction=0, tolerance=0, offered=True,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A variant that takes `numeric` and gives softmax(numeric @ WEIGHT)."""
    write(tmp_path / "a.onnx", "numeric", "scores")
    return tmp_path


def write(path: Path, takes: str, gives: str) -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMul", [takes, "w"], ["logits"]), helper.make_node("Softmax", ["logits"], [gives])],
        "product",
        [helper.make_tensor_value_info(takes, TensorProto.FLOAT, ["N", 6])],
        [helper.make_tensor_value_info(gives, TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)


def expected(numeric: np.ndarray) -> np.ndarray:
    powers = np.exp(numeric @ WEIGHT)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_runner_answers_any_rows_however_they_lie_in_memory(name: Runtime, folder: Path) -> None:
    run = open_runner(folder, variant(name))
    assert run.input_names == ("numeric",)
    turned = np.asfortranarray(NUMERIC)
    locked = NUMERIC[:50].copy()
    locked.flags.writeable = False
    for rows in (NUMERIC[:1], NUMERIC[:7], NUMERIC[::3], turned, locked):
        scores = run({"numeric": rows, "not asked for": np.zeros(1)})
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected(rows), atol=1e-6)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_calls_of_several_threads_do_not_mix(name: Runtime, folder: Path) -> None:
    run = open_runner(folder, variant(name))
    first = run({"numeric": NUMERIC[:4]})
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: run({"numeric": NUMERIC[i : i + 4]}), range(190)))
    for i, scores in enumerate(answers):
        np.testing.assert_allclose(scores, expected(NUMERIC[i : i + 4]), atol=1e-6)
    np.testing.assert_allclose(first, expected(NUMERIC[:4]), atol=1e-6)  # nobody wrote over it


def test_fp32_on_openvino_is_fp32_and_bf16_only_where_the_variant_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left alone, OpenVINO takes bf16 wherever the CPU has it. Both variants share a file."""
    monkeypatch.setattr(runtime, "this_machine", lambda: MACHINE.model_copy(update={"instruction_sets": ("amx_bf16",)}))
    exact = open_runner(folder, variant("openvino", steps=("fp32",)))({"numeric": NUMERIC})
    np.testing.assert_allclose(exact, expected(NUMERIC), atol=1e-6)
    rounded = open_runner(folder, variant("openvino", steps=("structured-50", "bf16")))({"numeric": NUMERIC})
    assert np.abs(rounded - exact).max() < 0.02
    assert is_bf16(variant(steps=("structured-50", "bf16")))
    assert not is_bf16(variant(steps=("bf16", "int8")))
    assert not is_bf16(variant())


def test_bf16_rounds_where_the_cpu_has_it(folder: Path) -> None:
    if why_not_here(variant("openvino", steps=("bf16",)), runtime.this_machine()):
        pytest.skip("this CPU has no bf16")
    exact = open_runner(folder, variant("openvino"))({"numeric": NUMERIC})
    rounded = open_runner(folder, variant("openvino", steps=("bf16",)))({"numeric": NUMERIC})
    assert 1e-5 < np.abs(rounded - exact).max() < 0.02


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("takes", "gives"), [("pixels", "scores"), ("numeric", "answer")])
def test_other_names_are_refused(name: Runtime, takes: str, gives: str, tmp_path: Path) -> None:
    write(tmp_path / "a.onnx", takes, gives)
    with pytest.raises(PackageError, match=rf"a\.onnx takes {takes} and gives {gives}; a variant takes some of"):
        open_runner(tmp_path, variant(name))


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_what_is_no_model_and_what_does_not_fit_is_told(name: Runtime, folder: Path) -> None:
    run = open_runner(folder, variant(name))
    with pytest.raises(PackageError, match=r"cannot run .*a\.onnx: ") as caught:
        run({"numeric": NUMERIC[:, :5]})
    assert "\n" not in caught.value.message
    (folder / "b.onnx").write_bytes((folder / "a.onnx").read_bytes()[:50])
    with pytest.raises(PackageError, match=r"b\.onnx"):
        open_runner(folder, variant(name, file="b.onnx"))


def test_an_onnx_package_is_loaded_without_torch(folder: Path) -> None:
    """torch takes seconds and hundreds of MB that a replica on a CPU has no use for."""
    for name in ("onnxruntime", "openvino"):
        code = (
            "import sys; from pathlib import Path; import numpy as np; import training.package.read\n"
            "from training.package.manifest import Variant; from training.package.runtime import open_runner\n"
            f"variant = Variant.model_validate_json({variant(name).model_dump_json()!r})\n"
            f"run = open_runner(Path({str(folder)!r}), variant)\n"
            "assert run({'numeric': np.ones((2, 6), np.float32)}).shape == (2, 3)\n"
            "print(sorted({'torch', 'torchao', 'ray'} & set(sys.modules)))"
        )
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        assert said.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("asked", "machine", "reason"),
    [
        (variant(), MACHINE, ""),
        (variant(device="cuda"), WITH_GPU, "Manta runs ONNX Runtime on CPUs only"),
        (variant("openvino"), MACHINE, ""),
        (variant("openvino", device="cuda"), WITH_GPU, "OpenVINO runs on CPUs here"),
        (variant("openvino", steps=("bf16",)), MACHINE, "this CPU has no instructions for bf16"),
        (variant("torch", steps=("int8",)), MACHINE, ""),
        (variant("torch", device="cuda"), MACHINE, "there is no GPU here"),
        (variant("torch", device="cuda", steps=("bf16",)), WITH_GPU, ""),
        (variant("torch", device="cuda", steps=("fp8",)), MACHINE, "there is no GPU here"),
        (variant("torch", device="cuda", steps=("fp8",)), WITH_GPU, "fp8 needs a GPU of compute capability 8.9, and"),
        (
            variant("torch", device="cuda", steps=("fp8",)),
            WITH_GPU.model_copy(update={"compute_capability": ""}),
            "fp8 needs a GPU of compute capability 8.9, and that of NVIDIA A100 is not known",
        ),
        (
            variant("torch", device="cuda", steps=("fp8",)),
            WITH_GPU.model_copy(update={"compute_capability": "12.0"}),
            "",
        ),
    ],
)
def test_it_is_known_what_cannot_run_on_a_machine(asked: Variant, machine: Machine, reason: str) -> None:
    said = why_not_here(asked, machine)
    assert said.startswith(reason)
    assert bool(said) == bool(reason)


@pytest.mark.parametrize(
    ("missing", "asked", "command"),
    [
        ("openvino", variant("openvino"), "OpenVINO is not installed: pip install 'manta[openvino]'"),
        ("torchao", variant("torch", steps=("int8",)), "torchao is not installed: pip install 'manta[gpu]'"),
        ("torch", variant("torch"), "torch is not installed: pip install torch"),
    ],
)
def test_a_runtime_that_is_not_installed_comes_with_the_command(
    missing: str, asked: Variant, command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = runtime.find_spec
    monkeypatch.setattr(runtime, "find_spec", lambda name: None if name == missing else found(name))
    assert why_not_here(asked, MACHINE) == command
    with pytest.raises(PackageError, match="variant some cannot run here: ") as caught:
        open_runner(folder, asked)
    assert command in caught.value.message


def test_a_variant_of_onnxruntime_is_what_it_always_was(folder: Path) -> None:
    np.testing.assert_array_equal(
        open_runner(folder, variant(), num_threads=2)({"numeric": NUMERIC}),
        VariantRunner(folder / "a.onnx")({"numeric": NUMERIC}),
    )
