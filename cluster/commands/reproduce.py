"""reproduce: a command that makes a run's model again and compares."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.options import DEFAULT_STORAGE, Address, Json, Overrides, StorageFolder, Talk, console_of

DIFFERENT = 1


def reproduce(
    run: Annotated[str, typer.Argument(help="A run's name, its folder, or its config file.")],
    overrides: Overrides = None,
    code: Annotated[
        Path | None, typer.Option(help="Folder of your own modules; the run's own by default.", show_default=False)
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the new run there also where it is equal.")] = False,
    address: Address = None,
    storage: StorageFolder = DEFAULT_STORAGE,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Train a run again and compare: exits with 0 where the models are equal within 1e-6, else with 1."""
    console = console_of(talk)
    from cluster.history import find_run
    from cluster.place import Place
    from cluster.reproduce import reproduce as make
    from cluster.reproduce_text import reproduction_text

    folder = find_run(run, storage)
    place = Place(address, code or Path(), console.is_verbose)
    found = make(folder, console, place, code_folder=code, overrides=overrides or [], keep=keep)
    console.close()
    console.data(found.model_dump(mode="json") if as_json else reproduction_text(found))
    if found.comparison.verdict == "different":
        raise typer.Exit(DIFFERENT)
