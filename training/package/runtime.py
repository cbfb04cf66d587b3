"""Running one variant on the runtime it is made for."""

from importlib.util import find_spec
from pathlib import Path

from training.package.errors import PackageError
from training.package.machine import Machine, this_machine
from training.package.manifest import Variant
from training.package.runtimes.on_onnxruntime import VariantRunner
from training.package.runtimes.runner import OUTPUT_NAME, TENSOR_NAMES, Runner

__all__ = ["OUTPUT_NAME", "TENSOR_NAMES", "Runner", "VariantRunner", "is_bf16", "open_runner", "why_not_here"]

BF16_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # the last one is Arm's
FP8_CAPABILITY = (8, 9)  # Ada and Hopper: the first GPUs that multiply fp8
TORCHAO_FORMS = frozenset({"int8", "int8_weights", "fp8"})


def open_runner(folder: Path, variant: Variant, num_threads: int = 1) -> Runner:
    """Load a variant of the package in `folder`.

    Args:
        folder: what `variant.file` is relative to.
        variant: says runtime, device and, by its last step, the precision.
        num_threads: of one call on the CPU; for torch those of the whole process.

    Raises:
        PackageError: it cannot run here, or is not a model that its runtime loads.
    """
    if reason := why_not_here(variant, this_machine()):
        raise PackageError(f"variant {variant.name} cannot run here: {reason}", "serve another variant of the package")
    path = folder / variant.file
    if variant.runtime == "onnxruntime":
        return VariantRunner(path, num_threads)
    if variant.runtime == "openvino":
        from training.package.runtimes.on_openvino import OpenVinoRunner  # noqa: PLC0415  # an extra

        return OpenVinoRunner(path, num_threads, bf16=is_bf16(variant))
    from training.package.runtimes.on_torch import TorchRunner  # noqa: PLC0415  # seconds, and an ONNX one needs no torch

    return TorchRunner(path, variant.device, num_threads)


def is_bf16(variant: Variant) -> bool:
    """Whether it is the form bf16. On OpenVINO that is a setting: its file is the one of fp32, and may be shared."""
    return variant.steps[-1:] == ("bf16",)


def why_not_here(variant: Variant, machine: Machine) -> str:
    """Why a variant cannot run on a machine with what this process has installed; empty where it can."""
    match variant.runtime:
        case "onnxruntime":
            return "Manta runs ONNX Runtime on CPUs only" if variant.device == "cuda" else ""
        case "openvino":
            return _why_not_openvino(variant, machine)
        case "torch":
            return _why_not_torch(variant, machine)


def _why_not_openvino(variant: Variant, machine: Machine) -> str:
    if variant.device == "cuda":
        return "OpenVINO runs on CPUs here"
    if find_spec("openvino") is None:
        return "OpenVINO is not installed: pip install 'manta[openvino]'"
    if is_bf16(variant) and not BF16_INSTRUCTIONS & set(machine.instruction_sets):
        return "this CPU has no instructions for bf16 (avx512_bf16, amx_bf16, or Arm's bf16)"
    return ""


def _why_not_torch(variant: Variant, machine: Machine) -> str:
    form = variant.steps[-1] if variant.steps else "fp32"
    if find_spec("torch") is None:
        return "torch is not installed: pip install torch"
    if form in TORCHAO_FORMS and find_spec("torchao") is None:
        return "torchao is not installed: pip install 'manta[gpu]'"
    if variant.device == "cuda" and not machine.gpu:
        return "there is no GPU here"
    return why_no_fp8(machine) if form == "fp8" else ""


def why_no_fp8(machine: Machine) -> str:
    """Why a machine's GPU cannot multiply fp8; empty where it can."""
    if not machine.gpu:
        return "fp8 needs a GPU, and there is none here"
    try:
        major, minor = (int(part) for part in machine.compute_capability.split("."))
    except ValueError:
        return f"fp8 needs a GPU of compute capability 8.9, and that of {machine.gpu} is not known"
    if (major, minor) < FP8_CAPABILITY:
        return f"fp8 needs a GPU of compute capability 8.9, and {machine.gpu} has {machine.compute_capability}"
    return ""
