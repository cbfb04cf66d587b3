"""What preparing the data gives to the later stages."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from training.data.raw import SourceFacts
from training.data.split import Split
from training.package.byte_tokens import VOCAB_SIZE
from training.package.manifest import InputSpec, Task
from training.package.transforms import Transforms

if TYPE_CHECKING:
    from training.data.stream.part import StreamPart


@dataclass(frozen=True)
class Part:
    """Rows ready for a model: tensors by name (N, ...), and the target.

    The target is int64 class ids (N,), float32 values (N,), float32 0 or 1 of each label (N, K), or the int64 tokens
    that come next (N, L), `IGNORED` where there is none.
    """

    tensors: dict[str, np.ndarray]
    target: np.ndarray

    def __len__(self) -> int:
        return len(self.target)


def told(sources: Iterable[SourceFacts]) -> tuple[dict[str, str | int], ...]:
    """The sources in a few words, plain enough for a checkpoint; their files and columns stand in the run."""
    return tuple(
        {"name": source.name, "uri": source.uri, "num_rows": source.num_rows, "digest": source.digest}
        for source in sources
    )


@dataclass(frozen=True)
class Facts:
    """What models and loops must know of the data, without the data."""

    task: Task
    labels: tuple[str, ...]
    inputs: tuple[InputSpec, ...]
    transforms: Transforms
    target_mean: float  # a regression learns (value - mean) / scale
    target_scale: float
    fingerprint: str
    accepts: tuple[str, ...] = ()  # fingerprints of earlier data whose checkpoints may be gone on with
    sources: tuple[dict[str, str | int], ...] = ()  # what checkpoints say of each source

    @property
    def num_outputs(self) -> int:
        """Logits of the model: one a class or label, one for a regression, one a token of the vocabulary."""
        if self.task == "language_modelling":
            return VOCAB_SIZE
        return len(self.labels) if self.task in ("classification", "multilabel") else 1

    @property
    def sequence_length(self) -> int:
        """Tokens that a language model sees at a time; 0 of other tasks."""
        return self.transforms.bytes.length if self.transforms.bytes is not None else 0


@dataclass(frozen=True)
class Prepared:
    """Everything the later stages need of the data."""

    facts: Facts
    split: Split | None  # None for a stream, whose rows find their part by a rule
    train: "Part | StreamPart"
    validation: Part
    test: Part
    test_rows: pa.Table  # raw held-out rows, target included: golden rows and the HTTP check draw from them
    sources: tuple[SourceFacts, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)  # rows by what happened to them
    notes: tuple[str, ...] = ()  # what a person should know
    rows: np.ndarray | None = None  # number of each checked row in the main source as read; None: all are there
    test_source_rows: np.ndarray | None = None  # the same of a separate test source
    reference_rows: pa.Table | None = None  # raw training rows, target included: see training.data.reference_rows

    def accepting(self, fingerprints: Iterable[str]) -> "Prepared":
        """The same, also going on with checkpoints that were taken on earlier data."""
        return replace(self, facts=replace(self.facts, accepts=tuple(dict.fromkeys(fingerprints))))

    def save_split(self, path: Path) -> None:
        """One row of the file for each row of the data: `row`, `part`, and `source` (main or test).

        Nothing for a stream: `split_rule` says which part a row belongs to.
        """
        if self.split is not None:
            self.split.save(path, self.rows, self.test_source_rows)

    @property
    def split_rule(self) -> dict[str, Any]:
        """How the rows of a stream find their part; empty where `split` lists them."""
        if isinstance(self.train, Part):
            return {}
        rule = self.train.rows.split
        return {**rule.config.model_dump(mode="json"), "borders": [list(border) for border in rule.borders]}
