"""Many small trainings as Ray tasks: as many at a time as the cluster holds, none left behind. Needs a running Ray."""

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError

from training.alone import as_cause
from training.capacity import Request, require
from training.config import Experiment
from training.fit import uses_gpu

MAX_RETRIES = 3  # of a task whose process died
Job = TypeVar("Job")


def resources_of(experiment: Experiment) -> dict[str, float]:
    """What one training with one worker takes, as Ray's task options. Raises CapacityError where it can never start."""
    gpus = 1.0 if uses_gpu(experiment) else 0.0
    require(Request(1, experiment.train.cpus_per_worker, gpus))
    return {"num_cpus": experiment.train.cpus_per_worker, "num_gpus": gpus}


def as_task(function: Callable[..., Any], resources: dict[str, float]) -> Any:
    """The function as a Ray task, started again where its process dies."""
    return ray.remote(function).options(max_retries=MAX_RETRIES, **resources)


def as_they_end(running: dict[Any, Job]) -> Generator[tuple[Job, Any]]:
    """Each job and what its task gave, in the order in which they end; closing the generator cancels the others.

    A task that could not give anything back gives the cause as text.

    Args:
        running: job by the reference of its task.
    """
    with _cancelled_at_the_end(running):
        while running:
            (ready,), _ = ray.wait(list(running), num_returns=1)
            yield running.pop(ready), _result(ready)


@contextlib.contextmanager
def _cancelled_at_the_end(running: dict[Any, Job]) -> Iterator[None]:
    """Ctrl-C must not leave trainings behind on a cluster that stays."""
    try:
        yield
    finally:
        for reference in running:
            ray.cancel(reference)  # not by force: the worker would be gone, too, and the next call wait for another


def _result(reference: Any) -> Any:
    try:
        return ray.get(reference)
    except RayError as error:
        return as_cause(error)
