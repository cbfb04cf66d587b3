"""Fit columns of categories and of free text."""

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa

from training.data.column_config import CategoricalConfig, TextConfig
from training.data.counts import Counts
from training.errors import DataError
from training.package.fitted import MISSING_CODE, UNKNOWN_CODE, CategoricalTransform, TextTransform
from training.package.manifest import InputSpec
from training.package.tokens import tokenize
from training.package.values import Texts

MAX_HINTS = 100  # categories that a client is told of


@dataclass(frozen=True)
class CategorySummary:
    """What fitting needs of a column's categories, mergeable with that of further rows."""

    counts: Counts

    @classmethod
    def of(cls, column: pa.ChunkedArray, missing: tuple[str, ...]) -> "CategorySummary":
        """Of Arrow text."""
        return cls(Counts.of(column, missing))

    def merge(self, other: "CategorySummary") -> "CategorySummary":
        """Both together."""
        return CategorySummary(self.counts.merge(other.counts))

    def finish(self, name: str, config: CategoricalConfig) -> tuple[CategoricalTransform, InputSpec]:
        """The transform and what a client is told."""
        counts = self.counts.filled(config.fill)
        vocabulary, num_covered = counts.most_frequent(config.max_categories, config.min_count)
        rest = []
        if counts.num_missing:
            rest.append(MISSING_CODE)
        if num_covered < counts.num_texts:
            rest.append(UNKNOWN_CODE)
        transform = CategoricalTransform(
            name=name, vocabulary=vocabulary, encode=config.encode, fill=config.fill, rest=tuple(rest)
        )
        return transform, InputSpec(name=name, kind="categorical", datatype="BYTES", categories=vocabulary[:MAX_HINTS])


@dataclass(frozen=True)
class TextSummary:
    """What fitting needs of a column's texts, mergeable with that of further rows."""

    words: Counts  # nothing where tokens are hashed
    num_known: int

    @classmethod
    def of(cls, texts: Texts, config: TextConfig, missing: tuple[str, ...]) -> "TextSummary":
        """Of Arrow text. As many tokens of each are counted as the model will read."""
        counts: Counter[str] = Counter()
        num_known = 0
        for chunk in texts.chunks:
            known = [text for text in chunk.to_pylist() if text is not None and text.strip() not in missing]
            num_known += len(known)
            if config.tokens == "vocabulary":
                for text in known:
                    counts.update(tokenize(text)[: config.max_tokens])
        return cls(Counts.of_words(counts), num_known)

    def merge(self, other: "TextSummary") -> "TextSummary":
        """Both together."""
        return TextSummary(self.words.merge(other.words), self.num_known + other.num_known)

    def finish(self, name: str, config: TextConfig) -> tuple[TextTransform, InputSpec]:
        """The transform and what a client is told. Raises DataError where there is nothing to fit on."""
        vocabulary, _ = self.words.most_frequent(config.num_tokens)
        if not self.num_known or (config.tokens == "vocabulary" and not vocabulary):
            what = "has a word" if self.num_known else "is there"
            raise DataError(
                f"{name}: no text {what} in the training part", f"data.ignore: [{name}] leaves the column out"
            )
        transform = TextTransform(
            name=name, tokens=config.tokens, num_tokens=config.num_tokens, max_tokens=config.max_tokens,
            vocabulary=vocabulary,
        )  # fmt: skip
        return transform, InputSpec(name=name, kind="text", datatype="BYTES")
