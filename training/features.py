"""Fit feature transforms on training rows. What applies them lives in `training.package.transforms`."""

import numpy as np
import pyarrow as pa

from training.data.table import Schema, as_float32
from training.errors import DataError
from training.package.manifest import InputSpec
from training.package.transforms import CategoricalTransform, ImageTransform, NumericTransform, Transforms, text_column

MAX_VOCABULARY = 10_000  # rarer texts share the "unknown" code, so that an id column cannot make a huge embedding


def fit_transforms(
    training_rows: pa.Table, schema: Schema, image_shape: tuple[int, int, int] | None, missing: tuple[str, ...]
) -> tuple[Transforms, tuple[InputSpec, ...]]:
    """Transforms and input descriptions, from the training part only, so that nothing leaks from the others."""
    if image_shape is not None:
        return _fit_image(training_rows, schema, image_shape)
    numeric: list[NumericTransform] = []
    categorical: list[CategoricalTransform] = []
    specs: list[InputSpec] = []
    for name, kind in schema.features.items():
        if kind == "numeric":
            transform, spec = _fit_numeric(name, as_float32(training_rows.column(name)))
            numeric.append(transform)
        else:
            vocabulary = _vocabulary(text_column(training_rows, name))
            categorical.append(CategoricalTransform(name=name, vocabulary=vocabulary))
            spec = InputSpec(name=name, kind="categorical", datatype="BYTES", categories=vocabulary[:100])
        specs.append(spec)
    return Transforms(numeric=tuple(numeric), categorical=tuple(categorical), missing_texts=missing), tuple(specs)


def _fit_numeric(name: str, values_N: np.ndarray) -> tuple[NumericTransform, InputSpec]:
    known = values_N[~np.isnan(values_N)].astype(np.float64)
    if not len(known):
        raise DataError(
            f"{name}: every value in the training part is missing", f"data.ignore: [{name}] leaves the column out"
        )
    fill = float(np.median(known))
    filled = np.where(np.isnan(values_N), fill, values_N)
    spread = float(filled.std())
    transform = NumericTransform(
        name=name, fill=fill, mean=float(filled.mean()), scale=spread if spread > 1e-12 else 1.0
    )
    spec = InputSpec(name=name, kind="numeric", datatype="FP32", minimum=float(known.min()), maximum=float(known.max()))
    return transform, spec


def _vocabulary(values_N: np.ndarray) -> tuple[str, ...]:
    texts, counts = np.unique(
        np.array([value for value in values_N if value is not None], dtype=str), return_counts=True
    )
    order = np.lexsort((texts, -counts))  # by falling count, then by name, so that equal data gives equal codes
    return tuple(str(texts[i]) for i in order[:MAX_VOCABULARY])


def _fit_image(
    training_rows: pa.Table, schema: Schema, shape: tuple[int, int, int]
) -> tuple[Transforms, tuple[InputSpec, ...]]:
    names = tuple(schema.features)
    num_pixels = int(np.prod(shape))
    texts = [name for name, kind in schema.features.items() if kind != "numeric"]
    if texts or len(names) != num_pixels:
        of_text = f", of which these hold text: {', '.join(texts[:5])}" if texts else ""
        raise DataError(
            f"data.image_shape {list(shape)} needs {num_pixels} numeric columns, the table has {len(names)} feature "
            f"columns{of_text}",
            "correct data.image_shape, or leave columns out with data.ignore",
        )
    pixels = np.stack([as_float32(training_rows.column(name)) for name in names])
    if np.isnan(pixels).any():
        raise DataError(
            "an image has missing pixels", "remove these rows, or read the columns without data.image_shape"
        )
    image = ImageTransform(name="image", shape=shape, mean=float(pixels.mean()), scale=float(pixels.std()) or 1.0)
    spec = InputSpec(
        name="image", kind="image", datatype="FP32", shape=shape, columns=names,
        minimum=float(pixels.min()), maximum=float(pixels.max()),
    )  # fmt: skip
    return Transforms(image=image), (spec,)
