"""curve: a command about how scores grow with the number of training rows."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.evaluate import require_page
from cluster.commands.options import Address, ConfigArgument, Json, Overrides, Storage, Talk, console_of, experiment_of


def curve(
    config: ConfigArgument,
    overrides: Overrides = None,
    points: Annotated[int, typer.Option(min=1, max=50, help="Sizes, doubled where there are enough rows.")] = 6,
    repeats: Annotated[int, typer.Option(min=1, max=50, help="Trainings of each size, by other seeds.")] = 3,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the HTML page here, too.")] = None,
    address: Address = None,
    storage: Storage = None,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Train on growing parts of the rows: is it bias, variance, or too few rows?"""
    experiment, console = experiment_of(config, overrides, storage), console_of(talk)
    require_page(output)
    from cluster import curve as curves
    from cluster.curve_text import curve_json, curve_text
    from cluster.place import Place
    from training.curve_record import CurvePlan
    from training.run_folder import write_text

    place = Place(address, config.parent, console.is_verbose)
    record, page = curves.curve(experiment, console, place, CurvePlan(points, repeats))
    console.close()
    if output is not None:
        write_text(output, page.read_text())
    console.data(curve_json(record) if as_json else curve_text(record))
    console.talk(f"the plot: {output or page}")
