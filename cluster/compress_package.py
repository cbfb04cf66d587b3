"""Compressing again what is packaged already: find it, find rows to judge by, add forms."""

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from cluster.evaluate import Wanted as Rows
from cluster.evaluate import package_of, rows_with_truth
from cluster.history import find_run
from cluster.place import Place
from cluster.releases import registry_of, release_with
from training.compress.compress import compress
from training.compress.of_package import JudgingRows, job_of_package, other_rows, own_rows
from training.compress_config import CompressConfig
from training.config import Experiment
from training.config_file import with_overrides
from training.data.prepare import prepare
from training.errors import ConfigError, DataError
from training.event_text import listed
from training.package.manifest import EXPERIMENT_FILE, MANIFEST_FILE, SIGNATURE_FILE, Manifest
from training.package.read import Package, load_package
from training.package.signature import signing_key
from training.pipeline import record_compressed
from training.progress import Progress
from training.provenance import FILE as PROVENANCE_FILE
from training.repacking import extend_package, stored_experiment
from training.report.page import write_report
from training.run_folder import RunFolder
from training.yaml_text import parse_yaml

SECTION = "compress."
_ANY_RAW = {"name": "package", "data": {"source": "-", "target": "-"}}
_ANY = Experiment.model_validate(_ANY_RAW)  # settings go into it


@dataclass(frozen=True)
class Wanted:
    """What a person asks for."""

    model: str  # a package's folder, a run, or a release
    settings: Sequence[str] = ()  # "max_drop=0.01", or "compress.max_drop=0.01"
    data: str | None = None  # another table with the target; None: the package's own data
    target: str | None = None  # its name there, where it is called otherwise
    output: Path | None = None  # another folder for the result
    force: bool = False  # replace a package that is there
    storage: str = "runs"


def compress_package(wanted: Wanted, progress: Progress, place: Place) -> dict[str, Any]:
    """Add forms to a package, in its own folder or as another one; gives what `manta compress --json` prints.

    Raises:
        ConfigError: unknown settings, or a release without `output`, as releases never change.
        PackageError: no package, or an altered one.
        DataError: no rows to judge by.
    """
    signing_key()  # one that cannot be read is said now, and not after the work
    folder = _package(wanted)
    config = settings_of(wanted.settings, stored_settings(folder))
    target = _target(wanted, folder)
    package = load_package(folder)
    run = _run_of(folder)
    rows = _rows(package, wanted, config, run, progress)
    experiment = stored_experiment(folder)
    was_signed = (folder / SIGNATURE_FILE).exists()
    before = [variant.name for variant in package.manifest.variants]
    job = job_of_package(package, experiment, config, rows, str(place.code_folder.resolve()))
    progress.stage("compress", f"{package.manifest.name}, which has {listed(before)}")
    began = time.time()
    with place.session() if not place.is_local else contextlib.nullcontext():
        compressed = compress(job, progress)
    manifest = extend_package(package, compressed, target)
    if run is not None and target == folder:
        record_compressed(run, manifest, compressed, config, seconds=time.time() - began)
        write_report(run.path)
    _tell_releases(manifest, target, wanted.storage, progress)
    if was_signed and not (target / SIGNATURE_FILE).exists():
        progress.note("the package was signed, and what is written now is not: `manta sign` signs it again")
    return {
        "package": str(target), "chosen": manifest.chosen, "reason": manifest.chosen_reason,
        "metrics": manifest.variant().metrics, "not_made": manifest.not_made,
        "added": [variant.name for variant in manifest.variants if variant.name not in before],
    }  # fmt: skip


