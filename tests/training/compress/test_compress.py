"""The whole room on real models: files, measurements, and a choice that follows from them."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from training.compress.compress import CompressResult, compress
from training.compress.measure import measure_latency, predict
from training.compress_config import CompressConfig
from training.metrics import held_out_scores
from training.models.mlp import Mlp
from training.package.machine import describe_machine
from training.package.manifest import Task
from training.package.runtime import VariantRunner

RNG = np.random.default_rng(0)
NUMERIC = RNG.normal(size=(200, 16)).astype(np.float32)


def compressed(
    model: nn.Module, folder: Path, config: CompressConfig | None = None, task: Task = "classification"
) -> CompressResult:
    target = RNG.integers(0, 3, 200) if task == "classification" else RNG.normal(150, 20, 200).astype(np.float32)
    return compress(
        model,
        task=task,
        held_out={"numeric": NUMERIC},
        score=lambda scores: held_out_scores(task, scores, target),
        metric="accuracy" if task == "classification" else "rmse",
        mode="max" if task == "classification" else "min",
        config=config or CompressConfig(),
        workdir=folder,
        target_mean=150.0,
        target_scale=20.0,
    )


def test_a_wide_mlp_is_measured_in_both_forms_and_the_choice_follows_the_numbers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    result = compressed(Mlp(16, [], 3, [1024, 1024], 0.0, 4), tmp_path, CompressConfig(max_drop=0.05))
    fp32, int8 = result.variants
    assert (fp32.name, int8.name) == ("fp32", "int8")
    assert int8.weights_quantized_fraction > 0.95
    assert int8.size_bytes < fp32.size_bytes / 3
    assert set(fp32.latency) == {"1", "32"}
    assert all(0 < measured.p50_ms <= measured.p99_ms for measured in (*fp32.latency.values(), *int8.latency.values()))
    assert "test/accuracy" in int8.metrics
    assert fp32.tolerance < int8.tolerance <= 0.06
    faster = int8.latency["1"].p50_ms <= 0.95 * fp32.latency["1"].p50_ms
    assert (result.chosen == "int8") == (faster and int8.latency["32"].p50_ms <= 1.05 * fp32.latency["32"].p50_ms)
    assert result.files["variants/int8.onnx"].stat().st_size == int8.size_bytes


def test_a_small_model_stays_fp32_and_the_reason_is_given(tmp_path: Path) -> None:
    result = compressed(Mlp(16, [], 3, [32], 0.0, 4), tmp_path)
    assert result.chosen == "fp32"
    assert not result.variants[1].offered
    assert result.reason == "int8 is not offered: no weight is stored in 8 bits, as no layer is large enough"


def test_int8_can_be_left_out(tmp_path: Path) -> None:
    result = compressed(Mlp(16, [], 3, [32], 0.0, 4), tmp_path, CompressConfig(forms=()))
    assert [variant.name for variant in result.variants] == ["fp32"]


def test_a_regression_is_judged_and_tolerated_in_its_own_unit(tmp_path: Path) -> None:
    result = compressed(Mlp(16, [], 1, [256, 256], 0.0, 4), tmp_path, task="regression")
    fp32, int8 = result.variants
    assert int8.weights_quantized_fraction > 0.9
    assert 10 < fp32.metrics["test/rmse"] < 40
    assert fp32.tolerance == pytest.approx(20 * 1e-4, rel=0.2)
    assert int8.tolerance >= 20 * 1e-3


def test_variants_take_turns_and_every_batch_size_is_measured(tmp_path: Path) -> None:
    result = compressed(Mlp(16, [], 3, [128, 128], 0.0, 4), tmp_path)
    runners = {name: VariantRunner(path) for name, path in result.files.items()}
    latency = measure_latency(runners, {"numeric": NUMERIC[:3]}, budget_s=0.01)  # fewer rows than the largest batch
    assert {name: set(sizes) for name, sizes in latency.items()} == {name: {"1", "32"} for name in runners}
    assert predict(runners["variants/fp32.onnx"], {"numeric": NUMERIC}).shape == (200, 3)


def test_the_machine_is_described_in_one_line() -> None:
    assert re.fullmatch(r".+, \d+ cores?(, [\w ]+)?", describe_machine())
