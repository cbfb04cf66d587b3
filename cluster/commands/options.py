"""Options that several commands share, each said once."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cluster.console import Console, Level
from training.config import Experiment
from training.config_file import load_experiment

ConfigArgument = Annotated[Path, typer.Argument(help="The experiment's YAML file.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set any key, as in --set train.peak_lr=3e-4; repeatable."),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", envvar="RAY_ADDRESS", help="A running Ray cluster; without it, a Ray on this machine."
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(metavar="FOLDER", help="Where runs and the registry are; the config's `storage` otherwise."),
]
StorageFolder = Annotated[str, typer.Option("--storage", metavar="FOLDER", help="Where runs and the registry are.")]
Talk = Annotated[
    bool | None,
    typer.Option(
        "--verbose/--quiet", "-v/-q", help="Say more, Ray's own log included, or only errors.", show_default=False
    ),
]
AcceptChangedData = Annotated[
    bool,
    typer.Option("--accept-changed-data", help="Go on with a run though its data changed since it began."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DEFAULT_STORAGE = "runs"


def console_of(talk: bool | None) -> Console:
    """The console for a -v/-q switch: None where neither was given."""
    return Console({None: Level.NORMAL, True: Level.VERBOSE, False: Level.QUIET}[talk])


def experiment_of(config: Path, overrides: list[str] | None, storage: str | None = None) -> Experiment:
    """The checked experiment; `--storage` is `--set storage=`, quoted so that no YAML reads into it."""
    extra = [f"storage={json.dumps(storage)}"] if storage is not None else []  # JSON's strings are YAML's
    return load_experiment(config, [*(overrides or []), *extra])
