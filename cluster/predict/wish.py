"""What a person asks of `manta predict`, and who answers it."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.predict.answers import Answering, PackageModel
from cluster.predict.endpoint import EndpointModel
from cluster.predict.output import OutputFormat, Writer, check_folder, check_output, file_output, stdout_output
from cluster.predict.reading import SHAPING, Reading
from cluster.predict.run import Step, Tally, predict_here
from cluster.predict.source import Source, open_source
from cluster.releases import release_of
from serving.client import Client
from serving.predictor import Predictor
from training.data.sources.words import listed
from training.errors import ConfigError
from training.package.manifest import InputSpec
from training.package.read import read_manifest
from training.package.table_reading import table_reading_of

if TYPE_CHECKING:
    from cluster.place import Place  # loads Ray

KEEP_ALL = "all"


@dataclass(frozen=True)
class Wish:
    """Which rows are to be answered, and what becomes of the answers."""

    rows: str  # a file, a folder, a glob, or a URI of one
    output: str | None = None  # None: stdout; on a Ray it may be a folder, written with a slash behind it
    kind: OutputFormat | None = None  # None: by the output's ending; to stdout as fits the rows
    keep: tuple[str, ...] = ()  # columns to copy into the answers; `all` for each
    skips_bad: bool = False
    force: bool = False
    batch_rows: int | None = None

    @property
    def folder(self) -> Path | None:
        """The folder to write, where a folder is wished."""
        return Path(self.output) if self.output is not None and self.output.endswith("/") else None

    def reading(self, **how: Any) -> Reading:
        """How the rows are read."""
        return Reading(self.rows, keep=None if self.keep == (KEEP_ALL,) else self.keep, **how)

    def source(self, note: Callable[[str], None], specs: tuple[InputSpec, ...], shaping: Mapping[str, Any]) -> Source:
        """The rows, read as the table was that the model learned from; `note` is told of what is not done to them."""
        source = open_source(self.reading(specs=specs, shaping=shaping), self.batch_rows)
        if any(part.kind == "jsonl" for part in source.parts) and (keys := [k for k in SHAPING if shaping.get(k)]):
            note(
                f"JSON rows are taken as clients send them: {', '.join(keys)} of the package's data is not done to them"
            )
        if ignored := source.ignored():
            note(f"columns of the JSON rows that the model does not take are ignored: {listed(ignored)}")
        return source

    def check(self) -> None:
        """Raise ConfigError for an output that cannot be, before any work is done."""
        if self.folder is not None:
            check_folder(self.folder)
        elif self.output is not None:
            check_output(Path(self.output), self.kind, force=self.force)
        elif self.kind in ("parquet", "arrow"):
            raise ConfigError(f"{self.kind} is not written to stdout", "--output names a file for it")

    @contextlib.contextmanager
    def writer(self, source: Source, labels: tuple[str, ...]) -> Iterator[Writer]:
        """Where the answers go."""
        if self.output is None:
            with stdout_output(self.kind or ("jsonl" if source.is_json else "csv"), labels) as writer:
                yield writer
            return
        output = Path(self.output)
        with file_output(output, check_output(output, self.kind, force=self.force), labels) as writer:
            yield writer


@dataclass(frozen=True)
class ByPackage:
    """A package that answers, and with how much of a machine."""

    package: Path
    variant: str | None = None
    num_threads: int | None = None

    def source(self, wish: Wish, note: Callable[[str], None]) -> Source:
        """The rows, read as the package's table was."""
        return wish.source(note, read_manifest(self.package).inputs, table_reading_of(self.package))


def package_of(model: str, storage: str) -> Path:
    """The package of a release."""
    return release_of(model, storage).package


def by_package(wish: Wish, by: ByPackage, step: Step, note: Callable[[str], None]) -> Tally:
    """Answer with a package in this process.

    Raises:
        ConfigError: the output cannot be written.
        PackageError: the package cannot be used.
        DataError: the rows cannot be read.
    """
    wish.check()
    if wish.folder is not None:
        raise ConfigError(f"--output {wish.output} is a folder, which only a Ray writes", "a file, or --address too")
    predictor = Predictor.load(by.package, by.variant, by.num_threads or len(os.sched_getaffinity(0)))
    source = by.source(wish, note)
    with wish.writer(source, predictor.manifest.labels) as writer:
        return predict_here(source, Answering(source.reading, PackageModel(predictor), wish.skips_bad), writer, step)


def by_endpoint(wish: Wish, url: str, model: str | None, step: Step, note: Callable[[str], None]) -> Tally:
    """Answer by an endpoint. Raises ClientError too; `model` may be left out where only one is served."""
    wish.check()
    if wish.folder is not None:
        raise ConfigError(f"--output {wish.output} is a folder, which only a Ray writes", "give a file")
    with Client(url) as client:
        endpoint = EndpointModel(client, model)
        source = wish.source(note, endpoint.specs, endpoint.shaping)
        with wish.writer(source, endpoint.labels) as writer:
            return predict_here(source, Answering(source.reading, endpoint, wish.skips_bad), writer, step)


def on_ray(
    wish: Wish,
    by: ByPackage,
    place: "Place",
    actors: str | None,
    step: Step,
    note: Callable[[str], None],
    *,
    on_gpu: bool,
) -> Tally:
    """Answer with actors on a Ray.

    Raises:
        CapacityError: the cluster cannot hold them.
        ClusterError: it cannot be reached, or failed.
        ConfigError, PackageError, DataError: as `by_package`.
    """
    from cluster.predict.on_ray import Job, actors_for, predict_on_ray, predict_to_folder  # noqa: PLC0415  loads Ray

    wish.check()
    source = by.source(wish, note)  # before a Ray starts: what is wrong with it is then said at once
    labels = read_manifest(by.package).labels
    if not place.verbose:
        # Of each pool of actors that Ray Data starts, Ray's core warns on stderr, past Python's logging.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with place.session():
        job = Job(
            source, by.package, actors_for(actors, by.num_threads or 1, by.variant, on_gpu=on_gpu), wish.skips_bad
        )
        if wish.folder is not None:
            return predict_to_folder(job, wish.folder)
        with wish.writer(source, labels) as writer:
            return predict_on_ray(job, writer, step)
