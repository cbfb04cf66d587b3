"""`manta predict` on a Ray: tasks read, actors answer, and the answers keep the order of the rows.

A lot travels between them as one row: so what is read and answered is what a single process would.
"""

import contextlib
import gc
import logging
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset
from ray.exceptions import GetTimeoutError, RayError

from cluster.errors import ClusterError
from cluster.predict.answers import Answering, PackageModel
from cluster.predict.output import Writer
from cluster.predict.reading import Reading
from cluster.predict.run import Pace, Step, Tally, require_answers
from cluster.predict.shipped import packed, unpacked_predictor
from cluster.predict.source import Source
from training.capacity import Request, require
from training.errors import CapacityError, ConfigError, StorageError
from training.package.answers import answer_schema
from training.package.errors import UserError
from training.package.read import read_manifest
from training.package.values import as_objects

READER_CPUS = 1
START_S = 600  # for the first actors: an autoscaler may have to start machines
FILE_ROWS = 1_000_000  # of a file of a folder of answers, at least
PART, LOT = "item", "lot"  # columns of what travels; the first is named by Ray
_ADVICE = "\nFailed to "  # Ray Data appends how to have it tried again, which would not help


@dataclass(frozen=True)
class Actors:
    """How many answer at a time, and what each takes."""

    least: int
    most: int
    num_threads: int = 1
    gpus_each: int = 0
    variant: str | None = None


@dataclass(frozen=True)
class Job:
    """Rows to answer with a package on a Ray."""

    source: Source
    package: Path
    actors: Actors
    skips_bad: bool = False

    @property
    def answer(self) -> str:
        """The first column of the answers, which is empty for bad rows only."""
        manifest = read_manifest(self.package)
        return str(answer_schema(manifest.task, manifest.labels).names[0])


def actors_for(wanted: str | None, num_threads: int, variant: str | None, *, on_gpu: bool) -> Actors:
    """The actors of a wish: a number, a range as in 1-8, or None for as many as fit beside a reader.

    Raises:
        ConfigError: the wish is no number and no range.
        CapacityError: the cluster can never hold the least of them.
    """
    total = ray.cluster_resources()
    fitting = min([(total.get("CPU", 0) - READER_CPUS) / num_threads] + [total.get("GPU", 0)] * on_gpu)
    least, most = _range(wanted) if wanted is not None else (1, max(1, int(fitting)))
    gpus_each = int(on_gpu)
    try:
        require(Request(least, num_threads, gpus_each))
        require(Request(least * num_threads + READER_CPUS, 1))
    except CapacityError as error:
        each = f"{num_threads} CPU" + (" and 1 GPU" if on_gpu else "")
        raise CapacityError(
            f"{least} actor(s) of {each} each and a reader of {READER_CPUS} CPU can never run here together: "
            f"the cluster has {total.get('CPU', 0):g} CPU and {total.get('GPU', 0):g} GPU",
            "fewer --actors or --threads; without --address this machine does it alone, without a Ray",
        ) from error
    return Actors(least, most, num_threads, gpus_each, variant)


def _range(wanted: str) -> tuple[int, int]:
    first, dash, last = wanted.partition("-")
    if not first.isdigit() or not (last.isdigit() or not dash) or not 0 < int(first) <= int(last or first):
        raise ConfigError(f"--actors is {wanted!r}, must be a number of actors or a range of it", "as in 4, or 1-8")
    return int(first), int(last or first)


def predict_on_ray(job: Job, writer: Writer, step: Step) -> Tally:
    """Answer all rows; this process writes the answers as they come, in the order of the rows.

    Raises:
        DataError: as `predict_here`.
        ClusterError: a reader or an actor failed, or none could start.
    """
    tally = Tally()
    failed: UserError | None = None
    try:
        _write_answers(job, writer, tally, Pace(step))
    except RayError as error:
        failed = _in_our_words(error)
    _raise(failed)
    require_answers(tally, job.source)
    return tally


def _write_answers(job: Job, writer: Writer, tally: Tally, pace: Pace) -> None:
    num_rows = job.source.parquet.num_rows if job.source.parquet is not None else 0  # of other files nobody knows
    with _quiet():
        tables: Iterable[pa.Table] = _answers(job).iter_batches(batch_size=None, batch_format="pyarrow")
        for table in tables:
            if table.num_rows:
                tally.add(table, table.column(job.answer).null_count)
                writer.write(table)
                pace(tally.rows / num_rows if num_rows else 0.0, tally)


