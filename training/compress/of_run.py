"""The job of compressing what a run has trained. Shape letters: N rows."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from torch import Tensor

from training.compress.held_out import HeldOut
from training.compress.job import Job
from training.compress.site import OnNodes, site_of
from training.compress.tasks import EXAMPLE_ROWS, Tensors, Trained
from training.compress_config import CompressConfig
from training.config import Experiment
from training.data.prepared import Part, Prepared
from training.data.reference_rows import drawn
from training.data.served import as_served
from training.errors import ConfigError, DataError
from training.metric_names import METRIC_MODES, metrics_of
from training.models import ModelInputs
from training.package.manifest import InputSpec, Task
from training.package.transforms import FeatureEncoder, Transforms, encoder_inputs
from training.task_settings import WORDS
from training.threshold import threshold_of

MAX_SLICED_COLUMNS = 8  # more are not looked at unasked: each makes the next loss harder to tell from chance
MAX_CATEGORIES = 20


def job_of(
    experiment: Experiment, prepared: Prepared, weights: Mapping[str, Tensor], *, metric: str,
    golden_rows: Mapping[str, np.ndarray], code_path: str,
) -> Job:  # fmt: skip
    """Everything that compression needs of a run.

    Args:
        experiment: with the best trial's settings.
        prepared: its data.
        weights: the trained ones.
        metric: plain name of the score that the run is by.
        golden_rows: raw rows that a package replays.
        code_path: folder that a custom model class is imported from.

    Raises:
        ConfigError: `compress.metric` is no score of this task.
        DataError: `compress.slices` names a column that the held-out rows lack.
    """
    facts, config = prepared.facts, experiment.compress
    quantile = experiment.train.loss.judged_quantile
    judged = judged_by(config, facts.task, len(facts.labels), metric, of_quantile=quantile is not None)
    tensors, target = as_served(prepared)
    trained = Trained(
        experiment=experiment, weights=weights, inputs=ModelInputs.of(facts.transforms, facts.num_outputs),
        task=facts.task, metric=judged, example={name: values[:EXAMPLE_ROWS] for name, values in tensors.items()},
        target_mean=facts.target_mean, target_scale=facts.target_scale, code_path=code_path, prepared=prepared,
    )  # fmt: skip
    held_out = HeldOut(
        facts.task, facts.labels, tensors, target, _threshold(experiment, trained, prepared), quantile,
        slicing_columns(prepared.test_rows, facts.inputs, facts.transforms, config),
    )  # fmt: skip
    return Job(
        trained=trained, held_out=held_out, golden=FeatureEncoder(facts.transforms)(golden_rows),
        calibration=_calibration(prepared, config), metric=judged, mode=METRIC_MODES[judged], config=config,
        num_threads=threads_of(experiment),
    )  # fmt: skip


def require_settings(experiment: Experiment, prepared: Prepared, metric: str) -> None:
    """Find out before the long work what compression would refuse after it.

    Raises:
        ConfigError: `compress.metric` is no score of this task.
        DataError: `compress.slices` names a column that the held-out rows lack.
        CapacityError: there is no machine of the target's kind.
    """
    facts, config = prepared.facts, experiment.compress
    of_quantile = experiment.train.loss.judged_quantile is not None
    judged_by(config, facts.task, len(facts.labels), metric, of_quantile=of_quantile)
    slicing_columns(prepared.test_rows, facts.inputs, facts.transforms, config)
    site = site_of(config)
    if isinstance(site, OnNodes):
        site.require_room(threads_of(experiment))


def threads_of(experiment: Experiment) -> int:
    """That one replica will use: as many as it has whole cores."""
    return max(1, int(experiment.serve.cpus_per_replica))


def judged_by(
    config: CompressConfig, task: Task, num_classes: int, metric: str, *, of_quantile: bool = False
) -> str:  # fmt: skip
    """Plain name of the score that must be kept. Raises ConfigError for one that the task does not have."""
    if config.metric is None:
        return metric
    name = config.metric.rpartition("/")[2]
    allowed = metrics_of(task, num_classes, of_quantile=of_quantile)
    if name not in allowed:
        raise ConfigError(
            f"compress.metric {config.metric} does not exist for {WORDS[task]}",
            f"there are: {', '.join(f'test/{known}' for known in allowed)}",
        )
    return name


def slicing_columns(
    rows: pa.Table, inputs: tuple[InputSpec, ...], transforms: Transforms, config: CompressConfig
) -> dict[str, pa.ChunkedArray]:
    """Columns whose values divide the held-out rows, besides the classes. Raises DataError."""
    if config.slices == "auto":
        few = [
            spec.name
            for spec in inputs
            if spec.kind == "categorical" and 1 < len(spec.categories) <= MAX_CATEGORIES
            and spec.name not in transforms.hashed
        ]  # fmt: skip
        return {name: rows.column(name) for name in few[:MAX_SLICED_COLUMNS]}
    if lacking := [name for name in config.slices if name not in rows.column_names]:
        raise DataError(
            f"compress.slices names {', '.join(lacking)}, which the held-out rows lack",
            f"they have: {', '.join(rows.column_names[:20])}",
        )
    return {name: rows.column(name) for name in config.slices}


def _threshold(experiment: Experiment, trained: Trained, prepared: Prepared) -> float | None:
    wished = experiment.train.imbalance.threshold
    if wished is None or isinstance(wished, float):
        return wished
    return threshold_of(experiment.train.imbalance, trained.module(), prepared.facts, prepared.validation)


def _calibration(prepared: Prepared, config: CompressConfig) -> Tensors:
    """Training rows as the model takes them where it is served."""
    facts, rows = prepared.facts, prepared.reference_rows
    if rows is not None and rows.num_rows:
        sample = drawn(rows, config.calibration_rows)
        return FeatureEncoder(facts.transforms)(encoder_inputs(sample, facts.inputs))
    assert isinstance(prepared.train, Part), "a stream keeps some of its rows"
    return {name: values[: config.calibration_rows] for name, values in prepared.train.tensors.items()}
