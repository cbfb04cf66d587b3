"""Running one variant: tensors in, scores out."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from training.package.errors import PackageError

TENSOR_NAMES = frozenset({"image", "numeric", "categorical", "tokens"})
OUTPUT_NAME = "scores"


class VariantRunner:
    """One ONNX variant, loaded. Calls are safe from several threads."""

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
        outputs = [node.name for node in self._session.get_outputs()]
        if not set(self.input_names) <= TENSOR_NAMES or outputs != [OUTPUT_NAME]:
            raise PackageError(
                f"{path_to_onnx} takes {', '.join(self.input_names)} and gives {', '.join(outputs)}; "
                f"a variant takes some of {', '.join(sorted(TENSOR_NAMES))} and gives {OUTPUT_NAME}"
            )

    def __call__(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Probabilities (N, K) float32, or predictions (N,) float32 for a regression.

        Args:
            tensors: those of the model, as `FeatureEncoder` gives them.
        """
        scores: np.ndarray = self._session.run((OUTPUT_NAME,), {name: tensors[name] for name in self.input_names})[0]
        return scores
