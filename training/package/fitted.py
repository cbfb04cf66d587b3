"""What was fitted on the training rows, as stored in a package. `training.package.transforms` applies it."""

from typing import Literal

from training.package.shapes import StoredModel

MISSING_CODE, UNKNOWN_CODE, FIRST_CODE = 0, 1, 2  # categorical codes: the vocabulary starts at 2
PAD_TOKEN, UNKNOWN_TOKEN, FIRST_TOKEN = 0, 1, 2  # token ids of a vocabulary; hashed ones start at 1

DatePart = Literal["year", "month", "day", "weekday", "day_of_year", "hour", "minute", "timestamp"]

# First value and number of values of the parts that repeat.
CYCLES: dict[str, tuple[int, int]] = {
    "month": (1, 12), "day": (1, 31), "weekday": (0, 7), "day_of_year": (1, 366), "hour": (0, 24), "minute": (0, 60),
}  # fmt: skip


class NumericTransform(StoredModel):
    """One column of numbers: fill what is missing, clip, take the logarithm or the rank, standardise; in this order."""

    name: str
    fill: float  # what a missing value becomes, in the column's own unit
    mean: float
    scale: float  # never 0: a constant column has scale 1
    clip: tuple[float, float] | None = None  # smallest and largest value that counts as itself
    log: bool = False  # sign(x) * log(1 + |x|)
    knots: tuple[float, ...] = ()  # rising values whose ranks are known; between them the rank is interpolated
    deviates: tuple[float, ...] = ()  # normal deviate of the rank of each knot
    bounds: tuple[float, float] | None = None  # before standardising; None: MAX_SCALES scales around the mean
    indicator: bool = False  # a further input is 1 where the value was missing


class CategoricalTransform(StoredModel):
    """One column of texts to codes; see `MISSING_CODE` and `UNKNOWN_CODE` for the rest."""

    name: str
    vocabulary: tuple[str, ...]  # most frequent first
    encode: Literal["embedding", "one_hot"] = "embedding"
    fill: str | None = None  # what a missing value counts as; None: a code of its own
    rest: tuple[int, ...] = ()  # one_hot: which of MISSING_CODE and UNKNOWN_CODE training rows had, as inputs

    @property
    def num_codes(self) -> int:
        """Size of the embedding table."""
        return FIRST_CODE + len(self.vocabulary)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of its 0/1 inputs where it is not embedded."""
        if self.encode == "embedding":
            return ()
        special = {MISSING_CODE: "missing", UNKNOWN_CODE: "other"}
        return (
            *(f"{self.name} {special[code]}" for code in self.rest),
            *(f"{self.name}={text}" for text in self.vocabulary),
        )


class DatePartTransform(StoredModel):
    """One number of a date. Where it repeats and `cyclic` is on, it enters as sine and cosine instead."""

    part: DatePart
    fill: float  # where the date is missing: the median of the training rows
    mean: float = 0.0
    scale: float = 1.0
    cyclic: bool = False


class DateTransform(StoredModel):
    """One column of dates to numbers: its parts, and 1 where the date is missing."""

    name: str
    parts: tuple[DatePartTransform, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the numbers it gives."""
        names: list[str] = []
        for part in self.parts:
            label = f"{self.name} {part.part}"
            names += [f"{label} sine", f"{label} cosine"] if part.cyclic else [label]
        return (*names, f"{self.name} missing")


class TextTransform(StoredModel):
    """One column of free text to token ids."""

    name: str
    tokens: Literal["hashing", "vocabulary"]
    num_tokens: int  # hashing: buckets
    max_tokens: int  # of a text, the rest is cut
    vocabulary: tuple[str, ...] = ()  # most frequent first

    @property
    def num_codes(self) -> int:
        """Size of the embedding table, padding included."""
        return 1 + self.num_tokens if self.tokens == "hashing" else FIRST_TOKEN + len(self.vocabulary)


class ImageTransform(StoredModel):
    """Normalise an image input, one mean and scale for all pixels."""

    name: str
    shape: tuple[int, int, int]  # C, H, W
    mean: float
    scale: float


class ByteTransform(StoredModel):
    """The text column of a language model, as bytes; see `training.package.byte_tokens`."""

    name: str
    length: int  # tokens that the model sees at a time
    max_windows: int = 1  # of a text that is scored, each of `length` tokens; the rest of it is not looked at


class Transforms(StoredModel):
    """Everything between a client's columns and the model's tensors."""

    numeric: tuple[NumericTransform, ...] = ()
    categorical: tuple[CategoricalTransform, ...] = ()
    image: ImageTransform | None = None
    missing_texts: tuple[str, ...] = ()  # spellings of a missing category, as `data.missing` had them
    dates: tuple[DateTransform, ...] = ()
    texts: tuple[TextTransform, ...] = ()
    bytes: ByteTransform | None = None  # of a language model, which takes nothing else
    hashed: tuple[str, ...] = ()  # columns that were pseudonymised as they were read
    hash_key_check: str = ""  # tells the key apart that they were pseudonymised with, without giving it away

    @property
    def embedded(self) -> tuple[CategoricalTransform, ...]:
        """Columns of the `categorical` tensor."""
        return tuple(column for column in self.categorical if column.encode == "embedding")

    @property
    def one_hot(self) -> tuple[CategoricalTransform, ...]:
        """Columns of categories that enter the `numeric` tensor."""
        return tuple(column for column in self.categorical if column.encode == "one_hot")

    @property
    def numeric_inputs(self) -> tuple[str, ...]:
        """What each column of the `numeric` tensor is: numbers, indicators, one-hot categories, dates."""
        return (
            *(column.name for column in self.numeric),
            *(f"{column.name} missing" for column in self.numeric if column.indicator),
            *(name for column in self.one_hot for name in column.inputs),
            *(name for column in self.dates for name in column.inputs),
        )

    @property
    def num_numeric(self) -> int:
        """Width of the `numeric` tensor, 0 where there is none."""
        return len(self.numeric_inputs)

    @property
    def text_length(self) -> int:
        """Tokens a text in the `tokens` tensor, 0 where there is none."""
        return max((column.max_tokens for column in self.texts), default=0)
