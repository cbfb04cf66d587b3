"""`manta`: every command, and what its exit code means."""

import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from cluster.commands import (
    compress,
    curve,
    data,
    drill,
    endpoint,
    evaluate,
    experiment,
    jobs,
    machine,
    package,
    plan,
    reproduce,
    runs,
)
from cluster.console import Console, Level
from training.package.errors import UserError

INTERRUPTED = 130  # what shells give for Ctrl-C
FAILED = 1

HELP = """One experiment file in, one tuned, compressed and served model out.

First steps: `manta init table.csv --target column -o my.yaml`, `manta check my.yaml`, `manta run my.yaml`.

Exit codes: 0 done, 1 the work failed, 2 the input was wrong, 3 the machine or cluster cannot do it, 130 Ctrl-C,
143 ended from outside. Data goes to stdout, talk to stderr.
"""


class Commands(TyperGroup):
    """The commands, with an exit code of ours for Ctrl-C."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            Console(level_in(sys.argv)).talk("stopped; what is done is kept: the same command goes on from there")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=Commands, help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
COMMANDS: tuple[Callable[..., None], ...] = (
    experiment.init,
    experiment.check,
    data.data,
    plan.plan,
    experiment.run,
    experiment.train,
    experiment.tune,
    compress.compress,
    curve.curve,
    drill.drill,
    endpoint.deploy,
    endpoint.predict,
    endpoint.models,
    evaluate.evaluate,
    package.export,
    package.sign,
    package.keys,
    runs.report,
    runs.runs,
    reproduce.reproduce,
    jobs.status,
    jobs.logs,
    jobs.stop,
    machine.doctor,
)
for command in COMMANDS:
    app.command()(command)
# What follows `--` is another command's: its options are not ours.
app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})(jobs.submit)


def main() -> None:
    """Entry point of the console script: every error ends as a message and an exit code."""
    try:
        app()
    except UserError as error:
        Console().error(error)
        sys.exit(error.exit_code)
    except Exception as error:
        sys.exit(unforeseen(error, level_in(sys.argv)))


def level_in(arguments: list[str]) -> Level:
    """The -v/-q switch of a command line, known also where its command has failed."""
    given = {"-v": Level.VERBOSE, "--verbose": Level.VERBOSE, "-q": Level.QUIET, "--quiet": Level.QUIET}
    return next((given[argument] for argument in arguments if argument in given), Level.NORMAL)


def unforeseen(error: BaseException, level: Level) -> int:
    """Say an error's innermost cause in a line and return the exit code; -v shows where it comes from."""
    console = Console(level)
    if console.is_verbose:
        console.traceback()
    while not isinstance(error, UserError) and (deeper := getattr(error, "cause", None) or error.__cause__):
        error = deeper  # Ray wraps what a worker raised: the person needs the inside
    if isinstance(error, UserError):
        console.error(error)
        return error.exit_code
    lines = str(error).strip().splitlines() or [""]
    console.error(UserError(f"{type(error).__name__}: {lines[-1]}", "" if console.is_verbose else "-v shows where"))
    return FAILED
