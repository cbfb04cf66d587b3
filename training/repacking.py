"""A package with further forms: what it had stays as it was, to the byte."""

from pathlib import Path

import yaml
from pydantic import ValidationError

from training.compress.job import CompressResult
from training.config import Experiment
from training.package.card import model_card
from training.package.manifest import (
    CARD_FILE,
    EXPERIMENT_FILE,
    FORMAT_VERSION,
    GOLDEN_FILE,
    Comparison,
    Manifest,
)
from training.package.read import Package
from training.package.write import write_package
from training.packing import card_facts, golden_outputs


def extend_package(package: Package, compressed: CompressResult, folder: Path) -> Manifest:
    """Write the package again, with the new forms beside the old ones; gives its manifest.

    Files, scores, figures and golden rows of the forms that were there stay. The newest comparison says which form is
    served, on machines like the one it was made on.

    Args:
        package: as it is.
        compressed: with the forms that the package had, and new ones.
        folder: where it goes; the package's own folder changes at once or not at all.

    Raises:
        PackageError: a file of the package was altered since it was loaded; or its own folder holds another package by
            now, whose forms would be lost.
    """
    manifest, newest = package.manifest, compressed.comparison
    made = {variant.name for variant in compressed.variants}
    earlier = {form: reason for form, reason in manifest.not_made.items() if form not in made}
    golden = golden_outputs(compressed, manifest.task, manifest.labels, manifest.threshold)
    answers = package.golden.model_copy(update={"outputs": golden | package.golden.outputs})
    extended = manifest.model_copy(update={
        "format_version": FORMAT_VERSION,
        "variants": compressed.variants,
        "chosen": compressed.chosen,
        "chosen_reason": compressed.reason,
        "comparisons": (*_of_other_machines(manifest.comparisons, newest), newest),
        "not_made": {**earlier, **compressed.not_made},
    })  # fmt: skip
    files: dict[str, bytes | Path] = {path: package.folder / path for path in manifest.sha256}
    files |= {path: content for path, content in compressed.files.items() if path not in manifest.sha256}
    files[GOLDEN_FILE] = answers.model_dump_json().encode()
    if CARD_FILE in files and (experiment := stored_experiment(package.folder)) is not None:
        files[CARD_FILE] = model_card(extended, card_facts(experiment, answers, compressed.slices)).encode()
    digests = {path: manifest.sha256[path] for path, content in files.items() if isinstance(content, Path)}
    is_own = folder.resolve() == package.folder.resolve()
    return write_package(
        folder, extended, files, digests=digests, replaces=package.manifest_sha256 if is_own else None
    )  # fmt: skip


def stored_experiment(folder: Path) -> Experiment | None:
    """The experiment of a package, without its compression; None where there is none, or one of another version."""
    path = folder / EXPERIMENT_FILE
    if not path.exists():
        return None
    stored = yaml.safe_load(path.read_text()) or {}
    try:
        return Experiment.model_validate({key: value for key, value in stored.items() if key != "compress"})
    except ValidationError:
        return None


def _of_other_machines(comparisons: tuple[Comparison, ...], newest: Comparison) -> tuple[Comparison, ...]:
    """One a kind of machine and target is enough."""
    return tuple(
        each for each in comparisons if each.target != newest.target or not each.machine.is_alike(newest.machine)
    )
