"""plan: a command about what a search would do, and what it would take."""

from typing import Annotated

import typer

from cluster.commands.options import Address, ConfigArgument, Json, Overrides, Storage, Talk, console_of, experiment_of


def plan(
    config: ConfigArgument,
    overrides: Overrides = None,
    settings: Annotated[
        bool, typer.Option("--settings", help="Print the settings of each corner that was measured, too.")
    ] = False,
    address: Address = None,
    storage: Storage = None,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Say what a search would do, how long it takes and what it costs; a few steps are timed, nothing is kept."""
    experiment, console = experiment_of(config, overrides, storage), console_of(talk)
    from cluster import plan as plans
    from cluster.place import Place
    from cluster.plan_text import plan_json, plan_text

    found = plans.plan(experiment, console, Place(address, config.parent, console.is_verbose))
    console.data(plan_json(found) if as_json else plan_text(found, with_settings=settings))
