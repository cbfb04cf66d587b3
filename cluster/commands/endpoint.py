"""deploy, predict, models: commands about packages that answer."""

import time
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
    rows: Annotated[Path, typer.Argument(help="CSV, Parquet, JSON or JSON-lines file with rows.")],
    url: Annotated[str | None, typer.Option(help="An endpoint, as http://127.0.0.1:8000.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model at the endpoint, or a release: name@3.")] = None,
    package: Annotated[Path | None, typer.Option(help="A package's folder: predict here, without an endpoint.")] = None,
    output_format: Annotated[
        Literal["csv", "jsonl"] | None,
        typer.Option("--format", help="csv for tables and jsonl for JSON, if not given."),
    ] = None,
    storage: StorageFolder = DEFAULT_STORAGE,
    talk: Talk = None,
) -> None:
    """Answer the rows of a file, by an endpoint or a package."""
    console = console_of(talk)
    if url is not None and package is not None:
        raise ConfigError("--url and --package exclude each other", "give one of them")
    if url is None and package is None and model is None:
        raise ConfigError("what should answer?", "--url of an endpoint, --package folder, or --model name@version")
    from cluster import predict as answers

    began = time.perf_counter()
    if url is not None:
        result = answers.over_http(rows, url, model)
    else:
        result = answers.here(rows, package or answers.package_of(str(model), storage))
    kind = output_format or answers.default_format(rows)
    console.data(answers.as_csv(result) if kind == "csv" else answers.as_json_lines(result))
    console.talk(f"{len(result)} rows in {time.perf_counter() - began:.2f} s")


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
