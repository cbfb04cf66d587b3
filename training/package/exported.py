"""A folder for elsewhere: one model file, what prepares its inputs, and golden rows that show that it is right."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from training.package.answers import outputs_of
from training.package.digest import sha256_of
from training.package.errors import PackageError, PackageNotWritten, UserError
from training.package.manifest import GOLDEN_FILE, MANIFEST_FILE, TRANSFORMS_FILE, Variant
from training.package.read import Package
from training.package.replay import check_golden
from training.package.swap import partial_prefix, put_in_place
from training.package.tensor_specs import tensor_specs_of
from training.package.transforms import FeatureEncoder

ABOUT_FILE = "model.json"
MARKS = (ABOUT_FILE, "MLmodel")  # a folder with one of them is an export, which --force may replace
Score = Callable[[Mapping[str, np.ndarray]], np.ndarray]


class NotExported(UserError):
    """A package that cannot be brought into another form, or a folder that is not to be overwritten."""


@contextmanager
def whole_folder(output: Path, package: Package, *, force: bool) -> Iterator[Path]:
    """A folder to fill, which becomes `output` when the block ends well; on an error nothing of it stays.

    Raises:
        NotExported: there is something already, and it may not be replaced.
        PackageNotWritten: the disk is full, or the folder cannot be written.
    """
    output = output.resolve()
    if output.is_relative_to(package.folder.resolve()):
        raise NotExported(f"{output} lies inside the package, which would be altered by it", "give a folder elsewhere")
    _require_free(output, force)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=partial_prefix(output), dir=output.parent))
        try:
            temporary.chmod(0o755)
            yield temporary
            put_in_place(temporary, output)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise PackageNotWritten.of(output, error) from error


def write_about(folder: Path, package: Package, variant: Variant, file: str) -> None:
    """What stands beside the model file: `model.json`, `transforms.json`, and `golden.json` with its answers alone."""
    golden = package.golden.model_copy(update={"outputs": {variant.name: package.golden.outputs.get(variant.name, {})}})
    (folder / ABOUT_FILE).write_text(json.dumps(about(package, variant, file), indent=2, ensure_ascii=False) + "\n")
    (folder / GOLDEN_FILE).write_text(golden.model_dump_json())
    shutil.copyfile(package.folder / TRANSFORMS_FILE, folder / TRANSFORMS_FILE)


def about(package: Package, variant: Variant, file: str) -> dict[str, Any]:
    """What a program elsewhere must know of the model file, as JSON has it."""
    manifest = package.manifest
    dumped = manifest.model_dump(mode="json", include={"name", "task", "labels", "threshold", "inputs", "outputs"})
    return {
        "file": file,
        **dumped,
        "tensors": {name: asdict(spec) for name, spec in tensor_specs_of(package.transforms).items()},
        "variant": variant.name,
        "scores": variant.metrics,
        "tolerance": variant.tolerance,
        "transforms_sha256": manifest.sha256[TRANSFORMS_FILE],
        "manifest_sha256": sha256_of(package.folder / MANIFEST_FILE),
    }


def replay(package: Package, variant: Variant, score: Score) -> None:
    """Raise PackageError where a model answers golden rows otherwise, all of them at once or the first alone.

    Args:
        package: with the golden rows.
        variant: whose answers they are compared with.
        score: the exported model, opened again: tensors by name to scores, as a variant gives them.
    """
    manifest, tensors = package.manifest, golden_tensors(package)
    scores = score(tensors)
    check_golden(package, variant, outputs_of(manifest.task, manifest.labels, scores, manifest.threshold))
    alone = score({name: values[:1] for name, values in tensors.items()})
    if not np.abs(alone[0] - scores[0]).max() <= variant.tolerance:  # also true where it is NaN
        raise PackageError(f"{package.folder}: the exported model answers one row otherwise than several")


def golden_tensors(package: Package) -> dict[str, np.ndarray]:
    """The golden rows as the model takes them."""
    if package.golden.num_rows == 0:
        raise PackageError(f"{package.folder} has no golden rows, so no export of it can be checked")
    return FeatureEncoder(package.transforms)(package.golden.arrays(package.manifest.inputs))


def _require_free(output: Path, force: bool) -> None:
    if not output.exists():
        return
    if not output.is_dir():
        raise NotExported(f"{output} is a file, and an export is a folder", "give another path")
    if not any(output.iterdir()):
        return
    if not force:
        raise NotExported(f"{output} is there already", "--force replaces it, or give another folder")
    if not any((output / mark).is_file() for mark in MARKS):
        raise NotExported(f"{output} holds other things than an export, so it is not replaced", "give another folder")
