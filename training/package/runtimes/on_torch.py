"""torch, for GPUs: programs that `torch.export` wrote. The only file here that imports torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.export.pt2_archive import PT2ArchiveReader
from torch.export.pt2_archive._package import load_pt2

from training.package.errors import PackageError
from training.package.runtimes.program import Program, check_program
from training.package.runtimes.runner import OUTPUT_NAME, check_names, first_line

# cuBLAS multiplies int8 matrices of more than 16 rows only.
MIN_INT8_ROWS = 17


class TorchRunner:
    """One `.pt2` variant, see `Runner`. Compiled on a GPU: the first call of each takes tens of seconds there."""

    def __init__(self, path_to_pt2: Path, device: Literal["cpu", "cuda"] = "cpu", num_threads: int = 1) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise PackageError(
                f"{path_to_pt2} runs on a GPU, and torch {torch.__version__} finds none",
                "install a CUDA build of torch, and see whether `nvidia-smi` shows the GPU",
            )
        if device == "cpu":
            torch.set_num_threads(num_threads)  # of the whole process
        self._path, self._device = path_to_pt2, torch.device(device)
        program = _checked(path_to_pt2)
        self.input_names = program.input_names
        self._least_rows = MIN_INT8_ROWS if device == "cuda" and program.multiplies_int8 else 1
        module = _load(path_to_pt2).to(self._device)
        self._run = torch.compile(module, dynamic=True) if device == "cuda" else module

    def __call__(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Scores, see `Runner`."""
        num_rows = len(tensors[self.input_names[0]])
        try:
            with torch.inference_mode():
                scores: Tensor = self._run(*(self._tensor(tensors[name]) for name in self.input_names))
                return np.array(scores[:num_rows].float().cpu().numpy())
        except RuntimeError as error:
            raise PackageError(f"torch cannot run {self._path}: {first_line(error)}") from error

    def _tensor(self, values: np.ndarray) -> Tensor:
        if len(values) < self._least_rows:
            values = np.resize(values, (self._least_rows, *values.shape[1:]))
        # torch warns of memory that it could write to and must not, as that of Arrow is.
        values = np.require(values, requirements=["C", "W"])
        return torch.from_numpy(values).to(self._device)


def _checked(path: Path) -> Program:
    """What the archive holds, seen through the reader that torch loads it with."""
    try:
        archive = PT2ArchiveReader(str(path))
        names = archive.get_file_names()
    except (RuntimeError, AssertionError) as error:
        raise PackageError(f"{path} is not an archive that torch can read: {first_line(error)}") from error
    program = check_program(path, names, archive.read_bytes)
    check_names(path, program.input_names, [OUTPUT_NAME])  # a program's single output has no name of its own
    if program.needs_torchao:
        try:
            import torchao  # noqa: F401, PLC0415  # registers its operators; an extra, and seconds to load
        except ImportError as error:
            raise PackageError(f"{path} needs torchao", "pip install 'manta[gpu]'") from error
    return program


def _load(path: Path) -> torch.nn.Module:
    try:
        # Not `torch.export.load`: what it falls back to, a format of older versions, is pickled.
        return load_pt2(str(path)).exported_programs["model"].module()
    except Exception as error:  # whatever a file brings about that is not the program it says it is
        raise PackageError(f"{path} is not a program that torch can load: {first_line(error)}") from error
