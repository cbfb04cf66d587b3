"""A package on another table: find it, read the table as its own was read, answer, judge."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from pydantic import ValidationError

from cluster.history import find_run
from cluster.releases import registry_of
from serving.errors import RegistryError
from serving.predictor import Predictor, inputs_of_table
from training.data.config import DataConfig
from training.data.labels import label_matrix, with_labels
from training.data.raw import Raw
from training.data.sources import read_sources
from training.data.text_windows import token_counts
from training.errors import ConfigError, DataError
from training.evaluation.evaluate import About, Answered, Evaluation, evaluate
from training.evaluation.truth import Truth, truth_of
from training.metric_names import QUANTILE_METRICS
from training.package.drift import shifts
from training.package.errors import PackageError
from training.package.manifest import EXPERIMENT_FILE, MANIFEST_FILE, Manifest
from training.package.pii import Pseudonymiser
from training.package.read import Package, reference_of
from training.package.transforms import FeatureEncoder, encoder_inputs
from training.run_folder import RunFolder

NO_TARGET = "-"  # of a package that does not say what it predicts


@dataclass(frozen=True)
class Wanted:
    """What a person asks to be judged."""

    model: str
    data: str
    by: Sequence[str] = ()
    target: str | None = None  # where the table calls it otherwise
    rename_labels: Mapping[str, str] | None = None
    variant: str | None = None
    num_resamples: int = 1000
    seed: int = 0


def judge(wanted: Wanted, storage: str) -> Evaluation:
    """Score a package on a table that has the target.

    Raises:
        PackageError: not a package, altered, or without the variant.
        DataError: the table cannot be read, lacks columns, or has classes that the model does not know.
    """
    predictor = Predictor.load(package_of(wanted.model, storage), wanted.variant)
    manifest = predictor.manifest
    data, raw, truth = _read(predictor.package, wanted)
    known = raw.table.take(pa.array(truth.rows))
    inputs = inputs_of_table(known, manifest.inputs)
    outputs = predictor.predict(inputs)
    scores = outputs["prediction" if manifest.task == "regression" else "probabilities"]
    reference = reference_of(predictor.package)
    return evaluate(
        Answered(manifest.task, manifest.labels, scores, truth.target_M, manifest.threshold),
        _about(wanted, predictor, data.target_name, truth.num_missing, [*raw.notes, *_bad_rows(raw)]),
        by={name: known.column(name) for name in wanted.by},
        reference=reference,
        input_shifts=shifts(reference, manifest.inputs, inputs, _vocabularies(predictor.package)) if reference else (),
        num_resamples=wanted.num_resamples,
        seed=wanted.seed,
    )


def rows_with_truth(package: Package, wanted: Wanted) -> tuple[pa.Table, np.ndarray]:
    """Raw rows of another table (M,) whose target is known, and it as `held_out_scores` takes it. Raises as `judge`."""
    manifest = package.manifest
    if manifest.task not in ("multilabel", "language_modelling"):
        _, raw, truth = _read(package, wanted)
        return raw.table.take(pa.array(truth.rows)), truth.target_M
    data, raw = _raw(package, wanted)
    if manifest.task == "language_modelling":
        tokens = FeatureEncoder(package.transforms)(encoder_inputs(raw.table, manifest.inputs))["tokens"]
        return raw.table, token_counts(tokens)
    table = with_labels(raw.table, data)
    return table, label_matrix(table.column(data.target_name), manifest.labels, data.target_name)


def _read(package: Package, wanted: Wanted) -> tuple[DataConfig, Raw, Truth]:
    manifest = package.manifest
    if manifest.task in ("multilabel", "language_modelling"):
        raise ConfigError(
            f"{wanted.model} answers {'several labels a row' if manifest.labels else 'how likely texts are'}, which "
            "`manta evaluate` cannot judge yet",
            "its held-out scores stand in its model card; `manta predict` answers rows",
        )
    data, raw = _raw(package, wanted)
    return data, raw, truth_of(raw.table, data.target_name, manifest.labels, data.rename_labels)


def _raw(package: Package, wanted: Wanted) -> tuple[DataConfig, Raw]:
    data = data_config(package, wanted)
    _require_key(package, data)
    raw = read_sources(data, source=wanted.data)
    _require_columns(raw.table, package.manifest, data, wanted.by)
    return data, raw


def package_of(model: str, storage: str) -> Path:
    """The package that a folder, a release or a run means. Nothing is registered by looking at it.

    Raises:
        ConfigError: nothing of that name.
    """
    folder = Path(model)
    if (folder / MANIFEST_FILE).exists():
        return folder
    if RunFolder(folder).package.exists():
        return RunFolder(folder).package
    registry = registry_of(storage)
    try:
        return registry.resolve(model).package
    except RegistryError as no_release:
        if "@" in model:
            raise
        return _package_of_run(model, storage, no_release)


def _package_of_run(model: str, storage: str, no_release: RegistryError) -> Path:
    try:
        run = find_run(model, storage)
    except ConfigError as no_run:
        raise ConfigError(
            f"{model} is no package, no release and no run: {no_release.message}; {no_run.message}",
            no_run.hint or no_release.hint,
        ) from None
    package = RunFolder(run).package
    if not package.exists():
        raise PackageError(f"the run in {run} has no package yet", f"`manta compress` or `manta run` writes {package}")
    return package


def data_config(package: Package, wanted: Wanted) -> DataConfig:
    """How to read the other table: as the package's own was, except for what says where and which part."""
    stored = _stored_data(package)
    kinds: dict[str, Any] = {spec.name: spec.kind for spec in package.manifest.inputs if spec.kind != "image"}
    how = {key: value for key, value in stored.items() if key in DataConfig.model_fields}  # a newer writer has more
    here: dict[str, Any] = {
        "source": wanted.data,
        "test": None,
        "format": _format(stored, wanted.data),
        "target": wanted.target or stored.get("target") or NO_TARGET,
        "columns": kinds | (stored.get("columns") or {}),
        "rename_labels": (stored.get("rename_labels") or {}) | dict(wanted.rename_labels or {}),
        "ignore": [],  # rows may be divided by a column that the model does not take
        "sample": None,
        "split": {},
        "checks": {},
        "loading": "memory",
    }
    try:
        data = DataConfig.model_validate(how | here)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{package.folder / EXPERIMENT_FILE}: data.{where}: {first['msg']}") from error
    if data.target_name == NO_TARGET:
        raise ConfigError(
            f"{package.folder} has no {EXPERIMENT_FILE}, so it does not say what it predicts", "--target names it"
        )
    return data


