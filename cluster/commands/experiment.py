"""init, check, train, tune, compress, run: commands about one experiment."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.commands.options import (
    DEFAULT_STORAGE,
    AcceptChangedData,
    Address,
    ConfigArgument,
    Json,
    Overrides,
    Storage,
    Talk,
    console_of,
    experiment_of,
)
from cluster.console import Console, table_lines
from training.config import Experiment
from training.config_file import as_written, explain, json_schema
from training.errors import ConfigError

if TYPE_CHECKING:
    from cluster.place import Place


def init(
    source: Annotated[
        str,
        typer.Argument(
            help="A table or a folder of images: file, folder, glob or URI, module:function, or sklearn:<name>."
        ),
    ],
    target: Annotated[str, typer.Option(help="The column to predict.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; stdout otherwise.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the experiment; from the source otherwise.")] = None,
    names: Annotated[
        str | None, typer.Option(help="Column names, comma-separated, for a CSV file without a header line.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the output file if it is there.")] = False,
    talk: Talk = None,
) -> None:
    """Write a config for a table, its choices explained."""
    from cluster.init_config import config_text

    console = console_of(talk)
    if output is not None and output.exists() and not force:
        raise ConfigError(f"{output} is there already", "--force replaces it")
    text = config_text(source, target, name, tuple(names.split(",")) if names else None)
    if output is None:
        console.data(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{output} cannot be written: {error.strerror}", "give another file to --output") from error
    console.talk(f"wrote {output}; next: manta check {output}, then manta run {output}")


def check(
    config: Annotated[Path | None, typer.Argument(help="The experiment's YAML file.", show_default=False)] = None,
    overrides: Overrides = None,
    explained: Annotated[bool, typer.Option("--explain", help="List every key: type, default, unit, meaning.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema, for editors.")] = False,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Find every problem of a config at once; nothing is started."""
    console = console_of(talk)
    if schema:
        console.data(json_schema())
    if explained:
        console.data([vars(key) for key in explain()] if as_json else _explained())
    if config is None:
        if not (schema or explained):
            raise ConfigError("no config given", "manta check experiment.yaml, or --explain, or --schema")
        return
    try:
        experiment = experiment_of(config, overrides)
    except ConfigError as error:
        if as_json:
            console.data({"ok": False, "error": error.message, "hint": error.hint})
        raise
    if as_json and not (schema or explained):
        console.data({"ok": True, "experiment": experiment.model_dump(mode="json")})
    num_keys = sum(len(part) if isinstance(part, dict) else 1 for part in as_written(experiment).values())
    console.talk(f"{config} is fine: experiment {experiment.name}, {num_keys} keys set, the rest at their defaults")


def _explained() -> str:
    rows = [["key", "type", "default", "unit", "meaning"]]
    for key in explain():
        meaning = f"({key.when}) {key.meaning}" if key.when else key.meaning
        rows.append([key.key, key.type, key.default, key.unit, meaning])
    return "\n".join(table_lines(rows))


