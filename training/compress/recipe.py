"""Which forms are tried, and what they are called: decided from the settings, touching nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from training.compress_config import CompressConfig, Form, PruneConfig
from training.package.manifest import Runtime

FP32 = "fp32"
DISTIL, QAT = "distil", "qat"


@dataclass(frozen=True)
class Learn:
    """What is trained before a number format is made, in order: pruned, then taught or distilled, then tuned."""

    sparsity: float | None = None  # of pruning
    distils: bool = False  # without pruning: a smaller student; after it: the teacher's answers tune what is left
    rounds: Literal["int8", "int8_static"] | None = None  # tuned to the rounding of this format


@dataclass(frozen=True)
class Recipe:
    """One form: a model (as trained, or by what steps), a number format, and what runs it."""

    steps: tuple[str, ...] = ()  # that were learned, as `Base.steps`
    form: str = FP32
    runtime: Runtime = "onnxruntime"
    device: Literal["cpu", "cuda"] = "cpu"

    @property
    def name(self) -> str:
        """`fp32`, `structured-50+int8_static`, `bf16@openvino`."""
        made = [*self.steps, *([self.form] if self.form != FP32 or not self.steps else [])]
        where = {"onnxruntime": "", "openvino": "@openvino", "torch": f"@{self.device}"}[self.runtime]
        return "+".join(made) + where

    @property
    def stem(self) -> str:
        """Of its file, the same for all forms that share one: OpenVINO reads the ONNX files, and rounds by itself."""
        form = FP32 if self.runtime == "openvino" and self.form == "bf16" else self.form
        return Recipe(self.steps, form).name

    @property
    def file(self) -> str:
        """Path inside a package."""
        return f"variants/{self.stem}-{self.device}.pt2" if self.runtime == "torch" else f"variants/{self.stem}.onnx"

    @property
    def variant_steps(self) -> tuple[str, ...]:
        """What a manifest says of how it was made."""
        return (*self.steps, self.form)


def learned(config: CompressConfig) -> tuple[Learn, ...]:
    """Models to train beside the trained one."""
    sparsities = config.prune.sparsity if isinstance(config.prune, PruneConfig) else ()
    wanted = [Learn(sparsity) for sparsity in sparsities]
    if config.distil is not None:
        wanted += [Learn(distils=True), *(Learn(sparsity, distils=True) for sparsity in sparsities)]
    return tuple(wanted)


def recipes_of(steps: Sequence[str], config: CompressConfig, *, has_openvino: bool, has_module: bool) -> list[Recipe]:
    """All forms of one model. The first is its fp32 form for ONNX Runtime, which the others are made from."""
    found = [Recipe(tuple(steps))]
    if config.device == "gpu":
        if has_module:  # torch forms are made of the module, not of ONNX
            found += [Recipe(tuple(steps), form, "torch", "cuda") for form in (FP32, *config.formats)]
        return found
    found += [Recipe(tuple(steps), form) for form in config.formats if form != "bf16"]
    if config.openvino and has_openvino:
        found += [Recipe(tuple(steps), form, "openvino") for form in _for_openvino(config.formats)]
    return found


def _for_openvino(formats: Sequence[Form]) -> list[str]:
    """What OpenVINO has kernels for: it reads fp16 weights as fp32, and 4 bits not at all."""
    return [FP32, *(form for form in formats if form in ("bf16", "int8", "int8_static"))]
