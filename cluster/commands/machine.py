"""doctor: a command about the machine."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.commands.options import DEFAULT_STORAGE, Address, Json, StorageFolder, Talk, console_of

if TYPE_CHECKING:
    from cluster.doctor import Finding

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
    from training.run_folder import storage_root

    findings = examine(address, storage_root(storage), port)
    if as_json:
        console.data([vars(finding) for finding in findings])
    else:
        console.data("\n".join(_lines(findings)))
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(CANNOT)


def _lines(findings: list["Finding"]) -> Iterator[str]:
    for finding in findings:
        yield f"{finding.state:<5} {finding.subject:<12} {finding.text}"
        if finding.hint:
            yield f"{'':<18} hint: {finding.hint}"