def train(
    config: Annotated[Path | None, typer.Argument(help="The experiment's YAML file.", show_default=False)] = None,
    overrides: Overrides = None,
    folds: Annotated[
        int | None, typer.Option(help="Cross-validate: hold out each of so many folds once, then train on all rows.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="With --folds: trainings of each fold, by other seeds.")] = None,
    refit: Annotated[
        bool, typer.Option("--refit/--no-refit", help="With --folds: whether a model of all rows follows.")
    ] = True,
    from_trial: Annotated[
        str | None, typer.Option("--from", help="RUN/TRIAL: train a search's trial again, in place of a config.")
    ] = None,
    address: Address = None,
    storage: Storage = None,
    accept_changed_data: AcceptChangedData = False,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Train once, or with --folds a fold at a time; prints the checkpoint's path, or a table of the folds."""
    if folds is None and (seeds is not None or not refit):
        raise ConfigError("--seeds and --no-refit are for a cross-validation", "add --folds 5, or leave them out")
    if from_trial is not None:
        _train_from(from_trial, config, overrides, folds, address, storage, as_json, console_of(talk))
        return
    if config is None:
        raise ConfigError("no config given", "manta train experiment.yaml, or manta train --from RUN/TRIAL")
    experiment, console = experiment_of(config, overrides, storage), console_of(talk)
    from cluster import train as training
    from cluster.place import Place

    place = Place(address, config.parent, console.is_verbose, accepts_changed_data=accept_changed_data)
    if folds is not None:
        _cross_validate(experiment, console, place, folds, 1 if seeds is None else seeds, refit, as_json)
        return
    outcome = training.train(experiment, console, place)
    console.data(outcome if as_json else str(outcome["checkpoint"]))


def _train_from(
    trial: str, config: Path | None, overrides: list[str] | None, folds: int | None, address: str | None,
    storage: str | None, as_json: bool, console: Console,
) -> None:  # fmt: skip
    if config is not None or overrides or folds is not None:
        raise ConfigError(f"--from {trial} brings its own settings", "leave the config, --set and --folds out")
    from cluster.from_trial import from_trial_text, train_from
    from cluster.place import Place

    found = train_from(trial, console, Place(address, Path(), console.is_verbose), storage or DEFAULT_STORAGE)
    console.close()
    console.data(found.model_dump(mode="json") if as_json else from_trial_text(found))


def _cross_validate(
    experiment: Experiment, console: Console, place: "Place", num_folds: int, num_seeds: int, refit: bool, as_json: bool
) -> None:
    from cluster.folds import cross_validate, folder_of
    from cluster.folds_text import folds_json, folds_text
    from training.cross_validation.record import FoldsPlan

    plan = FoldsPlan(num_folds, num_seeds)
    record = cross_validate(experiment, console, place, plan, with_refit=refit)
    console.close()
    folder = str(folder_of(experiment))
    console.data(folds_json(record, folder) if as_json else folds_text(record))
    console.talk(f"out-of-fold predictions: {folder}/out_of_fold.parquet; the page: {folder}/report.html")


def tune(
    config: ConfigArgument,
    overrides: Overrides = None,
    more: Annotated[
        int | None, typer.Option(min=1, help="Trials to add to a search that has ended.", show_default=False)
    ] = None,
    address: Address = None,
    storage: Storage = None,
    accept_changed_data: AcceptChangedData = False,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Search for the best settings, and print them; goes on where it stopped, and --more extends it."""
    experiment, console = experiment_of(config, overrides, storage), console_of(talk)
    from cluster import work
    from cluster.place import Place
    from cluster.summary_text import tune_text

    outcome = work.tune(
        experiment,
        console,
        Place(address, config.parent, console.is_verbose, accepts_changed_data=accept_changed_data),
        more,
    )
    console.data(outcome if as_json else tune_text(outcome))


def run(
    config: ConfigArgument,
    overrides: Overrides = None,
    address: Address = None,
    storage: Storage = None,
    accept_changed_data: AcceptChangedData = False,
    keep_serving: Annotated[
        bool, typer.Option("--keep-serving", help="Keep the endpoint up until Ctrl-C; on a cluster, leave it there.")
    ] = False,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """The whole way, from the table to answers over HTTP."""
    experiment, console = experiment_of(config, overrides, storage), console_of(talk)
    from cluster import work
    from cluster.place import Place
    from cluster.summary_text import summary_text
    from training.run_folder import RunFolder
    from training.run_record import RunRecord
    from training.summary import summarise

    folder = RunFolder.of(experiment).path
    place = Place(address, config.parent, console.is_verbose, accepts_changed_data=accept_changed_data)
    with work.run(experiment, console, place, keep_serving) as url:
        console.close()
        console.data(summarise(folder).model_dump(mode="json") if as_json else summary_text(RunRecord.read(folder)))
        if keep_serving:
            work.wait_for_ctrl_c(console, url, place)