def _stored_data(package: Package) -> dict[str, Any]:
    path = package.folder / EXPERIMENT_FILE
    stored: dict[str, Any] = (yaml.safe_load(path.read_text()) or {}).get("data") or {} if path.exists() else {}
    return stored


def _format(stored: Mapping[str, Any], source: str) -> str:
    """As the other table's ending says; what the package's own was read as, where it has none."""
    return "auto" if Path(source).suffix else str(stored.get("format") or "auto")


def _require_columns(table: pa.Table, manifest: Manifest, data: DataConfig, by: Sequence[str]) -> None:
    have = set(table.column_names)
    needed = [name for spec in manifest.inputs for name in (spec.columns or (spec.name,))]
    if lacking := [name for name in needed if name not in have]:
        raise DataError(
            f"the table lacks {len(lacking)} of the {len(needed)} columns that the model takes: "
            f"{', '.join(lacking[:8])}{', ...' if len(lacking) > 8 else ''}",
            f"it has: {', '.join(table.column_names[:20])}",
        )
    for name in by:
        if name not in have:
            near = difflib.get_close_matches(name, table.column_names, n=1)
            hint = f"{f'nearest: {near[0]}; ' if near else ''}it has: {', '.join(table.column_names[:20])}"
            dropped = "data.pii drops it as it is read" if data.pii.get(name) == "drop" else hint
            raise DataError(f"--by {name}: the table has no such column", dropped)


def _vocabularies(package: Package) -> dict[str, tuple[str, ...]]:
    return {column.name: column.vocabulary for column in package.transforms.categorical}


def _require_key(package: Package, data: DataConfig) -> None:
    """Pseudonyms by another key than training's would all be unknown to the model. Raises PackageError."""
    if package.transforms.hashed and "hash" in data.pii.values():
        key_file = Path(data.pii_key_file).expanduser() if data.pii_key_file is not None else None
        FeatureEncoder(package.transforms, Pseudonymiser.load(key_file))


def _bad_rows(raw: Raw) -> list[str]:
    """What could not be read, by column and reason."""
    if not raw.bad.num_rows:
        return []
    counts: dict[str, int] = {}
    for bad in raw.bad.to_pylist():
        said = f"{bad['column']}: {bad['reason']}" if bad["column"] else str(bad["reason"])
        counts[said] = counts.get(said, 0) + 1
    told = "; ".join(f"{said} ({count:,})" for said, count in sorted(counts.items(), key=lambda item: -item[1])[:3])
    num_bad = raw.num_read - raw.table.num_rows
    return [f"{num_bad:,} of {raw.num_read:,} rows cannot be read and are left out: {told}"]


def _about(wanted: Wanted, predictor: Predictor, target: str, num_missing: int, notes: list[str]) -> About:
    manifest, variant = predictor.manifest, predictor.variant
    if reference_of(predictor.package) is None:
        notes.append("the package was written without a reference of its training rows: what moved cannot be said")
    if (decided := manifest.metric.removeprefix("test/")) in QUANTILE_METRICS:
        notes.append(f"the model predicts a quantile and was judged by its {decided} loss, which is not computed here")
    return About(
        model=wanted.model,
        name=manifest.name,
        package=str(predictor.package.folder),
        variant=variant.name,
        metric=manifest.metric.removeprefix("test/"),
        packaged={name.removeprefix("test/"): value for name, value in variant.metrics.items()},
        data=wanted.data,
        target=target,
        num_without_target=num_missing,
        notes=tuple(notes),
    )