def predict_to_folder(job: Job, folder: Path) -> Tally:
    """Answer all rows; the nodes write them, into Parquet files whose names sort in the order of the rows.

    The folder gets its name when all of them are in it. The nodes must share it.

    Raises:
        StorageError: they do not, or it cannot be written.
        DataError, ClusterError: as `predict_on_ray`.
    """
    tally = Tally()
    failed: UserError | None = None
    partial = folder.absolute().with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        partial.mkdir()
        with _quiet():
            _answers(job).write_parquet(str(partial), min_rows_per_file=FILE_ROWS, try_create_dir=False)
        for number, part in enumerate(sorted(partial.glob("*.parquet"))):
            answers = pq.read_table(part, columns=[job.answer])
            tally.add(answers, answers.column(0).null_count)
            part.rename(partial / f"part-{number:05}.parquet")
        require_answers(tally, job.source)
        partial.rename(folder)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written: {error.strerror or error}", "it must be a folder that all nodes share"
        ) from error
    except RayError as error:
        failed = _in_our_words(error)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _raise(failed)
    return tally


def _answers(job: Job) -> Dataset:
    # A block each: they are read side by side. Blocks of items need no task, which would wait for a CPU without an end.
    numbers = list(range(len(job.source.parts)))
    parts = ray.data.from_items(numbers, override_num_blocks=len(numbers))
    read: Any = _read  # Ray's types know of no further arguments
    lots = parts.map_batches(
        read, batch_size=1, batch_format="numpy", fn_kwargs={"source": job.source}, num_cpus=READER_CPUS
    )
    actors = job.actors
    return lots.map_batches(
        _Answerer,
        batch_size=1,
        batch_format="numpy",
        fn_constructor_args=(job.source.reading, ray.put(packed(job.package)), actors, job.skips_bad),
        compute=ActorPoolStrategy(min_size=actors.least, max_size=actors.most),
        num_cpus=actors.num_threads,
        num_gpus=actors.gpus_each,
    )


def _read(batch: dict[str, np.ndarray], source: Source) -> Iterator[dict[str, np.ndarray]]:
    for number in batch[PART]:
        for lot in source.lots(source.parts[number]):
            yield {LOT: as_objects([lot])}


class _Answerer:
    """Answers lots in a process of its own."""

    def __init__(
        self, reading: Reading, package: "ray.ObjectRef[dict[str, bytes]]", actors: Actors, skips: bool
    ) -> None:
        self._answering: Answering | UserError
        try:
            predictor = unpacked_predictor(ray.get(package), actors.variant, actors.num_threads)
            self._answering = Answering(reading, PackageModel(predictor), skips)
        except UserError as error:  # said with the first lot: of what fails in here Ray tells by text alone
            self._answering = error

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[pa.Table]:
        """The answers to each lot."""
        if isinstance(self._answering, UserError):
            raise self._answering
        for lot in batch[LOT]:
            yield self._answering(lot).table


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ray Data's settings for this: no bars of its own, rows in order, no endless wait for actors."""
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.wait_for_min_actors_s = START_S
    log = logging.getLogger("ray.data")  # has just been loaded, and given a level of its own
    level = log.level
    if logging.getLogger("ray").level > logging.INFO:  # it would log the error that is raised too
        log.setLevel(logging.CRITICAL)
    try:
        with DataContext.current(context):
            yield
    finally:
        log.setLevel(level)


def _raise(failed: UserError | None) -> None:
    """Away from Ray's error: that, and Ray Data's executor in a ring of references, hold actors, and those CPUs."""
    if failed is not None:
        gc.collect()
        raise failed


def _in_our_words(error: RayError) -> UserError:
    """What another process raised, without Ray's advice."""
    if isinstance(error, GetTimeoutError):
        return ClusterError(
            f"no actor could start within {START_S} s", "others take all of the cluster; `manta doctor` looks at it"
        )
    cause = getattr(error, "cause", None) or error
    said = str(getattr(cause, "message", cause)).partition(_ADVICE)[0]
    if isinstance(cause, UserError):
        cause.message, cause.args = said, (said, *cause.args[1:])
        return cause
    lines = said.strip().splitlines() or [""]
    is_file = isinstance(cause, OSError)
    return ClusterError(
        f"the rows could not be answered there: {type(cause).__name__}: {lines[-1]}",
        "every node must reach the rows, and a folder of answers" if is_file else "-v shows Ray's own log",
    )
