"""Export, quantize, measure, choose: from the best model to its variants. Shape letters: N rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import nn

from training.compress.choose import choose
from training.compress.forms.dynamic_int8 import quantize_int8, weights_quantized_fraction
from training.compress.forms.export import export_onnx
from training.compress.measure import measure_latency, predict
from training.compress_config import CompressConfig
from training.package.manifest import Task, Variant
from training.package.runtime import VariantRunner

Score = Callable[[np.ndarray], dict[str, float]]

EXAMPLE_ROWS = 64  # compared with torch after the export
FP32_TOLERANCE = 1e-4  # other CPUs sum in another order; 100 times what was seen between AVX2 and AVX-512
INT8_TOLERANCE = 1e-3  # a rounding that falls the other way moves an answer by about one level of one layer
MAX_INT8_TOLERANCE = 0.05


@dataclass(frozen=True)
class CompressResult:
    """The variants with what was measured, and the one to serve. Its files stay in `workdir`."""

    variants: tuple[Variant, ...]
    chosen: str
    reason: str
    workdir: Path

    @property
    def files(self) -> dict[str, Path]:
        """ONNX files by their path inside a package."""
        return {variant.file: self.workdir / variant.file for variant in self.variants}


def compress(
    model: nn.Module,
    *,
    task: Task,
    held_out: Mapping[str, np.ndarray],
    score: Score,
    metric: str,
    mode: Literal["max", "min"],
    config: CompressConfig,
    workdir: Path,
    target_mean: float = 0.0,
    target_scale: float = 1.0,
    part: str = "test",
) -> CompressResult:
    """Make the variants that `config` asks for, measure them on held-out rows and on this machine, and choose one.

    Args:
        model: on any device; left as it is.
        task: what its output means.
        held_out: tensors by name, in the order the model takes them.
        score: scores by plain name ("accuracy") from the scores of all held-out rows, shaped as `VariantRunner` gives.
        metric: plain name of the score that decides.
        mode: whether a higher or a lower score is better.
        config: what to try, and what it may cost.
        workdir: the ONNX files go to `workdir/variants/`.
        target_mean: a regression's model predicts (value - mean) / scale.
        target_scale: likewise.
        part: which part the held-out rows are; metrics are named `<part>/<name>`.

    Raises:
        ExportFailed: the model cannot be written as ONNX.
    """
    paths = {"fp32": workdir / "variants" / "fp32.onnx"}
    paths["fp32"].parent.mkdir(parents=True, exist_ok=True)
    example = {name: values[:EXAMPLE_ROWS] for name, values in held_out.items()}
    export_onnx(model, example, task=task, target_mean=target_mean, target_scale=target_scale, path=paths["fp32"])
    if "int8" in config.formats:
        paths["int8"] = paths["fp32"].with_name("int8.onnx")
        quantize_int8(paths["fp32"], paths["int8"])
    unit = target_scale if task == "regression" else 1.0
    variants = _measure(paths, held_out, score, part, unit)
    decision = choose(variants, f"{part}/{metric}", mode, config.max_drop)
    return CompressResult(decision.variants, decision.chosen, decision.reason, workdir)


def _measure(
    paths: Mapping[str, Path], held_out: Mapping[str, np.ndarray], score: Score, part: str, unit: float
) -> list[Variant]:
    runners = {name: VariantRunner(path, num_threads=1) for name, path in paths.items()}
    latency = measure_latency(runners, held_out)
    scores = {name: predict(runner, held_out) for name, runner in runners.items()}
    return [
        Variant(
            name=name,
            file=f"variants/{path.name}",
            size_bytes=path.stat().st_size,
            metrics={f"{part}/{key}": value for key, value in score(scores[name]).items()},
            latency=latency[name],
            weights_quantized_fraction=weights_quantized_fraction(path),
            tolerance=_tolerance(scores[name], scores["fp32"], unit, exact=name == "fp32"),
            offered=True,
        )
        for name, path in paths.items()
    ]


def _tolerance(scores: np.ndarray, exact_scores: np.ndarray, unit: float, *, exact: bool) -> float:
    """How far golden rows may be off on another CPU, in the output's own unit.

    A quantized variant may be off by as much as quantizing itself changed the held-out answers, within bounds.
    """
    resolution = 1e-6 * float(np.abs(exact_scores).max())  # of float32; it counts where a target is far from 0
    if exact:
        return FP32_TOLERANCE * unit + resolution
    measured = float(np.abs(scores - exact_scores).max()) / unit
    return unit * min(max(measured, INT8_TOLERANCE), MAX_INT8_TOLERANCE) + resolution
