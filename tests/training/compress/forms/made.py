"""Small models of several kinds, exported, for forms to be made of."""

import atexit
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch

from tests.training.models.kinds import KINDS, TABLE, TEXT, WORDS, rows_of
from training.compress.forms.export import ScoringModel, export_onnx
from training.model_config import MlpConfig, ModelConfig, TransformerConfig
from training.models import ModelInputs
from training.models.build import build_model
from training.package.manifest import Task
from training.package.runtime import VariantRunner

MODELS: dict[str, tuple[ModelConfig, ModelInputs]] = {
    "mlp": (MlpConfig(hidden=(160, 160)), TABLE),
    "resnet": KINDS["resnet"],
    "transformer": (TransformerConfig(kind="transformer", dim=128, layers=1, pool="cls"), TEXT),
    "language": (TransformerConfig(kind="transformer", dim=128, layers=1), WORDS),
}


@dataclass(frozen=True)
class Made:
    """An fp32 model, its file, and rows with what it answers to them."""

    scoring: ScoringModel
    fp32: Path
    rows: dict[str, np.ndarray]
    scores: np.ndarray


@cache
def made(kind: str) -> Made:
    """One of `MODELS`, whose weights are far enough from 0 that its answers differ between rows."""
    config, inputs = MODELS[kind]
    model = build_model(config, inputs, seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape, generator=generator))
    task: Task = "language_modelling" if kind == "language" else "classification"
    rows = rows_of(inputs, 40)
    if kind == "language":
        rows = {"tokens": np.random.default_rng(0).integers(0, inputs.vocab_size, (40, 2, inputs.sequence_length + 1))}
    folder = mkdtemp()
    atexit.register(shutil.rmtree, folder)
    path = Path(folder) / f"{kind}.onnx"
    export_onnx(model, few(rows, 8), task=task, target_mean=0.0, target_scale=1.0, path=path)
    return Made(ScoringModel(model, task), path, rows, VariantRunner(path)(rows))


def few(rows: dict[str, np.ndarray], num: int) -> dict[str, np.ndarray]:
    """The first rows."""
    return {name: values[:num] for name, values in rows.items()}
