"""The job of compressing a package again. Shape letters: N rows, M rows with a truth."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from training.compress.held_out import HeldOut
from training.compress.job import Job, Kept
from training.compress.of_run import judged_by, slicing_columns, threads_of
from training.compress.tasks import EXAMPLE_ROWS, Tensors, Trained
from training.compress_config import CompressConfig
from training.config import Experiment
from training.data.prepared import Prepared
from training.data.reference_rows import drawn
from training.data.served import as_served
from training.errors import ConfigError, DataError
from training.metric_names import METRIC_MODES
from training.models import ModelInputs
from training.package.errors import UserError
from training.package.manifest import BASELINE
from training.package.read import Package
from training.package.transforms import FeatureEncoder, encoder_inputs
from training.stored_weights import StoredWeights, num_outputs_of, stored_weights

FEWEST_ROWS = 20
OTHER_PART = "other"  # rows that a person brought: scores on them must not stand as the package's own held-out ones


@dataclass(frozen=True)
class JudgingRows:
    """Rows that a package's forms are judged and calibrated on."""

    held_out: pa.Table  # raw, (M,)
    target: np.ndarray  # (M, ...), as `held_out_scores` takes it
    calibration: pa.Table  # raw training rows, or others that do not judge
    prepared: Prepared | None = None  # the package's own data; without it nothing can be trained
    part: str = "test"  # that scores are named by


def own_rows(prepared: Prepared) -> JudgingRows:
    """Those of the data that the package was made of."""
    assert prepared.reference_rows is not None, "preparing keeps some training rows"
    return JudgingRows(prepared.test_rows, as_served(prepared)[1], prepared.reference_rows, prepared)


def other_rows(table: pa.Table, target_M: np.ndarray, config: CompressConfig) -> JudgingRows:
    """Those of another table: some calibrate, and the rest judges, never the same ones. Raises DataError if too few."""
    num_rows = table.num_rows
    if num_rows < FEWEST_ROWS:
        raise DataError(
            f"{num_rows} rows with a target are too few to judge by; at least {FEWEST_ROWS} are needed, and some "
            "hundreds are better: with N rows a loss below 1/N is not seen"
        )
    num_calibrating = min(config.calibration_rows, num_rows // 5)
    order = np.random.default_rng(0).permutation(num_rows)
    calibrating, judging = np.sort(order[:num_calibrating]), np.sort(order[num_calibrating:])
    return JudgingRows(
        table.take(pa.array(judging)), target_M[judging], table.take(pa.array(calibrating)), part=OTHER_PART
    )  # fmt: skip


def job_of_package(
    package: Package, experiment: Experiment | None, config: CompressConfig, rows: JudgingRows, code_path: str
) -> Job:
    """Everything that compression needs of a package.

    Args:
        package: verified.
        experiment: that made it, where it can be read.
        config: how to compress it now.
        rows: to judge by.
        code_path: folder that a custom model class is imported from.

    Raises:
        ConfigError: `compress.metric` is no score of this task.
        DataError: `compress.slices` names a column that there is not.
    """
    manifest, encode = package.manifest, FeatureEncoder(package.transforms)
    tensors = encode(encoder_inputs(rows.held_out, manifest.inputs))
    quantile = experiment.train.loss.judged_quantile if experiment else None
    held_out = HeldOut(
        manifest.task, manifest.labels, tensors, rows.target, manifest.threshold, quantile,
        slicing_columns(rows.held_out, manifest.inputs, package.transforms, config), rows.part,
    )  # fmt: skip
    by = manifest.metric.rpartition("/")[2]
    metric = judged_by(config, manifest.task, len(manifest.labels), by, of_quantile=quantile is not None)
    trained, can_rebuild = _trained(package, experiment, config, rows.prepared, tensors, metric, code_path)
    calibration = encode(encoder_inputs(drawn(rows.calibration, config.calibration_rows), manifest.inputs))
    return Job(
        trained=trained, held_out=held_out, golden=encode(package.golden.arrays(manifest.inputs)),
        calibration=calibration, metric=metric, mode=METRIC_MODES[metric], config=config,
        num_threads=threads_of(experiment) if experiment else 1, can_rebuild=can_rebuild, kept=_kept(package),
    )  # fmt: skip


def _trained(
    package: Package, experiment: Experiment | None, config: CompressConfig, prepared: Prepared | None,
    tensors: Tensors, metric: str, code_path: str,
) -> tuple[Trained, bool]:  # fmt: skip
    """The trained model, and whether its module can be built again."""
    manifest, stored = package.manifest, stored_weights(package) or StoredWeights({})
    # Rows that were fitted otherwise would teach another model than the one that is served.
    usable = prepared if prepared is not None and prepared.facts.transforms == package.transforms else None
    of_model = experiment or Experiment.model_validate({"name": "package", "data": {"source": "-", "target": "-"}})
    trained = Trained(
        experiment=of_model.model_copy(update={"compress": config}), weights=stored.tensors,
        inputs=ModelInputs.of(package.transforms, num_outputs_of(manifest)), task=manifest.task,
        metric=metric,
        example={name: values[:EXAMPLE_ROWS] for name, values in tensors.items()}, code_path=code_path, prepared=usable,
        target_mean=stored.target_mean or 0.0, target_scale=stored.target_scale or 1.0,
    )  # fmt: skip
    tells_scale = manifest.task != "regression" or stored.target_scale is not None
    if experiment is None or not stored.tensors or not tells_scale:
        return replace(trained, prepared=None), False
    try:
        trained.module()
    except (UserError, RuntimeError):  # its class is not here, or has other weights by now: its files still serve
        return replace(trained, prepared=None), False
    return trained, True


def _kept(package: Package) -> Kept:
    variants = package.manifest.variants
    if not any(variant.name == BASELINE for variant in variants):
        raise ConfigError(f"{package.folder} has no variant {BASELINE}, which other forms are made of and held against")
    return Kept(variants, {variant.file: (package.folder / variant.file).read_bytes() for variant in variants})
