"""doctor: a command about the machine."""

from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.options import DEFAULT_STORAGE, Address, Json, StorageFolder, Talk, console_of

STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red"}
CANNOT = 3


def doctor(
    address: Address = None,
    storage: StorageFolder = DEFAULT_STORAGE,
    port: Annotated[int, typer.Option(help="HTTP port that the endpoint will use.")] = 8000,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Look at the machine and the cluster, and say what to do."""
    console = console_of(talk)
    from cluster.doctor import examine

    findings = examine(address, Path(storage), port)
    if as_json:
        console.data([vars(finding) for finding in findings])
    else:
        for finding in findings:
            console.talk(f"{finding.state:<5} {finding.subject:<12} {finding.text}", style=STYLES[finding.state])
            if finding.hint:
                console.talk(f"{'':<18} hint: {finding.hint}")
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(CANNOT)
