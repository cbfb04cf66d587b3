"""What people use today to make a model smaller, each as its own guide shows it, behind one call: tensors to scores."""

import copy
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

Tensors = Mapping[str, np.ndarray]
Peer = Callable[[Tensors], np.ndarray]
EAGER, COMPILED = "torch eager fp32", "torch.compile fp32"
CALIBRATION_BATCH = 32


class TorchPeer:
    """A torch module, eager or compiled."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, tensors: Tensors) -> np.ndarray:
        """Scores."""
        with torch.inference_mode():
            scores: np.ndarray = self.model(*(torch.from_numpy(values) for values in tensors.values())).float().numpy()
        return scores

    @property
    def num_bytes(self) -> int:
        """Of weights and buffers."""
        state = [*self.model.parameters(), *self.model.buffers()]
        return sum(_num_bytes(tensor) for tensor in state)


class OnnxPeer:
    """An ONNX file, with ONNX Runtime's defaults but for the threads."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.num_bytes = path.stat().st_size
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, tensors: Tensors) -> np.ndarray:
        """Scores."""
        scores: np.ndarray = self._session.run(None, dict(tensors))[0]
        return scores


def peers_of(scoring: nn.Module, fp32: Path, calibration: Tensors, folder: Path) -> tuple[dict[str, Peer], list[str]]:
    """Peers by name, and what could not be made.

    Args:
        scoring: the model, giving scores.
        fp32: its ONNX file.
        calibration: training rows.
        folder: for files.
    """
    makers: dict[str, Callable[[], Peer]] = {
        EAGER: lambda: TorchPeer(scoring),
        COMPILED: lambda: TorchPeer(torch.compile(copy.deepcopy(scoring), dynamic=True)),  # type: ignore[arg-type]
        "torchao int8 dynamic": lambda: TorchPeer(_torchao(scoring, "Int8DynamicActivationInt8WeightConfig")),
        "torchao int8 weights": lambda: TorchPeer(_torchao(scoring, "Int8WeightOnlyConfig")),
        "onnxruntime quantize_dynamic": lambda: OnnxPeer(_dynamic(fp32, folder)),
        "onnxruntime quantize_static": lambda: OnnxPeer(_static(fp32, folder, calibration)),
    }
    made: dict[str, Peer] = {}
    failed: list[str] = []
    for name, make in makers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                peer = make()
                peer({tensor: values[:2] for tensor, values in calibration.items()})
                made[name] = peer
            except Exception as error:  # a peer that fails is part of the comparison
                failed.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0]}")
    return made, failed


def _torchao(scoring: nn.Module, config: str) -> nn.Module:
    from torchao import quantization  # noqa: PLC0415  # says much on stderr as it is loaded

    model = copy.deepcopy(scoring)
    quantization.quantize_(model, getattr(quantization, config)())
    return model


def _dynamic(fp32: Path, folder: Path) -> Path:
    target = folder / "plain_dynamic.onnx"
    logging.disable(logging.WARNING)
    quantize_dynamic(fp32, target)
    logging.disable(logging.NOTSET)
    return target


def _static(fp32: Path, folder: Path, calibration: Tensors) -> Path:
    prepared, target = folder / "plain_prepared.onnx", folder / "plain_static.onnx"
    logging.disable(logging.WARNING)
    quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
    quantize_static(prepared, target, _Batches(calibration))
    logging.disable(logging.NOTSET)
    onnx.checker.check_model(str(target))
    return target


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, tensors: Tensors) -> None:
        num_rows = len(next(iter(tensors.values())))
        starts = range(0, num_rows - CALIBRATION_BATCH + 1, CALIBRATION_BATCH)
        self._batches = iter(
            [{name: values[start : start + CALIBRATION_BATCH] for name, values in tensors.items()} for start in starts]
        )

    def get_next(self) -> Tensors | None:
        """One batch; None after the last."""
        return next(self._batches, None)


def _num_bytes(tensor: torch.Tensor) -> int:
    names = getattr(tensor, "tensor_data_names", None)  # of torchao's tensors, which hold several
    inner = [getattr(tensor, name) for name in names] if names else []
    return sum(each.numel() * each.element_size() for each in inner) or tensor.numel() * tensor.element_size()
