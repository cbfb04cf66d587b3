"""What commands and notebooks both call: a session around the pipeline, then registry and endpoint."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cluster import endpoint
from cluster.console import Console
from cluster.place import Place
from cluster.releases import registry_of, release_with
from cluster.session import Session
from serving.app import require_room
from serving.registry import CHAMPION, Registry, Release
from training import pipeline
from training.config import Experiment
from training.config_file import apply_overrides
from training.data.changes import files_changed
from training.errors import ConfigError
from training.package.manifest import EXPERIMENT_FILE, Manifest
from training.package.serve_config import ServeConfig
from training.pipeline import Work
from training.progress import Progress
from training.report.page import write_report
from training.run_folder import RunFolder, to_yaml
from training.run_record import RunRecord
from training.search.extend import EXTENDED, trials_wanted
from training.tracking.mlflow import send_files


def tune(experiment: Experiment, progress: Progress, place: Place, more: int | None = None) -> dict[str, Any]:
    """Search; returns the best trial and its settings.

    Args:
        experiment: with a search section.
        progress: told of each trial.
        place: where to search.
        more: trials beyond those of a search that has ended.
    """
    in_file = pipeline.require_search(experiment).trials
    trials, note = trials_wanted(RunFolder.of(experiment).refreshed().journal, in_file, more)
    experiment = apply_overrides(experiment, {"search.trials": trials})
    if note:
        progress.note(note)
    with place.work(experiment, progress, "tune") as (work, _):
        if more is not None:
            work.run.journal.append(EXTENDED, trials=trials)
        found = pipeline.tune(work)
        pipeline.finish(work)
        record = RunRecord.read(work.run.path)
        values = {event["trial"]: event.get("values") or {} for event in record.trials}
        return {
            "trial": found.trial,
            "metric": record.metric,
            "score": found.score,
            "params": found.params,
            "values": values.get(found.trial, {}),
            "ended": found.ended,
            "front": list(found.front),
            "front_values": {trial: values.get(trial, {}) for trial in found.front},
            "ledger": found.ledger,
        }


def compress(experiment: Experiment, progress: Progress, place: Place) -> dict[str, Any]:
    """Search and train where that is not done yet, then compress and package."""
    with place.work(experiment, progress, "compress") as (work, _):
        manifest = pipeline.run_all(work)
        pipeline.finish(work)
        chosen = manifest.variant()
        return {
            "package": work.run.package,
            "chosen": manifest.chosen,
            "reason": manifest.chosen_reason,
            "metrics": chosen.metrics,
        }


@contextlib.contextmanager
def run(experiment: Experiment, progress: Progress, place: Place, keep_serving: bool = False) -> Iterator[str]:
    """The whole way; gives the endpoint's URL. A run that is finished already does nothing again.

    Args:
        keep_serving: serve also when the run is finished, and leave the endpoint there on a cluster.
    """
    folder = RunFolder.of(experiment)
    if is_finished(folder.refreshed(), experiment) and not keep_serving:
        progress.note(f"the run in {folder.path} is finished; nothing to do")
        yield ""
        return
    if place.is_local:
        endpoint.require_free_port(experiment.serve)
    with place.work(experiment, progress, "run") as (work, session):
        require_room(experiment.serve)  # before the long work, not after it
        manifest = pipeline.run_all(work)
        assert session is not None, "serving needs it"
        release = register(work, manifest)
        url = serve_and_ask(work, session, release, keep_serving)
        pipeline.finish(work)
        write_report(folder.path)
        send_files(experiment, folder, progress.note)
        yield url


def is_finished(folder: RunFolder, experiment: Experiment) -> bool:
    """True when exactly this experiment went the whole way in this folder, on the files that are there now."""
    newest = [
        event["event"] for event in folder.journal.events() if event["event"] in ("started", "served", "finished")
    ]
    if newest[-2:] != ["served", "finished"] or not folder.experiment_file.exists():
        return False
    same = folder.experiment_file.read_text() == to_yaml(experiment)
    return same and not files_changed((folder.journal.last("data") or {}).get("sources", []), experiment.data)


def register(work: Work, manifest: Manifest) -> Release:
    """The package as the newest release and champion of its name; one that is registered already stays what it is."""
    registry = registry_of(work.experiment.storage)
    name = work.experiment.model_name
    release = release_with(registry, name, manifest)
    earlier = work.run.journal.last("registered")
    if release and earlier and earlier["sha256"] == manifest.sha256:
        return release
    work.progress.stage("register", name)
    release = release or registry.register(name, work.run.package, work.experiment.name)
    release = registry.set_alias(release, CHAMPION)
    work.run.journal.append("registered", name=name, version=release.version, sha256=manifest.sha256)
    return release


def serve_and_ask(work: Work, session: Session, release: Release, keep_serving: bool) -> str:
    """Deploy, send the held-out rows over HTTP, and compare the answers with those computed here."""
    config = work.experiment.serve
    work.progress.stage("serve", f"{release.name}@{release.version} on port {config.port}")
    began = time.time()
    url = endpoint.deploy(session, release, config, registry_of(work.experiment.storage), keep_serving)
    asked = endpoint.ask(url, release, work.run.path / "held_out.parquet")
    work.run.journal.append("served", url=url, seconds=time.time() - began, **asked)
    return url


@contextlib.contextmanager
def deploy(release: Release, config: ServeConfig, place: Place, registry: Registry) -> Iterator[str]:
    """The endpoint's URL. On this machine it is up inside the `with` block; on a cluster it stays."""
    if place.is_local:
        endpoint.require_free_port(config)
    with place.session() as session:
        yield endpoint.deploy(session, release, config, registry, stays=not session.is_local)


def serve_config_of(package: Path, host: str | None = None, port: int | None = None) -> ServeConfig:
    """How the experiment that made a package wants to be served, with another host or port where given."""
    experiment = yaml.safe_load((package / EXPERIMENT_FILE).read_text()) or {}
    other = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    try:
        return ServeConfig.model_validate((experiment.get("serve") or {}) | other)
    except ValidationError as error:
        raise ConfigError(f"cannot be served like this: {error.errors(include_url=False)[0]['msg']}") from error


def wait_for_ctrl_c(console: Console, url: str, place: Place) -> None:
    """Hold a local endpoint up; one on a cluster stays there by itself."""
    if not place.is_local:
        console.talk(f"{url} stays up on the cluster")
        return
    console.talk(f"{url} is up; Ctrl-C ends it")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
