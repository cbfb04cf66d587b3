"""A package as a plain ONNX model with what it needs beside it: for any program that has ONNX Runtime."""

import json
from pathlib import Path

import onnx

from training.package.exported import NotExported, about, replay, whole_folder, write_about
from training.package.machine import this_machine
from training.package.manifest import BASELINE, Manifest, Variant
from training.package.read import load_package
from training.package.runtime import VariantRunner, why_not_here

MODEL_FILE = "model.onnx"


def export_onnx(package_folder: Path, output: Path, variant: str | None = None, *, force: bool = False) -> Path:
    """Write a folder with `model.onnx`, `model.json`, `transforms.json` and `golden.json`, and return it.

    The model carries what `model.json` says as metadata, too, under names that begin with `manta.`.

    Args:
        package_folder: the package.
        output: folder to write, whole or not at all.
        variant: one that runs on ONNX Runtime; None: the chosen one if it does, else fp32.
        force: replace an earlier export.

    Raises:
        NotExported: there is no such variant, or `output` is taken.
        PackageError: the package does not verify, or the model answers golden rows otherwise here.
        PackageNotWritten: the disk is full, or the folder cannot be written.
    """
    package = load_package(package_folder)
    chosen = _onnx_variant(package.manifest, variant)
    if reason := why_not_here(chosen, this_machine()):
        raise NotExported(f"{chosen.name} cannot run here, so it cannot be checked: {reason}", "export it elsewhere")
    facts = about(package, chosen, MODEL_FILE)
    with whole_folder(output, package, force=force) as folder:
        path = package_folder / chosen.file
        VariantRunner(path)  # of a file that is no model it says so
        model = onnx.load(path)
        props = {f"manta.{key}": value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
        onnx.helper.set_model_props(model, props)
        (folder / MODEL_FILE).write_bytes(model.SerializeToString())
        write_about(folder, package, chosen, MODEL_FILE)
        replay(package, chosen, VariantRunner(folder / MODEL_FILE))
    return output


def _onnx_variant(manifest: Manifest, name: str | None) -> Variant:
    known = {variant.name: variant for variant in manifest.variants if variant.runtime == "onnxruntime"}
    for wanted in (name,) if name is not None else (manifest.chosen, BASELINE, *known):
        if wanted in known:
            return known[wanted]
    raise NotExported(
        f"{manifest.name} has no ONNX variant{f' {name!r}' if name else ''}",
        f"it has: {', '.join(known)}" if known else "--format pt2 exports a torch program",
    )
