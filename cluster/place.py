"""Where work happens: this machine or a cluster, and a Ray on it where one is needed."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cluster.session import LOCAL, Session, connect, target_of
from serving.config import attach_environment
from training.config import Experiment
from training.data.stream.choose import should_stream
from training.pipeline import Work, working
from training.progress import Progress


@dataclass(frozen=True)
class Place:
    """Where work happens."""

    address: str | None = None  # of a Ray cluster; None is this machine
    code_folder: Path = Path()  # own model classes are imported from here
    verbose: bool = False
    num_cpus: int | None = None  # of a local Ray; None takes all of the machine
    accepts_changed_data: bool = False  # go on with a run whose data changed since it began

    @property
    def is_local(self) -> bool:
        """True when Ray will be started on this machine, and end with us."""
        return target_of(self.address) == LOCAL

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """A Ray, for the length of a `with` block."""
        with connect(
            self.address, num_cpus=self.num_cpus, attach_environment=attach_environment(), verbose=self.verbose
        ) as session:
            yield session

    @contextlib.contextmanager
    def work(
        self, experiment: Experiment, progress: Progress, command: str, needs_ray: Callable[[], bool] = lambda: True
    ) -> Iterator[tuple[Work, Session | None]]:
        """The run's folder, open and ours alone, and a Ray to work on. The folder first: it fails sooner."""
        code_path = str(self.code_folder.resolve())
        with working(experiment, progress, command, code_path, self.accepts_changed_data) as work:
            if work.must_read and not should_stream(experiment.data):
                # A table that cannot be used is then said at once, not after Ray's start. A stream is surveyed by it.
                _ = work.prepared
            with self.session() if needs_ray() else contextlib.nullcontext() as session:
                yield work, session
