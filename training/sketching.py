"""From raw rows and a compressed model to the package's reference. Shape letters: N rows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from training.config import Experiment
from training.data.reference_rows import drawn
from training.data.table import as_float32, target_texts
from training.package.manifest import InputSpec
from training.package.reference import Reference, build_reference
from training.package.runtime import VariantRunner
from training.package.transforms import FeatureEncoder, Transforms, encoder_inputs

MAX_SCORED_ROWS = 20_000
ROWS_AT_A_TIME = 4096  # images of all rows at once would fill the memory


def package_reference(
    training_rows: pa.Table,
    held_out: pa.Table,
    *,
    experiment: Experiment,
    labels: tuple[str, ...],
    inputs: tuple[InputSpec, ...],
    transforms: Transforms,
    model: Path,
    threshold: float | None,
) -> Reference:
    """Sketch training rows, their target, and the answers of the chosen variant to held-out rows.

    Args:
        training_rows: raw, target included.
        held_out: raw rows that took no part in training.
        experiment: resolved.
        labels: class names in the order of the model's outputs; empty for a regression.
        inputs: what a client sends.
        transforms: from that to the model's tensors.
        model: the chosen variant's file.
        threshold: of two classes, the probability of the second from which it is the answer.
    """
    data = experiment.data
    column = training_rows.column(data.target)
    return build_reference(
        (encoder_inputs(part, inputs) for part in _parts(training_rows)),
        inputs,
        hidden=[*data.pii, *transforms.hashed],
        target=(data.target, target_texts(column, data).astype(object) if labels else as_float32(column)),
        scores=_scores(drawn(held_out, MAX_SCORED_ROWS), inputs, transforms, model),
        labels=labels,
        threshold=threshold,
    )


def _scores(rows: pa.Table, inputs: tuple[InputSpec, ...], transforms: Transforms, model: Path) -> np.ndarray:
    run, encode = VariantRunner(model), FeatureEncoder(transforms)
    return np.concatenate([run(encode(encoder_inputs(part, inputs))) for part in _parts(rows)])


def _parts(rows: pa.Table) -> Iterator[pa.Table]:
    return (rows.slice(start, ROWS_AT_A_TIME) for start in range(0, rows.num_rows, ROWS_AT_A_TIME))
