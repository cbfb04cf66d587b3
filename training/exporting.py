"""A package as a program of `torch.export`: made again from its weights, or copied where it holds one."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import yaml
from pydantic import TypeAdapter, ValidationError
from torch import nn

from training.compress.forms.export import ScoringModel
from training.compress.forms.torch_forms import make_torch_form
from training.compress.forms.tracing import as_tensors
from training.learning_config import EnsembleConfig
from training.model_config import ModelConfig
from training.models.build import build_model
from training.models.inputs import ModelInputs
from training.package.errors import PackageError
from training.package.exported import NotExported, golden_tensors, replay, whole_folder, write_about
from training.package.manifest import BASELINE, EXPERIMENT_FILE, WEIGHTS_FILE, Manifest, Variant
from training.package.read import Package, load_package
from training.package.runtime import open_runner
from training.package.runtimes.on_torch import TorchRunner
from training.stored_weights import num_outputs_of, stored_weights

MODEL_FILE = "model.pt2"
MIN_SPREAD = 1e-3  # standard deviations of the target, between the golden rows
_ONNX = "--format onnx exports what is there"


def export_pt2(
    package_folder: Path, output: Path, variant: str | None = None, *, code_path: str = "", force: bool = False
) -> Path:
    """Write a folder with `model.pt2`, `model.json`, `transforms.json` and `golden.json`, and return it.

    Args:
        package_folder: the package.
        output: folder to write, whole or not at all.
        variant: one that runs on torch, which is copied, or fp32, which is made again from the trained weights if it
            is none of torch's; None: the chosen one if it runs on torch, else fp32.
        code_path: folder of a class of your own, for a model that was built by import path.
        force: replace an earlier export.

    Raises:
        NotExported: there is no such variant, the package does not hold what is needed, or `output` is taken.
        NotMade: torch cannot export the model.
        ConfigError: a class of your own cannot be imported.
        PackageError: the package does not verify, or the program answers golden rows otherwise here.
        PackageNotWritten: the disk is full, or the folder cannot be written.
    """
    package = load_package(package_folder)
    chosen = _variant(package.manifest, variant)
    with whole_folder(output, package, force=force) as folder:
        target = folder / MODEL_FILE
        if chosen.runtime == "torch":
            shutil.copyfile(package_folder / chosen.file, target)
            runner = open_runner(folder, chosen.model_copy(update={"file": MODEL_FILE}))
        else:
            tensors = golden_tensors(package)
            make_torch_form("fp32", _scoring(package, chosen, tensors, code_path), tensors, target, "cpu")
            runner = TorchRunner(target, num_threads=torch.get_num_threads())
        write_about(folder, package, chosen, MODEL_FILE)
        replay(package, chosen, runner)
    return output


def _variant(manifest: Manifest, name: str | None) -> Variant:
    known = {other.name: other for other in manifest.variants if other.runtime == "torch" or other.name == BASELINE}
    for wanted in (name,) if name is not None else (manifest.chosen, BASELINE, *known):
        if wanted in known:
            return known[wanted]
    raise NotExported(
        f"{manifest.name} has no variant{f' {name!r}' if name else ''} that can be a torch program",
        f"there are: {', '.join(known)}" if known else "--format onnx exports the others",
    )


def _scoring(package: Package, variant: Variant, tensors: Mapping[str, np.ndarray], code_path: str) -> ScoringModel:
    manifest = package.manifest
    try:
        stored = stored_weights(package)
    except PackageError as error:
        raise NotExported(error.message, _ONNX) from error
    if stored is None:
        raise NotExported(f"{package.folder} has no {WEIGHTS_FILE}, so its model cannot be made again", _ONNX)
    config, ensemble = _configs(package)
    inputs = ModelInputs.of(package.transforms, num_outputs_of(manifest))
    model = build_model(config, inputs, 0, code_path, ensemble)
    try:
        model.load_state_dict(dict(stored.tensors))
    except RuntimeError as error:
        raise NotExported(
            f"{package.folder / WEIGHTS_FILE} does not fit the model that {EXPERIMENT_FILE} describes: "
            f"{str(error).splitlines()[-1].strip()}",
            "a class of your own may have changed since: --code names the folder of the one that was trained",
        ) from error
    model.eval()
    if manifest.task != "regression":
        return ScoringModel(model, manifest.task)
    if stored.target_mean is not None and stored.target_scale is not None:
        return ScoringModel(model, manifest.task, stored.target_mean, stored.target_scale)
    golden = np.array(package.golden.outputs[variant.name]["prediction"], dtype=np.float64)
    return ScoringModel(model, manifest.task, *_unit_of_golden(package, model, tensors, golden))


def _configs(package: Package) -> tuple[ModelConfig, EnsembleConfig | None]:
    """Model and ensemble alone: other settings may have been renamed since an older package was written."""
    path = package.folder / EXPERIMENT_FILE
    if EXPERIMENT_FILE not in package.manifest.sha256:
        raise NotExported(f"{package.folder} has no {EXPERIMENT_FILE}, so its model cannot be made again", _ONNX)
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        ensemble = settings.get("ensemble")
        model: ModelConfig = TypeAdapter(ModelConfig).validate_python(settings["model"])
        return model, EnsembleConfig.model_validate(ensemble) if ensemble else None
    except (ValidationError, KeyError, AttributeError) as error:
        raise NotExported(f"{path} describes no model that this version knows: {error}", _ONNX) from error


def _unit_of_golden(
    package: Package, model: nn.Module, tensors: Mapping[str, np.ndarray], golden_N: np.ndarray
) -> tuple[float, float]:
    """Mean and scale of the target, which older packages hold in the ONNX graph alone.

    The model's own numbers and the golden predictions lie on a line; that all of them do is checked afterwards, when
    the golden rows are replayed.
    """
    with torch.no_grad():
        raw_N = model(*as_tensors(tensors)).squeeze(-1).double().numpy()
    if np.ptp(raw_N) < MIN_SPREAD:
        raise NotExported(f"{package.folder}: all golden rows get the same number, so its unit cannot be told", _ONNX)
    scale, mean = np.polyfit(raw_N, golden_N, 1)
    return float(mean), float(scale)
