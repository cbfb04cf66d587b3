"""Number formats by name."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx

from training.compress.errors import NotMade
from training.compress.forms.dynamic_int8 import quantize_int8
from training.compress.forms.files import written
from training.compress.forms.half import fp16
from training.compress.forms.int4 import int4_weights
from training.compress.forms.products import no_large_product
from training.compress.forms.static_int8 import static_int8
from training.compress.forms.torch_forms import make_torch_form
from training.package.runtimes.on_onnxruntime import VariantRunner

__all__ = ["FORMS", "make_onnx_form", "make_torch_form"]

TRIED_ROWS = 32  # answered once by each new form

Maker = Callable[[Path, Path, Mapping[str, np.ndarray]], None]


def make_onnx_form(form: str, source: Path, target: Path, calibration: Mapping[str, np.ndarray]) -> None:
    """Write one form of an fp32 ONNX file.

    Args:
        form: a name of `FORMS`; bf16 has no file of its own, see `training.package.runtime.is_bf16`.
        source: the fp32 file.
        target: file to write, whole or not at all.
        calibration: rows of the training data by tensor name.

    Raises:
        NotMade: the form cannot be made of this model, with the reason.
        OSError: the file cannot be written; `target` is as it was.
    """
    with written(target) as path:
        FORMS[form](source, path, calibration)
        _check_answers(path, calibration)


def _int8(source: Path, target: Path) -> None:
    if not quantize_int8(source, target):
        raise no_large_product(onnx.load(source).graph)


FORMS: dict[str, Maker] = {
    "int8": lambda source, target, _: _int8(source, target),
    "int8_static": static_int8,
    "int4": lambda source, target, _: int4_weights(source, target),
    "fp16": lambda source, target, _: fp16(source, target),
}


def _check_answers(path: Path, calibration: Mapping[str, np.ndarray]) -> None:
    """An overflow in the middle of the model shows here, before anything is measured."""
    scores = VariantRunner(path)({name: values[:TRIED_ROWS] for name, values in calibration.items()})
    if not np.isfinite(scores).all():
        raise NotMade(f"it answers {np.count_nonzero(~np.isfinite(scores))} of {scores.size} scores with no number")
