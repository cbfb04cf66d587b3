"""From a compressed model to a package: golden rows, model card, weights, manifest. Shape letters: N rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from torch import Tensor

from training.compress.job import CompressResult
from training.config import Experiment
from training.metric_names import METRIC_MODES
from training.package.answers import output_specs, outputs_of
from training.package.card import CardFacts, model_card
from training.package.card_measured import SliceScore
from training.package.golden import Golden, array_to_json
from training.package.manifest import (
    CARD_FILE,
    EXPERIMENT_FILE,
    FORMAT_VERSION,
    GOLDEN_FILE,
    REFERENCE_FILE,
    TRANSFORMS_FILE,
    WEIGHTS_FILE,
    InputSpec,
    Lineage,
    Manifest,
    Task,
)
from training.package.transforms import Transforms, inputs_from_table
from training.package.write import write_package
from training.sketching import package_reference
from training.stored_weights import as_safetensors

NUM_GOLDEN_ROWS = 16


@dataclass(frozen=True)
class Contents:
    """What a package is made of."""

    experiment: Experiment  # resolved, with the best trial's settings applied
    task: Task  # what the model predicts
    labels: tuple[str, ...]  # classes in the order of the model's outputs; empty for a regression
    inputs: tuple[InputSpec, ...]  # what a client sends
    transforms: Transforms  # from that to the model's tensors
    compressed: CompressResult  # the variants, their files, and their answers to the golden rows
    golden_rows: Mapping[str, np.ndarray]  # raw held-out rows, see `pick_golden_rows`
    weights: Mapping[str, Tensor]  # as trained, kept for training further
    metric: str  # the score that decided, for example "test/accuracy"
    metric_mode: Literal["max", "min"]  # whether a higher or a lower score is better
    lineage: Lineage  # where the model came from
    threshold: float | None = None  # of two classes, the probability of the last label from which it is the answer
    target_mean: float = 0.0  # that a regression's model predicts differences from
    target_scale: float = 1.0  # in units of which it does
    train_rows: pa.Table | None = None  # raw, of which the reference for drift is made; without them there is none


def build_package(folder: Path, contents: Contents) -> Manifest:
    """Write the package and return its manifest. An older package in `folder` stays until this one is whole."""
    manifest = _manifest(contents)
    return write_package(folder, manifest, _files(contents, manifest))


def _manifest(contents: Contents) -> Manifest:
    """Still without digests."""
    compressed = contents.compressed
    return Manifest(
        format_version=FORMAT_VERSION,
        name=contents.experiment.model_name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        task=contents.task,
        labels=contents.labels,
        threshold=contents.threshold,
        inputs=contents.inputs,
        outputs=output_specs(contents.task, contents.labels),
        metric=contents.metric,
        metric_mode=contents.metric_mode,
        variants=compressed.variants,
        chosen=compressed.chosen,
        chosen_reason=compressed.reason,
        comparisons=(compressed.comparison,),
        not_made=dict(compressed.not_made),
        lineage=contents.lineage,
        sha256={},
    )


def _files(contents: Contents, manifest: Manifest) -> dict[str, bytes | Path]:
    """All but the manifest, by path inside the package."""
    experiment, golden = contents.experiment, _golden(contents)
    facts = card_facts(experiment, golden, contents.compressed.slices)
    files: dict[str, bytes | Path] = {
        EXPERIMENT_FILE: yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False).encode(),
        TRANSFORMS_FILE: contents.transforms.model_dump_json(indent=2).encode(),
        GOLDEN_FILE: golden.model_dump_json().encode(),
        CARD_FILE: model_card(manifest, facts).encode(),
        WEIGHTS_FILE: as_safetensors(contents.weights, contents.target_mean, contents.target_scale),
        **contents.compressed.files,
    }
    if contents.train_rows is not None:
        files[REFERENCE_FILE] = _reference(contents, contents.train_rows)
    return files


def _golden(contents: Contents) -> Golden:
    rows = contents.golden_rows
    return Golden(
        labels=contents.labels,
        inputs={spec.name: array_to_json(rows[spec.name], spec) for spec in contents.inputs},
        outputs=golden_outputs(contents.compressed, contents.task, contents.labels, contents.threshold),
    )


def _reference(contents: Contents, train_rows: pa.Table) -> bytes:
    compressed = contents.compressed
    reference = package_reference(
        train_rows, compressed.scores[compressed.chosen], experiment=contents.experiment, task=contents.task,
        labels=contents.labels, inputs=contents.inputs, hashed=contents.transforms.hashed,
        threshold=contents.threshold,
    )  # fmt: skip
    return reference.model_dump_json().encode()


def pick_golden_rows(held_out: pa.Table, inputs: tuple[InputSpec, ...]) -> dict[str, np.ndarray]:
    """Up to 16 raw rows spread over the table, a quarter of them with missing values where there are such rows."""
    incomplete_N = np.zeros(held_out.num_rows, dtype=bool)
    for spec in inputs:
        if spec.kind != "image":  # they have no missing values
            incomplete_N |= _is_missing(held_out.column(spec.name))
    from_incomplete = _spread(np.flatnonzero(incomplete_N), NUM_GOLDEN_ROWS // 4)
    others = np.setdiff1d(np.arange(held_out.num_rows), from_incomplete)
    picked = np.sort(np.concatenate([from_incomplete, _spread(others, NUM_GOLDEN_ROWS - len(from_incomplete))]))
    return inputs_from_table(held_out.take(picked), inputs)


def _spread(rows: np.ndarray, num: int) -> np.ndarray:
    if len(rows) <= num:
        return rows
    return rows[np.linspace(0, len(rows) - 1, num).round().astype(np.int64)]


def _is_missing(column: pa.ChunkedArray) -> np.ndarray:
    is_missing_N: np.ndarray = pc.is_null(column, nan_is_null=True).to_numpy()
    return is_missing_N


def golden_outputs(
    compressed: CompressResult, task: Task, labels: tuple[str, ...], threshold: float | None
) -> dict[str, dict[str, list[Any]]]:
    """What each form answers to the golden rows, by output."""
    return {
        name: {output: values.tolist() for output, values in outputs_of(task, labels, scores, threshold).items()}
        for name, scores in compressed.golden.items()
    }


def card_facts(experiment: Experiment, golden: Golden, slices: Sequence[SliceScore] = ()) -> CardFacts:
    """What the model card says beyond the manifest. Args: slices: in any order."""
    settings = experiment.model.model_dump(mode="json")
    kind = settings.pop("kind", None) or settings.pop("target")
    members = f"mean of {experiment.ensemble.members} models: " if experiment.ensemble else ""
    return CardFacts(
        source=experiment.data.source,
        test_source=experiment.data.test,
        target=experiment.data.target_name,
        port=experiment.serve.port,
        example={name: values[0] for name, values in golden.inputs.items()},
        intended_use=experiment.card.intended_use,
        out_of_scope=experiment.card.out_of_scope,
        owner=experiment.card.owner,
        slices=_worst_first(slices),
        threshold_goal=goal if isinstance(goal := experiment.train.imbalance.threshold, str) else "",
        balanced_by=experiment.balanced_by,
        architecture=f"{members}{kind} ({', '.join(f'{key} {value}' for key, value in settings.items())})",
    )


def _worst_first(slices: Sequence[SliceScore]) -> list[SliceScore]:
    """By the score that they are of, which need not be the one that decided over the model."""

    def badness(part: SliceScore) -> float:
        return part.score if METRIC_MODES.get(part.metric.rpartition("/")[2]) == "min" else -part.score

    return sorted(slices, key=badness, reverse=True)