def settings_of(pairs: Sequence[str], before: Mapping[str, Any] | None = None) -> CompressConfig:
    """The settings of `--set`, with or without their section's name, over those that the package was made with.

    Raises:
        ConfigError: naming every problem.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip().removeprefix(SECTION)
        if not equals or not key:
            raise ConfigError(f"--set {pair} is not of the form key=value", "for example --set max_drop=0.01")
        values[SECTION + key] = parse_yaml(value, f"the value of --set {key}")
    base = _ANY
    if before:
        with contextlib.suppress(ValidationError):  # of another version: the defaults of this one
            base = Experiment.model_validate({**_ANY_RAW, "compress": before})
    return with_overrides(base, values).compress


def stored_settings(folder: Path) -> dict[str, Any]:
    """How a package was compressed, as far as this version knows the keys."""
    path = folder / EXPERIMENT_FILE
    stored = (yaml.safe_load(path.read_text()) or {}).get("compress") or {} if path.exists() else {}
    return {key: value for key, value in stored.items() if key in CompressConfig.model_fields}


def _package(wanted: Wanted) -> Path:
    """What a person means: of a run and a release of one name the run, as a release cannot be added to."""
    if "@" not in wanted.model:
        with contextlib.suppress(ConfigError):
            own = RunFolder(find_run(wanted.model, wanted.storage)).package
            if own.exists():
                return own.resolve()
    return package_of(wanted.model, wanted.storage).resolve()


def _tell_releases(manifest: Manifest, package: Path, storage: str, progress: Progress) -> None:
    """A release is a copy: what was added here is in none of them."""
    registry = registry_of(storage)
    releases = [each for each in registry.releases() if each.name == manifest.name]
    if releases and release_with(registry, manifest.name, manifest) is None:
        newest = max(each.version for each in releases)
        progress.note(
            f"{manifest.name}@{newest} is the package as it was; `manta deploy {package}` makes {manifest.name}@"
            f"{newest + 1} of this one, and `manta models {manifest.name}@{newest + 1} --alias champion` its champion"
        )


def _target(wanted: Wanted, folder: Path) -> Path:
    """Where the result goes. Never into a release, and over another package only by force."""
    target = folder if wanted.output is None else wanted.output.resolve()
    if target.parent.name == "packages" and (target.parent.parent / "records").exists():
        raise ConfigError(
            f"{target} is a release, and releases never change",
            "--output FOLDER writes another package, and deploying that registers it as a version of its own",
        )
    if wanted.output is None or not target.exists() or target == folder:
        return target
    if not (target / MANIFEST_FILE).exists():
        raise ConfigError(f"--output {wanted.output} is there already, and is no package", "give a new folder")
    if not wanted.force:
        raise ConfigError(f"--output {wanted.output} is a package already", "--force replaces it")
    return target


def _run_of(folder: Path) -> RunFolder | None:
    run = RunFolder(folder.parent)
    return run if run.package == folder and (run.path / "journal.jsonl").exists() else None


def _rows(
    package: Package, wanted: Wanted, config: CompressConfig, run: RunFolder | None, progress: Progress
) -> JudgingRows:
    if wanted.data is not None:
        table, target_M = rows_with_truth(package, Rows(wanted.model, wanted.data, target=wanted.target))
        progress.note(f"judged on {table.num_rows:,} rows of {wanted.data}, some of which calibrate instead")
        return other_rows(table, target_M, config)
    experiment = stored_experiment(package.folder)
    if experiment is None:
        raise DataError(
            f"{package.folder} does not say what data it was made of", "--data names a table with the target in it"
        )
    base = _base(run, experiment.data.source)
    try:
        prepared = prepare(experiment.data, base=base)
    except (DataError, OSError) as error:
        raise DataError(
            f"the data that {package.folder} was made of cannot be read: {getattr(error, 'message', error)}",
            "--data names another table with the target in it, to judge by",
        ) from error
    if prepared.facts.fingerprint != package.manifest.lineage.data_fingerprint:
        raise DataError(
            f"{experiment.data.source} is not what {package.folder} was made of: its fingerprint is "
            f"{prepared.facts.fingerprint}, that of the package {package.manifest.lineage.data_fingerprint}",
            "bring the old data back, or judge by rows of your choice: --data table.csv",
        )
    return own_rows(prepared)


def _base(run: RunFolder | None, source: str) -> Path | None:
    """The folder that relative paths start from: this one, or the one that the run was made in."""
    if run is None or Path(source).exists():
        return None
    path = run.path / PROVENANCE_FILE
    return Path(json.loads(path.read_text())["folder"]) if path.exists() else None
