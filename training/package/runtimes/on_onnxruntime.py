"""ONNX Runtime, which every installation has."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from training.package.errors import PackageError
from training.package.runtimes.runner import OUTPUT_NAME, check_names, first_line


class VariantRunner:
    """One ONNX variant in ONNX Runtime on the CPU, see `Runner`. Contiguous arrays are read where they lie."""

    def __init__(self, path_to_onnx: Path, num_threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        # Idle pool threads would otherwise spin, and take the CPU from the replica that parses the next request.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only: its warnings go to stderr in the middle of other output
        try:
            self._session = ort.InferenceSession(str(path_to_onnx), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes share no public base
            raise PackageError(f"{path_to_onnx} is not a model that onnxruntime can load: {error}") from error
        self.input_names = tuple(node.name for node in self._session.get_inputs())
        self._path = path_to_onnx
        check_names(path_to_onnx, self.input_names, [node.name for node in self._session.get_outputs()])

    def __call__(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Scores, see `Runner`."""
        inputs = {name: tensors[name] for name in self.input_names}  # it copies what is not contiguous by itself
        try:
            scores: np.ndarray = self._session.run((OUTPUT_NAME,), inputs)[0]
        except Exception as error:  # onnxruntime's own classes share no public base
            raise PackageError(f"onnxruntime cannot run {self._path}: {first_line(error)}") from error
        return scores
