"""The reference: how training rows and the model's scores lay, in a few numbers, to hold later data against.

No row is in it. Of personal data (`data.pii`) only the shares of ranks are kept, and no value.
Shape letters: N rows, B bins, C channels.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from training.package.decision import answers
from training.package.manifest import InputSpec
from training.package.shapes import StoredModel
from training.package.tokens import tokenize

NUM_BINS = 20
MAX_CATEGORIES = 50
MIN_COUNT = 2  # rarer categories are not named: of a column of names or numbers of persons, none is
VALUE, TOKENS = "value", "tokens"
SCORES = "scores"  # stands for the model's answers where a sketch names its input
Values = (
    Any  # a column as `inputs_from_table` gives it: numbers (N,), images (N, C, H, W), or texts as objects or Arrow
)
Measured = Any  # numbers (N,) float64 with NaN, or texts with null


class NumberSketch(StoredModel):
    """How numbers lie: bins between `edges`, each with its upper edge, the first and the last without end."""

    kind: Literal["numbers"] = "numbers"
    input: str
    measure: str = VALUE  # what of the input: "value", "tokens", "mean of channel 0", "deviation of channel 0"
    num_rows: int
    edges: tuple[float, ...] = ()  # rising; quantiles of the values
    shares: tuple[float, ...] = (1.0,)  # of the known values in each bin, one more than edges
    missing: float = 0.0  # share of all rows
    minimum: float | None = None
    maximum: float | None = None

    @property
    def counts(self) -> np.ndarray:
        """Rows in each bin, those without a value first."""
        return self.num_rows * np.array([self.missing, *(share * (1 - self.missing) for share in self.shares)])

    def count(self, numbers_N: np.ndarray) -> np.ndarray:
        """Rows of other numbers in the same bins (B,), NaN first."""
        known = numbers_N[~np.isnan(numbers_N)]
        bins = np.searchsorted(np.array(self.edges), known, side="left")
        counts_B = np.bincount(bins, minlength=len(self.shares))
        return np.concatenate([[len(numbers_N) - len(known)], counts_B]).astype(float)


class CategorySketch(StoredModel):
    """Shares of the most frequent categories. Of hidden columns the categories are not named, only ranked."""

    kind: Literal["categories"] = "categories"
    input: str
    measure: str = VALUE
    num_rows: int
    hidden: bool = False
    categories: tuple[str, ...] = ()  # most frequent first; empty where hidden
    shares: tuple[float, ...] = ()  # of the known values, in the same order
    rest: float = 0.0  # share of all further categories together
    missing: float = 0.0  # share of all rows

    @property
    def counts(self) -> np.ndarray:
        """Rows of each category, those without a value first, the further ones last."""
        known = 1 - self.missing
        return self.num_rows * np.array([self.missing, *(share * known for share in self.shares), self.rest * known])

    def count(self, texts_N: pa.Array) -> np.ndarray:
        """Rows of other texts in the same bins (B,); hidden ones by their own ranks."""
        texts, counts = by_frequency(texts_N)
        if self.hidden:
            top = np.pad(counts[: len(self.shares)], (0, max(0, len(self.shares) - len(counts))))
        else:
            found = dict(zip(texts, counts.tolist(), strict=True))
            top = np.array([found.get(category, 0) for category in self.categories], dtype=np.int64)
        return np.concatenate([[texts_N.null_count], top, [counts.sum() - top.sum()]]).astype(float)


Sketch = Annotated[NumberSketch | CategorySketch, Field(discriminator="kind")]


class Reference(StoredModel):
    """What `reference.json` holds."""

    num_rows: int  # training rows that the inputs and the target were taken from
    inputs: tuple[Sketch, ...]
    target: Sketch | None = None
    scores: tuple[Sketch, ...] = ()  # of the chosen variant on rows that it did not learn from


def build_reference(
    batches: Iterable[Mapping[str, Values]],
    specs: Sequence[InputSpec],
    *,
    hidden: Collection[str] = (),
    target: tuple[str, Values] | None = None,
    scores: np.ndarray | None = None,
    labels: Sequence[str] = (),
    threshold: float | None = None,
) -> Reference:
    """Sketch the training rows.

    Args:
        batches: raw training rows, some at a time; by input, as `FeatureEncoder` takes them.
        specs: what these inputs are.
        hidden: columns of personal data; nothing of their values is kept.
        target: name and values (N,) of what is predicted: numbers, or class names.
        scores: the model's answers (M, K) or (M,) on rows that it did not learn from.
        labels: class names in the order of `scores`.
        threshold: of two classes, the probability of the second from which it is the answer.
    """
    gathered: dict[tuple[str, str], list[Measured]] = {}
    for inputs in batches:
        for spec in specs:
            for measure, measured in measures(spec, inputs[spec.name], spec.name in hidden).items():
                gathered.setdefault((spec.name, measure), []).append(measured)
    sketches = tuple(sketch(*key, _joined(parts), key[0] in hidden) for key, parts in gathered.items())
    of_scores = score_measures(scores, labels, threshold).items() if scores is not None else ()
    return Reference(
        num_rows=sketches[0].num_rows,
        inputs=sketches,
        target=_target(*target, hidden) if target is not None else None,
        scores=tuple(sketch(SCORES, measure, measured) for measure, measured in of_scores),
    )


def _joined(parts: list[Measured]) -> Measured:
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else pa.concat_arrays(parts)


def _target(name: str, values: Values, hidden: Collection[str]) -> Sketch:
    is_text = not isinstance(values, np.ndarray) or values.dtype == object or name in hidden
    return sketch(name, VALUE, as_texts(values) if is_text else as_numbers(values), name in hidden)


def measures(spec: InputSpec, values: Values, hidden: bool = False) -> dict[str, Measured]:
    """What is compared of an input: its values, the tokens of a text, or mean and deviation of each image channel."""
    if hidden:
        return {VALUE: as_texts(values)}
    if spec.kind == "image":
        pixels_NCX = np.asarray(values, dtype=np.float32).reshape(len(values), values.shape[1], -1)
        means_NC, deviations_NC = pixels_NCX.mean(axis=2), pixels_NCX.std(axis=2)
        channels = range(pixels_NCX.shape[1])
        means: dict[str, Measured] = {f"mean of channel {c}": as_numbers(means_NC[:, c]) for c in channels}
        return means | {f"deviation of channel {c}": as_numbers(deviations_NC[:, c]) for c in channels}
    if str(spec.kind) == "text":
        return {TOKENS: _num_words(as_texts(values))}
    return {VALUE: as_texts(values) if spec.kind == "categorical" else as_numbers(values)}


def score_measures(scores: np.ndarray, labels: Sequence[str], threshold: float | None = None) -> dict[str, Measured]:
    """What is compared of answers: the label and a probability (of two classes the second's), or the value."""
    if not labels:
        return {"prediction": as_numbers(scores)}
    picked: dict[str, Measured] = {"label": pa.array(labels, pa.string()).take(pa.array(answers(scores, threshold)))}
    if len(labels) == 2:
        return picked | {f"probability of {labels[1]}": as_numbers(scores[:, 1])}
    return picked | {"highest probability": as_numbers(scores.max(axis=1))}


def as_numbers(values: np.ndarray) -> np.ndarray:
    """Numbers or times (N,) as float64, NaN where missing; times in seconds since 1970."""
    if values.dtype.kind == "M":
        seconds = values.astype("datetime64[ms]").astype(np.float64) / 1000
        return np.where(np.isnat(values), np.nan, seconds)
    return values.astype(np.float64)


def as_texts(values: Values) -> pa.Array:
    """Texts (N,) in one Arrow array, null where missing."""
    if isinstance(values, np.ndarray):
        if values.dtype == object:
            return pa.array(values, pa.string(), from_pandas=True)
        return pc.cast(pa.array(values, from_pandas=True), pa.string())
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return whole.cast(pa.string())


def by_frequency(texts_N: pa.Array) -> tuple[list[str], np.ndarray]:
    """The texts there are, and how often each stands: the most frequent first, equally frequent ones by name."""
    counted = pc.value_counts(texts_N.drop_null())
    texts, counts = counted.field("values").to_pylist(), counted.field("counts").to_numpy(zero_copy_only=False)
    order = np.lexsort((np.array(texts, dtype=str), -counts))
    return [texts[i] for i in order], counts[order]


def _num_words(texts_N: pa.Array) -> np.ndarray:
    return np.array([np.nan if text is None else len(tokenize(text)) for text in texts_N.to_pylist()], dtype=float)


def sketch(name: str, measure: str, measured: Measured, hidden: bool = False) -> Sketch:
    """The sketch of one measure of an input."""
    if isinstance(measured, np.ndarray):
        return _numbers(name, measure, measured)
    texts, counts = by_frequency(measured)
    num_known, num_named = int(counts.sum()), min(MAX_CATEGORIES, int((counts >= MIN_COUNT).sum()))
    shares = counts[:num_named] / max(num_known, 1)
    return CategorySketch(
        input=name, measure=measure, num_rows=len(measured), hidden=hidden, shares=shares.tolist(),
        categories=() if hidden else tuple(texts[:num_named]),
        rest=float(counts[num_named:].sum() / max(num_known, 1)), missing=measured.null_count / len(measured),
    )  # fmt: skip


def _numbers(name: str, measure: str, numbers_N: np.ndarray) -> NumberSketch:
    known = numbers_N[np.isfinite(numbers_N)]
    if not len(known):
        return NumberSketch(input=name, measure=measure, num_rows=len(numbers_N), missing=1.0)
    # Quantiles that are values themselves, each at the top of its bin: a frequent value then has a bin of its own.
    cuts = np.unique(np.quantile(known, np.arange(1, NUM_BINS) / NUM_BINS, method="inverted_cdf"))
    edges = cuts[cuts < known.max()]
    shares = np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(edges) + 1) / len(known)
    return NumberSketch(
        input=name, measure=measure, num_rows=len(numbers_N), edges=edges.tolist(), shares=shares.tolist(),
        missing=1 - len(known) / len(numbers_N), minimum=float(known.min()), maximum=float(known.max()),
    )  # fmt: skip
