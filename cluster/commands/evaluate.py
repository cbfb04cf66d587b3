"""evaluate: a command about a package on rows that are new."""

import time
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.options import DEFAULT_STORAGE, Json, StorageFolder, Talk, console_of
from training.errors import ConfigError


def evaluate(
    model: Annotated[str, typer.Argument(help="A package's folder, a release as name@version, or a run.")],
    data: Annotated[
        str, typer.Option(help="A table with the target in it: anything that data.source may be.", show_default=False)
    ],
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Scores for each value, or quarter of the numbers, of it; repeatable."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="The target's name, where the table has another.")] = None,
    rename_label: Annotated[
        list[str] | None,
        typer.Option(metavar="THEIRS=OURS", help="A class that the table spells otherwise; repeatable."),
    ] = None,
    variant: Annotated[str | None, typer.Option(help="A variant of the package; the served one otherwise.")] = None,
    resamples: Annotated[int, typer.Option(min=0, max=100_000, help="Resamples of the rows; 0: no intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write an HTML page, too.")] = None,
    storage: StorageFolder = DEFAULT_STORAGE,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Score a package on another table: intervals, slices, calibration, what moved."""
    console = console_of(talk)
    require_page(output)
    from cluster.evaluate import Wanted, judge
    from cluster.evaluate_text import evaluation_text
    from training.report.evaluation_page import evaluation_page
    from training.run_folder import write_text

    began = time.perf_counter()
    wanted = Wanted(
        model, data, tuple(dict.fromkeys(by or ())), target, _renames(rename_label or []), variant, resamples, seed
    )
    found = judge(wanted, storage)
    if output is not None:
        write_text(output, evaluation_page(found))
        console.talk(f"wrote {output}")
    console.data(found.model_dump(mode="json") if as_json else evaluation_text(found))
    console.talk(f"{found.num_rows:,} rows in {time.perf_counter() - began:.2f} s")


def require_page(output: Path | None) -> None:
    """Refuse a page that could not be written, before the work. Raises ConfigError."""
    if output is None:
        return
    if output.is_dir() or not output.absolute().parent.is_dir():
        what = "is a folder" if output.is_dir() else f"cannot be written: there is no folder {output.parent}"
        raise ConfigError(f"--output {output} {what}", "give a file, as in --output page.html")


def _renames(texts: list[str]) -> dict[str, str]:
    renames: dict[str, str] = {}
    for text in texts:
        theirs, equals, ours = text.partition("=")
        if not (equals and theirs and ours):
            raise ConfigError(f"--rename-label {text!r} is not of the form THEIRS=OURS")
        renames[theirs] = ours
    return renames
