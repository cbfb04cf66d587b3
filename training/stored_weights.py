"""The trained weights inside a package: what a model is made again of."""

from collections.abc import Mapping
from dataclasses import dataclass

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from training.package.byte_tokens import VOCAB_SIZE
from training.package.errors import PackageError
from training.package.manifest import WEIGHTS_FILE, Manifest
from training.package.read import Package

MEAN, SCALE = "target_mean", "target_scale"  # in the file's metadata


@dataclass(frozen=True)
class StoredWeights:
    """Weights by name, and in which scale a regression's model answers; None where an older package does not say."""

    tensors: Mapping[str, Tensor]
    target_mean: float | None = None
    target_scale: float | None = None


def stored_weights(package: Package) -> StoredWeights | None:
    """Those of a package; None where it has none. Raises PackageError where the file is no safetensors file."""
    if WEIGHTS_FILE not in package.manifest.sha256:
        return None
    path = package.folder / WEIGHTS_FILE
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
            notes = file.metadata() or {}
    except SafetensorError as error:
        raise PackageError(f"{path} cannot be read: {error}", "write the package again") from error
    mean, scale = (float(notes[name]) if name in notes else None for name in (MEAN, SCALE))
    return StoredWeights(tensors, mean, scale)


def as_safetensors(weights: Mapping[str, Tensor], target_mean: float, target_scale: float) -> bytes:
    """The file's content."""
    # Cloned: safetensors refuses tensors that share memory, as tied weights do.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()}
    return save_tensors(tensors, metadata={MEAN: repr(target_mean), SCALE: repr(target_scale)})


def num_outputs_of(manifest: Manifest) -> int:
    """Logits of the model inside a package: one a class or label, one for a regression, one a token."""
    return VOCAB_SIZE if manifest.task == "language_modelling" else len(manifest.labels) or 1
