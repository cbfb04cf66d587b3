"""Forms for a GPU side by side: rows a second of fp32, bf16, fp16, int8 and fp8, each as a program that torch compiled.

    python -m benchmarks.compress_gpu [--tiny]

An MLP (3 x 4,096), a ResNet-18 on 32x32 pixels and a Transformer of six layers, with first weights and made-up inputs:
what a call takes does not depend on what the weights know. Batches of 1, 32 and 256; medians of forms in turn; a ratio
above 1 is faster than fp32. `--tiny` runs small models on a CPU, to see that it works: its times are no GPU's.

Needs the `gpu` extra: pip install -e ".[gpu]" -c constraints.txt
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from training.compress.errors import NotMade
from training.compress.forms.export import ScoringModel
from training.compress.forms.torch_forms import TORCH_FORMS, make_torch_form
from training.compress.measure.latency import measure_latency
from training.config import Experiment
from training.models import ModelInputs, build_model
from training.package.machine import describe_machine
from training.package.runtime import Runner
from training.package.runtimes.on_torch import TorchRunner

BATCH_SIZES = (1, 32, 256)
EXAMPLE_ROWS = 64
Device = Literal["cpu", "cuda"]


def main() -> None:
    """Run and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="small models on a CPU, to see that it works")
    parser.add_argument("--budget-s", type=float, default=3.0, help="seconds of measuring for each batch size")
    arguments = parser.parse_args()
    if not arguments.tiny and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; --tiny runs small models on the CPU")
    device: Device = "cpu" if arguments.tiny else "cuda"
    print(f"{describe_machine()}; torch {torch.__version__}; {device}\n")
    found = {
        name: _measured(model, rows, device, arguments.budget_s) for name, (model, rows) in _models(device).items()
    }
    print(json.dumps(found))


def _models(device: Device) -> dict[str, tuple[nn.Module, dict[str, np.ndarray]]]:
    is_large = device == "cuda"
    rng = np.random.default_rng(0)
    num_rows = max(BATCH_SIZES)
    width, channels, dim = (4096, 64, 768) if is_large else (128, 8, 64)
    mlp = ({"kind": "mlp", "hidden": [width] * 3}, ModelInputs(108, (), None, 2))
    resnet = ({"kind": "resnet", "depths": [2, 2, 2, 2], "width": channels}, ModelInputs(0, (), (3, 32, 32), 10))
    text = ({"kind": "transformer", "layers": 6, "dim": dim, "heads": 8}, ModelInputs(0, (), None, 4, (8000,), 128))
    rows = {
        "mlp": {"numeric": rng.normal(size=(num_rows, 108)).astype(np.float32)},
        "resnet": {"image": rng.normal(size=(num_rows, 3, 32, 32)).astype(np.float32)},
        "transformer": {"tokens": rng.integers(1, 8000, (num_rows, 1, 128))},
    }
    return {
        name: (_module(model, inputs), rows[name])
        for name, (model, inputs) in {"mlp": mlp, "resnet": resnet, "transformer": text}.items()
    }


def _module(model: Mapping[str, Any], inputs: ModelInputs) -> nn.Module:
    experiment = Experiment.model_validate(
        {"name": "gpu", "data": {"source": "-", "target": "-", "image_shape": inputs.image_shape}, "model": model}
    )
    return build_model(experiment.model, inputs, 0)


def _measured(
    model: nn.Module, rows: dict[str, np.ndarray], device: Device, budget_s: float
) -> dict[str, dict[str, float] | str]:
    scoring = ScoringModel(model, "classification").eval()
    example = {name: values[:EXAMPLE_ROWS] for name, values in rows.items()}
    runners: dict[str, Runner] = {}
    found: dict[str, dict[str, float] | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for form in TORCH_FORMS:
            path = Path(folder) / f"{form}.pt2"
            try:
                make_torch_form(form, scoring, example, path, device)
            except NotMade as error:
                found[form] = error.message
                continue
            runners[form] = TorchRunner(path, device, 1)
        latency = measure_latency(runners, rows, budget_s, BATCH_SIZES)
    expected = runners["fp32"](example)
    for form, runner in runners.items():
        times = {size: latency[form][str(size)].p50_ms for size in BATCH_SIZES}
        fp32 = {size: latency["fp32"][str(size)].p50_ms for size in BATCH_SIZES}
        found[form] = {f"rows_per_s_{size}": round(1e3 * size / times[size], 1) for size in BATCH_SIZES}
        found[form] |= {f"vs_fp32_{size}": round(fp32[size] / times[size], 3) for size in BATCH_SIZES}
        found[form] |= {"largest_difference": float(np.abs(runner(example) - expected).max())}
    _show(type(model).__name__, found)
    return found


def _show(name: str, found: Mapping[str, dict[str, float] | str]) -> None:
    heads = " | ".join(f"{size} rows, rows/s (x fp32)" for size in BATCH_SIZES)
    print(f"{name}\n\n| form | {heads} | largest difference |\n| --- |{' --- |' * (len(BATCH_SIZES) + 1)}")
    for form, figures in found.items():
        if isinstance(figures, str):
            print(f"| {form} | {figures} |")
            continue
        cells = [f"{figures[f'rows_per_s_{size}']:,.0f} ({figures[f'vs_fp32_{size}']:.2f})" for size in BATCH_SIZES]
        print(f"| {form} | {' | '.join(cells)} | {figures['largest_difference']:.2g} |")
    print(flush=True)


if __name__ == "__main__":
    main()
