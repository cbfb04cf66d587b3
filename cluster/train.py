"""One training by itself. It loads nothing of serving: the first step of a small training would wait for it."""

from typing import Any

from cluster.place import Place
from training import pipeline
from training.config import Experiment
from training.data.stream.choose import should_stream
from training.progress import Progress


def train(experiment: Experiment, progress: Progress, place: Place) -> dict[str, Any]:
    """Train the experiment's own settings; returns the checkpoint's path and the scores."""
    with place.work(experiment, progress, "train", needs_ray=lambda: needs_ray(experiment, place)) as (work, _):
        fitted = pipeline.train(work)
        pipeline.finish(work)
        return {"checkpoint": fitted.checkpoint, "best_epoch": fitted.best_epoch, "metrics": fitted.metrics}


def needs_ray(experiment: Experiment, place: Place) -> bool:
    """Whether a training does: one worker on this machine is this process, unless Ray has to stream the rows."""
    return not place.is_local or experiment.train.max_workers > 1 or should_stream(experiment.data)
