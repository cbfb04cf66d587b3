"""A package as a model of MLflow's pyfunc flavour, with the code that answers, so that Manta need not be installed."""

import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import serving
from serving.export.mlflow_loader import PACKAGE_FOLDER, SETTINGS_FILE
from serving.predictor import Predictor
from training.package import exported
from training.package.answers import numbers_name
from training.package.exported import NotExported, whole_folder
from training.package.images import encode_png
from training.package.manifest import InputSpec, Manifest
from training.package.read import Package
from training.package.replay import check_golden

LOADER = "serving.export.mlflow_loader"
# Of MLflow the part that loads models: the whole of it allows no new pyarrow, and needs much that does not answer.
NEEDED = ("mlflow-skinny", "numpy", "pandas", "pyarrow", "onnxruntime", "pydantic", "pillow", "cryptography")
OF_RUNTIME = {"onnxruntime": (), "openvino": ("openvino",), "torch": ("torch",)}
# The parts of Manta that answer; paths inside its two packages.
CODE = {
    "training": ("__init__.py", "package"),
    "serving": ("__init__.py", "errors.py", "predictor.py", "tensor_checks.py", "protocol", "export"),
}


def export_mlflow(package_folder: Path, output: Path, variant: str | None = None, *, force: bool = False) -> Path:
    """Write a folder that `mlflow.pyfunc.load_model` opens, and return it.

    Args:
        package_folder: the package.
        output: folder to write, whole or not at all.
        variant: that answers; None: whatever is picked on the machine that loads it.
        force: replace an earlier export.

    Raises:
        NotExported: MLflow is not installed, or `output` is taken.
        PackageError: the package does not verify, or the model answers golden rows otherwise here.
        PackageNotWritten: the disk is full, or the folder cannot be written.
    """
    pyfunc = _pyfunc()
    predictor = Predictor.load(package_folder, variant)
    frame = golden_frame(predictor.package)
    with whole_folder(output, predictor.package, force=force) as folder, tempfile.TemporaryDirectory() as scratch:
        data, code = Path(scratch) / "manta", Path(scratch) / "code"
        shutil.copytree(package_folder, data / PACKAGE_FOLDER)  # its signature, too; verified when it is loaded below
        (data / SETTINGS_FILE).write_text(json.dumps({"variant": variant}))
        pyfunc.save_model(
            str(folder), loader_module=LOADER, data_path=str(data), code_paths=_code(code),
            pip_requirements=[f"{name}=={version(name)}" for name in _needed(predictor)],
            signature=_signature(predictor.manifest), input_example=frame.head(1),
            metadata={"manta_model": predictor.manifest.name, "manta_variant": predictor.variant.name},
        )  # fmt: skip
        with _own_imports():
            answers = pyfunc.load_model(str(folder)).predict(frame)
        check_golden(predictor.package, predictor.variant, outputs_of_frame(answers, predictor.manifest))
    return output


def golden_frame(package: Package) -> pd.DataFrame:
    """The golden rows as a caller of MLflow would send them."""
    columns: dict[str, Any] = {}
    arrays = package.golden.arrays(package.manifest.inputs)
    for spec in package.manifest.inputs:
        columns |= _columns(arrays[spec.name], spec)
    return pd.DataFrame(columns)


def outputs_of_frame(answers: pd.DataFrame, manifest: Manifest) -> dict[str, np.ndarray]:
    """A frame of answers as outputs by name, as `check_golden` takes them."""
    name = numbers_name(manifest.task)
    if not manifest.labels:
        return {name: answers[name].to_numpy(np.float32)}
    numbers = answers[[f"probability_{label}" for label in manifest.labels]].to_numpy(np.float32)
    return {name: numbers} if "label" not in answers else {"label": answers["label"].to_numpy(object), name: numbers}


def _pyfunc() -> Any:
    # It reports its use over the network unless it is told not to.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of type hints of its own
            pyfunc = import_module("mlflow.pyfunc")
    except ImportError as error:
        raise NotExported("MLflow is not installed here", "pip install 'manta[mlflow]'") from error
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # after the import, which sets it, too
    return pyfunc


@contextmanager
def _own_imports() -> Iterator[None]:
    """MLflow puts a model's code before everything else, and that folder is about to get another name."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before


def _needed(predictor: Predictor) -> tuple[str, ...]:
    return (*NEEDED, *OF_RUNTIME[predictor.variant.runtime])


def _code(folder: Path) -> list[str]:
    """Copies, and of them only what answers: the whole of Manta would bring torch and Ray along."""
    sources = {"training": Path(exported.__file__).parents[1], "serving": Path(serving.__file__).parent}
    for module, paths in CODE.items():
        for path in paths:
            source, target = sources[module] / path, folder / module / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, target)
    return [str(folder / module) for module in CODE]


def _columns(values: np.ndarray, spec: InputSpec) -> dict[str, Any]:
    if spec.kind == "numeric":
        return {spec.name: values.astype(np.float64)}
    if spec.kind == "date":
        return {spec.name: values.astype("datetime64[ns]")}
    if spec.kind != "image":
        return {spec.name: pd.Series(values, dtype=object)}
    if spec.columns:
        return dict(zip(spec.columns, values.reshape(len(values), -1).T.astype(np.float64), strict=True))
    if spec.is_file:
        return {spec.name: [encode_png(image_CHW) for image_CHW in values]}
    return {spec.name: values.astype(np.float64).tolist()}


def _signature(manifest: Manifest) -> Any:
    """Inputs and answers in MLflow's types. It casts nothing that could lose digits: whole numbers come as doubles."""
    types = import_module("mlflow.types.schema")
    array, column, kinds = types.Array, types.ColSpec, types.DataType
    inputs = []
    for spec in manifest.inputs:
        of_kind = {"numeric": kinds.double, "date": kinds.datetime}
        kind = of_kind.get(spec.kind, kinds.string)
        if spec.kind == "image":
            pixels = array(array(array(kinds.double)))
            kind = kinds.double if spec.columns else kinds.binary if spec.is_file else pixels
        inputs += [column(kind, name) for name in spec.columns or (spec.name,)]
    said = {"classification": [column(kinds.string, "label")], "multilabel": [column(array(kinds.string), "labels")]}
    numbers = [f"probability_{label}" for label in manifest.labels] or [numbers_name(manifest.task)]
    outputs = [*said.get(manifest.task, []), *(column(kinds.float, name) for name in numbers)]
    return import_module("mlflow.models").ModelSignature(types.Schema(inputs), types.Schema(outputs))
