"""From a compressed model to a package: golden rows, model card, weights, manifest. Shape letters: N rows."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from safetensors.torch import save as save_tensors
from torch import Tensor

from training.compress.job import CompressResult
from training.config import Experiment
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

NUM_GOLDEN_ROWS = 16


def build_package(
    folder: Path,
    *,
    experiment: Experiment,
    task: Task,
    labels: tuple[str, ...],
    inputs: tuple[InputSpec, ...],
    transforms: Transforms,
    compressed: CompressResult,
    golden_rows: Mapping[str, np.ndarray],
    weights: Mapping[str, Tensor],
    metric: str,
    metric_mode: Literal["max", "min"],
    lineage: Lineage,
    num_rows: Mapping[str, int] | None = None,
    threshold: float | None = None,
    target_mean: float = 0.0,
    target_scale: float = 1.0,
    train_rows: pa.Table | None = None,
) -> Manifest:
    """Write the package and return its manifest. An older package in `folder` stays until this one is whole.

    Args:
        folder: where the package goes.
        experiment: resolved, with the best trial's settings applied.
        task: what the model predicts.
        labels: classes in the order of the model's outputs; empty for a regression.
        inputs: what a client sends.
        transforms: from that to the model's tensors.
        compressed: the variants and their files.
        golden_rows: raw held-out rows, see `pick_golden_rows`; `compressed` holds the answers to them.
        weights: the trained weights, kept for training further.
        metric: the score that decided, for example "test/accuracy".
        metric_mode: whether a higher or a lower score is better.
        lineage: where the model came from.
        num_rows: rows of each part, for the model card.
        threshold: of two classes, the probability of the last label from which it is the answer.
        target_mean: that a regression's model predicts differences from.
        target_scale: in units of which it does.
        train_rows: raw training rows, of which the reference for drift is made; without them there is none.
    """
    golden = Golden(
        labels=labels,
        inputs={spec.name: array_to_json(golden_rows[spec.name], spec) for spec in inputs},
        outputs=golden_outputs(compressed, task, labels, threshold),
    )
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=experiment.model_name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        task=task,
        labels=labels,
        threshold=threshold,
        inputs=inputs,
        outputs=output_specs(task, labels),
        metric=metric,
        metric_mode=metric_mode,
        variants=compressed.variants,
        chosen=compressed.chosen,
        chosen_reason=compressed.reason,
        comparisons=(compressed.comparison,),
        not_made=dict(compressed.not_made),
        lineage=lineage,
        sha256={},
    )
    files: dict[str, bytes | Path] = {
        EXPERIMENT_FILE: yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False).encode(),
        TRANSFORMS_FILE: transforms.model_dump_json(indent=2).encode(),
        GOLDEN_FILE: golden.model_dump_json().encode(),
        CARD_FILE: model_card(manifest, card_facts(experiment, golden, num_rows or {}, compressed.slices)).encode(),
        WEIGHTS_FILE: _safetensors(weights, {"target_mean": repr(target_mean), "target_scale": repr(target_scale)}),
        **compressed.files,
    }
    if train_rows is not None:
        reference = package_reference(
            train_rows, compressed.scores[compressed.chosen], experiment=experiment, task=task, labels=labels,
            inputs=inputs, hashed=transforms.hashed, threshold=threshold,
        )  # fmt: skip
        files[REFERENCE_FILE] = reference.model_dump_json().encode()
    return write_package(folder, manifest, files)


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


def card_facts(
    experiment: Experiment, golden: Golden, num_rows: Mapping[str, int], slices: Sequence[SliceScore] = ()
) -> CardFacts:
    """What the model card says beyond the manifest."""
    settings = experiment.model.model_dump(mode="json")
    kind = settings.pop("kind", None) or settings.pop("target")
    members = f"mean of {experiment.ensemble.members} models: " if experiment.ensemble else ""
    return CardFacts(
        source=experiment.data.source,
        test_source=experiment.data.test,
        target=experiment.data.target_name,
        num_rows=num_rows,
        port=experiment.serve.port,
        example={name: values[0] for name, values in golden.inputs.items()},
        intended_use=experiment.card.intended_use,
        out_of_scope=experiment.card.out_of_scope,
        owner=experiment.card.owner,
        slices=slices,
        threshold_goal=goal if isinstance(goal := experiment.train.imbalance.threshold, str) else "",
        balanced_by=experiment.balanced_by,
        architecture=f"{members}{kind} ({', '.join(f'{key} {value}' for key, value in settings.items())})",
    )


def _safetensors(weights: Mapping[str, Tensor], metadata: dict[str, str]) -> bytes:
    # Cloned: safetensors refuses tensors that share memory, as tied weights do.
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in weights.items()}
    return save_tensors(tensors, metadata=metadata)
