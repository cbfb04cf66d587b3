"""A package on its way to other machines: its files as bytes, unpacked and verified where it is used."""

import tempfile
from pathlib import Path

from serving.predictor import Predictor
from training.package.read import load_package


def packed(package: Path) -> dict[str, bytes]:
    """The files of a package by their paths in it. Raises PackageError where it does not verify."""
    load_package(package)
    return {path.relative_to(package).as_posix(): path.read_bytes() for path in package.rglob("*") if not path.is_dir()}


def unpacked_predictor(files: dict[str, bytes], variant: str | None, num_threads: int) -> Predictor:
    """The package's predictor. Its files are gone again when it is loaded: a worker may be killed at any time."""
    with tempfile.TemporaryDirectory(prefix="manta-package-") as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return Predictor.load(Path(folder), variant, num_threads)
