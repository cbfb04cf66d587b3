"""What a person writes of single columns: kinds, and how each becomes model input. As light as `training.config`."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from training.package.shapes import StrictModel

ColumnKind = Literal["numeric", "categorical", "date", "text", "image"]
DatePart = Literal["year", "month", "day", "weekday", "day_of_year", "hour", "minute", "timestamp"]
Share = Annotated[float, Field(ge=0, le=1)]


class NumericConfig(StrictModel):
    """How a numeric column becomes model input."""

    scale: Literal["standard", "robust", "quantile", "none"] = Field(
        default="standard",
        description="standard: mean 0, deviation 1; robust: median and quartiles; quantile: its rank among the "
        "training values, as a normal deviate; none: as it is",
    )
    log: bool = Field(default=False, description="take sign(x) * log(1 + |x|) first, for amounts over many magnitudes")
    clip: tuple[Share, Share] | None = Field(
        default=None, description="quantiles of the training values beyond which a value counts as them: [0.01, 0.99]"
    )
    fill: Literal["median", "mean"] | float = Field(
        default="median", description="what a missing value becomes: median, mean, or a number"
    )
    indicator: bool = Field(default=False, description="add an input that is 1 where the value was missing")

    @field_validator("clip")
    @classmethod
    def _clip_is_ordered(cls, clip: tuple[float, float] | None) -> tuple[float, float] | None:
        if clip is not None and not clip[0] < clip[1]:
            raise ValueError(f"clip {list(clip)} is empty; the first share must be below the second")
        return clip


class CategoricalConfig(StrictModel):
    """How a column of categories becomes model input."""

    encode: Literal["embedding", "one_hot"] = Field(default="embedding", description="codes to embed, or 0/1 inputs")
    min_count: int = Field(default=1, ge=1, description="rarer values of the training rows share the code of unknowns")
    max_categories: int = Field(
        default=10_000, ge=1, description="the most frequent values get codes of their own, the others share one"
    )
    fill: str | None = Field(default=None, description="what a missing value counts as; null: a code of its own")


class DateConfig(StrictModel):
    """How a column of dates or times becomes model input."""

    format: str | None = Field(
        default=None, description="how texts are read, as in %d.%m.%Y; null: ISO 8601 only, and real date columns"
    )
    parts: tuple[DatePart, ...] = Field(
        default=("year", "month", "weekday", "hour"), min_length=1, description="numbers taken out of a date"
    )
    cyclic: bool = Field(
        default=True, description="parts that repeat enter as sine and cosine, so December meets January"
    )


class TextConfig(StrictModel):
    """How a column of free text becomes model input: token ids, padded to one length."""

    tokens: Literal["hashing", "vocabulary"] = Field(
        default="hashing", description="hashing: a fixed number of buckets; vocabulary: the most frequent tokens"
    )
    num_tokens: int = Field(default=4096, ge=8, description="buckets, or tokens in the vocabulary")
    max_tokens: int = Field(default=64, ge=1, description="tokens of a text that are read; the rest is cut")


class NumericColumn(NumericConfig):
    """A numeric column with settings of its own."""

    kind: Literal["numeric"] = Field(description="numbers")


class CategoricalColumn(CategoricalConfig):
    """A column of categories with settings of its own."""

    kind: Literal["categorical"] = Field(description="categories")


class DateColumn(DateConfig):
    """A column of dates with settings of its own."""

    kind: Literal["date"] = Field(description="dates or times")


class TextColumn(TextConfig):
    """A column of free text with settings of its own."""

    kind: Literal["text"] = Field(description="free text")


class ImageColumn(StrictModel):
    """A column of images: encoded files (PNG, JPEG ...), or arrays of pixels."""

    kind: Literal["image"] = Field(description="images, resized to data.image_shape")


ColumnSettings = NumericColumn | CategoricalColumn | DateColumn | TextColumn | ImageColumn
KindConfig = NumericConfig | CategoricalConfig | DateConfig | TextConfig


def _column_tag(value: Any) -> str:
    if isinstance(value, str):
        return "word"
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) else ""


ColumnSetting = Annotated[
    Annotated[ColumnKind, Tag("word")]
    | Annotated[NumericColumn, Tag("numeric")]
    | Annotated[CategoricalColumn, Tag("categorical")]
    | Annotated[DateColumn, Tag("date")]
    | Annotated[TextColumn, Tag("text")]
    | Annotated[ImageColumn, Tag("image")],
    Discriminator(
        _column_tag,
        custom_error_type="column",
        custom_error_message="must be numeric, categorical, date, text or image, or a mapping with such a `kind`",
    ),
]


class FeaturesConfig(StrictModel):
    """Settings for all columns of a kind; `data.columns.<name>` goes before them."""

    numeric: NumericConfig = Field(default=NumericConfig(), description="of every numeric column")
    categorical: CategoricalConfig = Field(default=CategoricalConfig(), description="of every column of categories")
    date: DateConfig = Field(default=DateConfig(), description="of every column of dates")
    text: TextConfig = Field(default=TextConfig(), description="of every column of free text")
