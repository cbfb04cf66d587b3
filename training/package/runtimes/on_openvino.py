"""OpenVINO on the CPU, an extra: faster than ONNX Runtime for some models, and the only one with bf16 there."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from training.package.errors import PackageError
from training.package.runtimes.runner import OUTPUT_NAME, TENSOR_NAMES, check_names, first_line


class OpenVinoRunner:
    """One ONNX variant in OpenVINO, see `Runner`."""

    def __init__(self, path_to_onnx: Path, num_threads: int = 1, *, bf16: bool = False) -> None:
        settings = {
            "INFERENCE_NUM_THREADS": num_threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            # Where a CPU has bf16, OpenVINO takes it unasked, and an fp32 variant would not answer as it was measured.
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            # Replicas are processes of their own: pinned by OpenVINO, all of them would sit on the same core.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            self._model = ov.Core().compile_model(str(path_to_onnx), "CPU", settings)
        except Exception as error:  # RuntimeError mostly; its frontends raise classes of their own
            raise PackageError(f"OpenVINO cannot load {path_to_onnx}: {_reason(error)}") from error
        self.input_names = tuple(_name(port, TENSOR_NAMES) for port in self._model.inputs)
        outputs = [_name(port, frozenset({OUTPUT_NAME})) for port in self._model.outputs]
        check_names(path_to_onnx, self.input_names, outputs)
        self._path, self._of_thread = path_to_onnx, threading.local()

    def __call__(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """Scores, see `Runner`. Contiguous arrays are read where they lie."""
        inputs = {name: np.ascontiguousarray(tensors[name]) for name in self.input_names}
        try:
            answers = self._request().infer(inputs, share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            raise PackageError(f"OpenVINO cannot run {self._path}: {_reason(error)}") from error
        return np.array(answers[0], dtype=np.float32)  # copied: the request writes its next answers to the same place

    def _request(self) -> Any:
        """This thread's own request: one that is at work refuses a second call."""
        if not hasattr(self._of_thread, "request"):
            self._of_thread.request = self._model.create_infer_request()
        return self._of_thread.request


def _name(port: Any, known: frozenset[str]) -> str:
    """The known one of a port's names: what is left of an operator that did nothing, x + 0, is a name more."""
    return min(known & port.names, default=port.get_any_name())


def _reason(error: BaseException) -> str:
    """The line that says it: those before name places in OpenVINO's own source."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return telling[-1] if telling else first_line(error)
