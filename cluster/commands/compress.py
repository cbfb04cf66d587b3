"""compress: a run's model, or what is packaged already, in smaller and faster forms."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.commands.options import (
    DEFAULT_STORAGE,
    AcceptChangedData,
    Address,
    Json,
    Overrides,
    Storage,
    Talk,
    console_of,
    experiment_of,
)
from cluster.console import Console
from training.config_file import YAML_ENDINGS
from training.errors import ConfigError

if TYPE_CHECKING:
    from cluster.compress_package import Wanted
    from cluster.place import Place


def compress(
    target: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG|RUN|PACKAGE",
            help="An experiment's YAML file; or a run, a package's folder, or a release, to which forms are added.",
            show_default=False,
        ),
    ],
    overrides: Overrides = None,
    data: Annotated[
        str | None,
        typer.Option(help="Of a package: a table with the target to judge by, where its own data is not at hand."),
    ] = None,
    data_target: Annotated[
        str | None, typer.Option("--target", help="With --data: the target's name, where the table has another.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Of a package: write another one here and leave it as it is.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --output: replace a package that is there already.")
    ] = False,
    code: Annotated[
        Path | None, typer.Option(help="Of a package: folder of your own modules, where the model is a class of yours.")
    ] = None,
    address: Address = None,
    storage: Storage = None,
    accept_changed_data: AcceptChangedData = False,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Make smaller forms, measure them, choose; prints the package's path.

    Of an experiment: searches and trains first, where that is not done. Of a run or a package: adds forms, and leaves
    those that are there as they are; --set then takes keys of compress, as in --set max_drop=0.01.
    """
    console = console_of(talk)
    if Path(target).suffix not in YAML_ENDINGS:
        from cluster.compress_package import Wanted
        from cluster.place import Place

        wanted = Wanted(target, overrides or [], data, data_target, output, force, storage or DEFAULT_STORAGE)
        _package(wanted, Place(address, code or Path(), console.is_verbose), console, as_json)
        return
    if any(each is not None for each in (data, output, data_target, code)):
        raise ConfigError("--data, --target, --code and --output are for a package; an experiment says these itself")
    experiment = experiment_of(Path(target), overrides, storage)
    from cluster import work
    from cluster.place import Place

    folder = Path(target).parent
    place = Place(address, folder, console.is_verbose, accepts_changed_data=accept_changed_data)
    _show(work.compress(experiment, console, place), console, as_json)


def _package(wanted: "Wanted", place: "Place", console: Console, as_json: bool) -> None:
    from cluster.compress_package import compress_package

    _show(compress_package(wanted, console, place), console, as_json)


def _show(outcome: dict[str, Any], console: Console, as_json: bool) -> None:
    """The forms side by side on stderr, the package's path on stdout."""
    from cluster.summary_text import package_text
    from training.package.read import read_manifest

    console.close()
    if as_json:
        console.data(outcome)
        return
    console.talk(package_text(read_manifest(Path(outcome["package"]))))
    console.data(str(outcome["package"]))
