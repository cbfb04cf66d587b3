"""From summaries of the columns to transforms: of a table in memory here, of a stream in `training.features.streamed`.

Both take the same road: a summary of each column, merged over the parts of the data, is finished into a transform.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa

from training.data.config import DataConfig
from training.data.rare import rare_problem
from training.data.table import Schema
from training.errors import DataError
from training.features.dates import DateSummary
from training.features.images import MAX_IMAGES, PIXELS_NAME, ImageSummary
from training.features.numeric import NumericSummary
from training.features.texts import CategorySummary, TextSummary
from training.package.columns import date_column
from training.package.errors import UnreadableValue
from training.package.fitted import ByteTransform, Transforms
from training.package.images import Shape
from training.package.manifest import InputSpec
from training.package.values import arrow_texts, numeric_column

MAX_SCORED_BYTES = 4096  # of a text that a package scores: each takes a kilobyte of logits

ColumnSummary = NumericSummary | CategorySummary | DateSummary | TextSummary | ImageSummary
Fitted = tuple[Transforms, tuple[InputSpec, ...]]


@dataclass(frozen=True)
class Summary:
    """A summary of every column, by name."""

    columns: dict[str, Any]  # ColumnSummary; each is merged with one of its own kind

    @classmethod
    def of(
        cls, rows: pa.Table, schema: Schema, data: DataConfig, *, capacity: int | None, max_images: int = MAX_IMAGES
    ) -> Self:
        """Of a table, or of one block of a stream.

        Args:
            rows: training rows.
            schema: what their columns are.
            data: how they become model inputs.
            capacity: of the sketches that quantiles come from; None keeps every number.
            max_images: images that are looked at.
        """
        return cls(dict(_summaries(rows, schema, data, capacity, max_images)))

    def merge(self, other: Self) -> "Summary":
        """Both together."""
        return Summary({name: column.merge(other.columns[name]) for name, column in self.columns.items()})

    def finish(self, schema: Schema, data: DataConfig, hash_key_check: str = "") -> Fitted:
        """Transforms and input descriptions. Raises DataError where a column has nothing to fit on."""
        return _fitted(self.columns.items(), schema, data, hash_key_check)

    def require_known_categories(self, data: DataConfig) -> None:
        """Raise DataError for a column of which most rows would share the code of unknown values."""
        for name, column in self.columns.items():
            settings: Any = data.settings_of(name, "categorical")
            if isinstance(column, CategorySummary) and (problem := rare_problem(name, column.counts, settings)):
                raise DataError(*problem)


def fit_transforms(training_rows: pa.Table, schema: Schema, data: DataConfig, hash_key_check: str = "") -> Fitted:
    """Transforms and input descriptions, from the training part only, so that nothing leaks from the others.

    Args:
        training_rows: those of the fold at hand.
        schema: what their columns are.
        data: how they become model inputs.
        hash_key_check: `Pseudonymiser.key_check` of the key that columns of `data.pii` were hashed with.

    Raises:
        DataError: a column has nothing to fit on, or an image cannot be read.
    """
    if schema.task == "language_modelling":
        spec = InputSpec(name=schema.target, kind="text", datatype="BYTES")
        return Transforms(bytes=_byte_transform(schema, data)), (spec,)
    # Column by column: the numbers of one are let go before those of the next are read.
    summaries = _summaries(training_rows, schema, data, capacity=None, max_images=MAX_IMAGES)
    return _fitted(summaries, schema, data, hash_key_check)


def _byte_transform(schema: Schema, data: DataConfig) -> ByteTransform:
    length = data.sequence_length
    return ByteTransform(name=schema.target, length=length, max_windows=max(1, MAX_SCORED_BYTES // length))


def pixel_columns(schema: Schema, data: DataConfig) -> tuple[str, ...]:
    """The columns that are the pixels of one image, where there is no column of images. Raises DataError."""
    if data.image_shape is None or "image" in schema.features.values():
        return ()
    names, num_pixels = tuple(schema.features), data.image_shape[0] * data.image_shape[1] * data.image_shape[2]
    others = [name for name, kind in schema.features.items() if kind != "numeric"]
    if others or len(names) != num_pixels:
        of_others = f", of which these hold no numbers: {', '.join(others[:5])}" if others else ""
        raise DataError(
            f"data.image_shape {list(data.image_shape)} needs {num_pixels} numeric columns, the table has "
            f"{len(names)} feature columns{of_others}",
            "correct data.image_shape, or leave columns out with data.ignore",
        )
    return names


def _summaries(
    rows: pa.Table, schema: Schema, data: DataConfig, capacity: int | None, max_images: int
) -> Iterator[tuple[str, ColumnSummary]]:
    if pixels := pixel_columns(schema, data):
        yield PIXELS_NAME, ImageSummary.of_columns(rows, pixels)
        return
    for name in schema.features:
        yield name, _summary(rows, name, schema, data, capacity, max_images)


def _fitted(
    columns: Iterable[tuple[str, ColumnSummary]], schema: Schema, data: DataConfig, hash_key_check: str
) -> Fitted:
    found: dict[str, list[Any]] = {"numeric": [], "categorical": [], "date": [], "text": [], "image": []}
    specs: list[InputSpec] = []
    for name, column in columns:
        transform, spec = _finish(column, name, data)
        found[spec.kind].append(transform)
        specs.append(spec)
    hashed = _hashed(schema, data)
    transforms = Transforms(
        numeric=tuple(found["numeric"]), categorical=tuple(found["categorical"]), dates=tuple(found["date"]),
        texts=tuple(found["text"]), image=next(iter(found["image"]), None), missing_texts=_missing(found, data),
        hashed=hashed, hash_key_check=hash_key_check if hashed else "",
    )  # fmt: skip
    return transforms, tuple(specs)


def _summary(
    rows: pa.Table, name: str, schema: Schema, data: DataConfig, capacity: int | None, max_images: int
) -> ColumnSummary:
    column, kind = rows.column(name), schema.features[name]
    settings: Any = data.settings_of(name, kind)
    match kind:
        case "numeric":
            return NumericSummary.of(numeric_column(column), settings, capacity)
        case "categorical":
            return CategorySummary.of(arrow_texts(column), data.missing)
        case "text":
            return TextSummary.of(arrow_texts(column), settings, data.missing)
        case "image":
            return ImageSummary.of(name, column, _image_shape(data), max_images)
    spec = InputSpec(name=name, kind="date", datatype="BYTES", format=settings.format, missing=data.missing)
    try:
        return DateSummary.of(date_column(column, spec), settings, capacity)
    except UnreadableValue as error:
        raise DataError(
            f"{name}: training row {error.index} (the first is 0) {error.reason}",
            f"data.columns: {{{name}: {{kind: date, format: ...}}}} says how dates are written",
        ) from error


def _finish(column: ColumnSummary, name: str, data: DataConfig) -> tuple[Any, InputSpec]:
    match column:
        case ImageSummary():
            return column.finish(name, _image_shape(data))
        case NumericSummary():
            return column.finish(name, data.settings_of(name, "numeric"))  # type: ignore[arg-type]
        case CategorySummary():
            return column.finish(name, data.settings_of(name, "categorical"))  # type: ignore[arg-type]
        case TextSummary():
            return column.finish(name, data.settings_of(name, "text"))  # type: ignore[arg-type]
        case DateSummary():
            return column.finish(name, data.settings_of(name, "date"), data.missing)  # type: ignore[arg-type]


def _hashed(schema: Schema, data: DataConfig) -> tuple[str, ...]:
    """Features that were pseudonymised as they were read: also under their new names, and where they are joined on."""
    names = {name for name, use in data.pii.items() if use == "hash"}
    for source in (data, *data.join):
        names |= {new for old, new in source.rename.items() if old in names}
    for join in data.join:
        names |= {here for here, there in join.keys.items() if there in names}
    return tuple(name for name in schema.features if name in names)


def _missing(found: dict[str, list[Any]], data: DataConfig) -> tuple[str, ...]:
    """Images alone have no spelling of a missing value."""
    return data.missing if any(found[kind] for kind in ("numeric", "categorical", "date", "text")) else ()


def _image_shape(data: DataConfig) -> Shape:
    assert data.image_shape is not None, "infer_schema refuses images without it"
    return data.image_shape
