"""drill: a command that takes a training's machines away, and looks whether it ends the same."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.commands.options import ConfigArgument, Json, Overrides, Talk, console_of, experiment_of
from cluster.console import Console
from cluster.drill.errors import DrillError

if TYPE_CHECKING:
    from cluster.drill.settings import Drilled
    from cluster.drill.wish import Wish

FAILED, INTERRUPTED = 1, 130


def drill(
    config: ConfigArgument,
    overrides: Overrides = None,
    events: Annotated[int, typer.Option(min=1, max=1000, help="How many events; of a trace, losses to aim at.")] = 20,
    kinds: Annotated[
        str,
        typer.Option(
            metavar="KIND,...",
            help="Of notice (a machine is drained, and goes at the deadline), kill_worker, kill_node (SIGKILL), "
            "kill_driver (and the same command again), kill_cluster (all of it; a new one goes on).",
        ),
    ] = "notice,kill_worker,kill_node,kill_driver",
    seed: Annotated[int, typer.Option(min=0, help="Of kinds, moments and victims.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Training processes, in place of train.workers.", show_default=False)
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(min=1, help="Machines of one worker each; one more than workers otherwise.", show_default=False),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Replay how spot machines came and went, in place of drawn events: "
            '{"metadata": {"gap_seconds": s}, "data": [n, ...]}.',
            show_default=False,
        ),
    ] = None,
    acceleration: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Seconds of the trace in one of the drill; so that about --events are lost otherwise.",
            show_default=False,
        ),
    ] = None,
    notice_s: Annotated[
        float, typer.Option(min=0, help="Seconds between a notice and the machine's end; clouds give 30 to 120.")
    ] = 8.0,
    no_notice: Annotated[bool, typer.Option("--no-notice", help="The trace's machines go without a word.")] = False,
    replace_s: Annotated[float, typer.Option(min=0, help="Seconds until a lost machine is replaced.")] = 2.0,
    spacing_s: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds of training between events: train.epochs grows to give room for all; 0 leaves it. 4, or 20 "
            "for a trace, otherwise.",
            show_default=False,
        ),
    ] = None,
    max_minutes: Annotated[float, typer.Option(min=0.1, help="Give up on the broken run after so long.")] = 60.0,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep both runs and the drivers' logs here.", show_default=False),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the run over time, with its events.", show_default=False)
    ] = None,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Train unbroken, then with machines being lost; compare."""
    console = console_of(talk)
    from cluster.drill.plan import kinds_of
    from cluster.drill.settings import Drilled, nodes_for
    from cluster.drill.trace import read_trace
    from cluster.drill.wish import Wish

    if trace is None and (no_notice or acceleration is not None):
        raise DrillError("--no-notice and --acceleration are of a trace", "give one: --trace FILE")
    if svg is not None and not svg.parent.is_dir():
        raise DrillError(f"--svg {svg}: there is no folder {svg.parent}", "make it, or give another file")
    wish = Wish(
        num_events=events, kinds=kinds_of(kinds), seed=seed, num_nodes=nodes,
        trace=None if trace is None else read_trace(trace), acceleration=acceleration, with_notice=not no_notice,
        notice_s=notice_s, replace_s=replace_s, spacing_s=spacing_s, max_s=max_minutes * 60,
        verbose=console.is_verbose,
    )  # fmt: skip
    settings = (*(overrides or ()), *([f"train.workers={workers}"] if workers is not None else []))
    nodes_for(experiment_of(config, [*settings]), wish)
    with ExitStack() as stack:
        folder = kept(keep) if keep is not None else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _run(Drilled(config.resolve(), settings, folder.resolve()), wish, console, svg, as_json)


def _run(drilled: "Drilled", wish: "Wish", console: Console, svg: Path | None, as_json: bool) -> None:
    from cluster.drill.surroundings import surroundings

    with surroundings(verbose=console.is_verbose):
        from cluster.drill import drill as drills  # imports Ray, which reads its surroundings then
        from cluster.drill.picture import write_svg
        from cluster.drill.text import drill_text

        try:
            result = drills.drill(drilled, wish, console)
        except KeyboardInterrupt:
            console.talk("stopped; nothing of the cluster is left, and the next drill begins from nothing")
            raise typer.Exit(INTERRUPTED) from None
    console.close()
    if svg is not None:
        write_svg(result, svg)
    console.data(result.as_json() if as_json else drill_text(result))
    if not result.ok:
        raise typer.Exit(FAILED)


def kept(folder: Path) -> Path:
    """A folder for a drill alone. Raises DrillError where there is something in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise DrillError(f"--keep {folder} cannot be used: {error.strerror or error}", "give another folder") from error
    if not is_empty:
        raise DrillError(f"--keep {folder} is not empty", "give a new folder: a drill begins from nothing")
    return folder
