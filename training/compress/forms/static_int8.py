"""Static int8 for ONNX: weights and activations in 8 bits, activations by scales that training rows were seen to need.

What onnxruntime's `quantize_static` makes, with choices that were measured on one x86 CPU with VNNI: weights have 7
bits (no slower there, and where VNNI is missing sums of 8 bits overflow); activations are unsigned (signed ones make
convolutions 3 times slower); ranges are the least and the greatest value (percentiles of 99.999 % were no closer and
took up to 3 times as long to find); products of two activations, as attention has them, stay fp32 (faster and as
close). Scales are constants, so that a row's answer does not depend on its company.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from training.compress.errors import NotMade
from training.compress.forms.branches import has_branches, sort_nodes
from training.compress.forms.files import one_line, save_onnx
from training.compress.forms.products import load_folded
from training.compress.quiet import quiet

CALIBRATION_BATCH = 32
_LAYERS = ("Conv", "MatMul", "Gemm")
# Between two layers these pass 8 bits on; around other operators each change of format costs more than it saves.
_BETWEEN = (
    "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Flatten", "Reshape", "Transpose", "Squeeze",
    "Unsqueeze",
)  # fmt: skip


def static_int8(source: Path, target: Path, calibration: Mapping[str, np.ndarray]) -> None:
    """Write the static int8 form of an ONNX file.

    Args:
        source: an fp32 file.
        target: file to write.
        calibration: rows of the training data by tensor name, as `FeatureEncoder` gives them; some hundreds.

    Raises:
        NotMade: the rows hold values that are not numbers, no layer can be quantized, or ONNX Runtime fails.
    """
    _check_rows(calibration)
    model = load_folded(source)
    constants = {tensor.name for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in _LAYERS]
    of_two_activations = [node.name for node in layers if not constants & set(node.input[1:2])]
    if len(of_two_activations) == len(layers):
        raise NotMade("it has no convolution and no matrix product with constant weights")
    _save_quantized(model, target, calibration, of_two_activations)


def _check_rows(calibration: Mapping[str, np.ndarray]) -> None:
    if not calibration or not all(len(values) for values in calibration.values()):
        raise NotMade("there are no training rows to range its activations by")
    for name, values in calibration.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bad_N = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
            raise NotMade(
                f"{name} of training row {int(bad_N.argmax())} is NaN or infinite, as of {int(bad_N.sum())} of "
                f"{len(values)} rows, and activations cannot be ranged by it"
            )


def _save_quantized(
    model: onnx.ModelProto, target: Path, calibration: Mapping[str, np.ndarray], exclude: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        quantized = Path(scratch) / "int8.onnx"
        try:
            with quiet():
                quantize_static(
                    model,
                    quantized,
                    _Rows(calibration),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=[*_LAYERS, *_BETWEEN],
                    nodes_to_exclude=exclude,
                    per_channel=True,
                    reduce_range=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    # It would drop a Relu whose output only 8 bits follow, not seeing that a branch takes it too.
                    extra_options={"QDQKeepRemovableActivations": has_branches(model.graph)},
                )
        except Exception as error:  # ValueError, and onnxruntime's own classes, which share no public base
            raise NotMade(f"onnxruntime.quantization fails: {one_line(error)}") from error
        found = onnx.load(quantized)
        sort_nodes(found.graph)
        save_onnx(found, target)


class _Rows(CalibrationDataReader):
    """Calibration rows in batches: in one batch the activations of all of them would have to fit into memory."""

    def __init__(self, calibration: Mapping[str, np.ndarray]) -> None:
        self._batches = self._in_batches(calibration)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, or None behind the last."""
        return next(self._batches, None)

    @staticmethod
    def _in_batches(calibration: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(next(iter(calibration.values()))), CALIBRATION_BATCH):
            yield {name: values[start : start + CALIBRATION_BATCH] for name, values in calibration.items()}
