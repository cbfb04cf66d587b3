"""deploy, predict, models: commands about packages that answer."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cluster.commands.options import DEFAULT_STORAGE, Address, Json, StorageFolder, Talk, console_of
from cluster.console import table_lines
from training.errors import ConfigError


def deploy(
    model: Annotated[str, typer.Argument(help="name@version, name@champion, a name, or a package's folder.")],
    host: Annotated[str | None, typer.Option(help="Address to listen on; the package's own setting otherwise.")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port; the package's own setting otherwise.")] = None,
    address: Address = None,
    storage: StorageFolder = DEFAULT_STORAGE,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Serve a release: here until Ctrl-C, on a cluster to stay."""
    console = console_of(talk)
    from cluster import releases, work
    from cluster.place import Place

    release = releases.release_of(model, storage)
    config = work.serve_config_of(release.package, host, port)
    place = Place(address, verbose=console.is_verbose)
    with work.deploy(release, config, place, releases.registry_of(storage)) as url:
        console.data({"url": url, "name": release.name, "version": release.version} if as_json else url)
        work.wait_for_ctrl_c(console, url, place)


def predict(
    rows: Annotated[
        str,
        typer.Argument(
            help="Rows: a CSV, Parquet, Arrow or JSON lines file, a folder of them, a glob, or a URI as s3://bucket/folder."
        ),
    ],
    url: Annotated[str | None, typer.Option(help="An endpoint, as http://127.0.0.1:8000.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model at the endpoint, or a release: name@3.")] = None,
    package: Annotated[Path | None, typer.Option(help="A package's folder: predict here, without an endpoint.")] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the answers there, all or nothing: .parquet, .arrow, .csv or .jsonl. With --address also a "
            "folder that the nodes share, as answers/. Without it they go to stdout as they come.",
        ),
    ] = None,
    output_format: Annotated[
        Literal["csv", "jsonl", "parquet", "arrow"] | None,
        typer.Option(
            "--format", help="By the output's ending, if not given; to stdout csv for tables, jsonl for JSON."
        ),
    ] = None,
    keep: Annotated[
        str, typer.Option(metavar="COLUMNS", help="Columns of the rows to copy into the answers: a,b or all.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace an output that is there already.")] = False,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Leave the answers of rows that cannot be read empty, instead of stopping."),
    ] = False,
    variant: Annotated[
        str | None, typer.Option(help="A variant of the package; else the one for the machine that answers.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of a model call: all cores here, 1 for each actor of --address.")
    ] = None,
    batch_rows: Annotated[
        int | None, typer.Option(min=1, help="Rows answered at a time; about 8192, fewer of images.")
    ] = None,
    # Not RAY_ADDRESS, which other commands obey: a few rows must not travel because a cluster is known.
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Answer with actors on this Ray: host:port, auto, or local to start one."
        ),
    ] = None,
    actors: Annotated[
        str | None, typer.Option(metavar="N|N-M", help="Actors on that Ray; as many as fit, if not given.")
    ] = None,
    device: Annotated[Literal["cpu", "gpu"], typer.Option(help="gpu: each of those actors has a GPU.")] = "cpu",
    storage: StorageFolder = DEFAULT_STORAGE,
    talk: Talk = None,
) -> None:
    """Answer the rows of files, by a package here or on a Ray, or by an endpoint. Memory does not grow with them."""
    console = console_of(talk)
    _require_one_that_answers(url, model, package)
    _require_a_ray(address, actors, device)
    from cluster.predict import wish as answers

    kept = tuple(dict.fromkeys(name.strip() for name in keep.split(",") if name.strip()))
    wish = answers.Wish(rows, output, output_format, kept, skip_bad, force, batch_rows)
    try:
        if url is not None:
            _refuse_idle(variant=variant, threads=threads, address=address)
            tally = answers.by_endpoint(wish, url, model, console.step, console.talk)
        else:
            by = answers.ByPackage(package or answers.package_of(str(model), storage), variant, threads)
            if address is None:
                tally = answers.by_package(wish, by, console.step, console.talk)
            else:
                from cluster.place import Place

                place = Place(address, verbose=console.is_verbose)
                tally = answers.on_ray(wish, by, place, actors, console.step, console.talk, on_gpu=device == "gpu")
    finally:
        console.close()
    console.talk(tally.words(output))


def _require_one_that_answers(url: str | None, model: str | None, package: Path | None) -> None:
    if url is not None and package is not None:
        raise ConfigError("--url and --package exclude each other", "give one of them")
    if url is None and package is None and model is None:
        raise ConfigError("what should answer?", "--url of an endpoint, --package folder, or --model name@version")


def _require_a_ray(address: str | None, actors: str | None, device: str) -> None:
    if address is None and (actors is not None or device == "gpu"):
        given = "--actors" if actors is not None else "--device gpu"
        raise ConfigError(
            f"{given} is of actors on a Ray, and there is none", "--address host:port, or --address local to start one"
        )


def _refuse_idle(**options: object) -> None:
    if given := [f"--{name}" for name, value in options.items() if value is not None]:
        raise ConfigError(f"{', '.join(given)} cannot be chosen for an endpoint", "it was chosen where it was deployed")


def models(
    name: Annotated[
        str | None, typer.Argument(help="A model, or name@version with --alias.", show_default=False)
    ] = None,
    alias: Annotated[str | None, typer.Option(help="Point this alias at name@version, as champion.")] = None,
    storage: StorageFolder = DEFAULT_STORAGE,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """List releases, aliases and what was deployed when."""
    console = console_of(talk)
    from cluster.releases import registry_of

    registry = registry_of(storage)
    if alias is not None:
        if name is None:
            raise ConfigError("--alias needs a release", "manta models digits@2 --alias champion")
        moved = registry.set_alias(registry.resolve(name), alias)
        console.talk(f"{moved.name}@{alias} is now version {moved.version}")
    only = registry.resolve(name).name if name is not None else None
    releases = registry.releases(only)
    history = registry.history(only) if only is not None else []
    if as_json:
        console.data(
            {
                "releases": [release.model_dump(mode="json") for release in releases],
                "history": [record.model_dump(mode="json") for record in history],
            }
        )
        return
    rows = [["release", "aliases", "score", "run", "created"]]
    for release in releases:
        score = "-" if release.score is None else f"{release.metric} {release.score:.4f}"
        named = f"{release.name}@{release.version}"
        rows.append([named, ",".join(release.aliases) or "-", score, release.run, release.created_at])
    lines = table_lines(rows)
    if history:
        lines += [
            "",
            *table_lines([[record.at, record.event, str(record.version), _said(record.details)] for record in history]),
        ]
    console.data("\n".join(lines))


def _said(details: dict[str, object]) -> str:
    return " ".join(f"{key}={value}" for key, value in details.items() if key in ("alias", "url", "run"))
