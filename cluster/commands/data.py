"""data: a command about an experiment's table."""

from typing import Annotated

import typer

from cluster.commands.options import ConfigArgument, Json, Overrides, Talk, console_of, experiment_of


def data(
    config: ConfigArgument,
    overrides: Overrides = None,
    checks: Annotated[
        bool, typer.Option("--checks", help="Print what each column is as YAML for data.checks, nothing else.")
    ] = False,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Read, check and describe an experiment's table; nothing is trained."""
    experiment, console = experiment_of(config, overrides), console_of(talk)
    from cluster.data_text import checks_text, description_json, description_text
    from training.data.checks import as_one_error
    from training.data.describe import describe, inferred_checks, read_checked

    tables = read_checked(experiment.data, code_path=str(config.parent.resolve()))
    if not checks:
        description = describe(tables, experiment.data)
        console.data(description_json(description) if as_json else description_text(description))
        if description.problems:
            raise as_one_error(description.problems)
        return
    found = inferred_checks(tables, experiment.data)
    console.data(found if as_json else checks_text(found, str(config), tables))
