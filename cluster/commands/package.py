"""export, sign, keys: commands about one package as a thing to hand on."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from cluster.commands.options import DEFAULT_STORAGE, Json, StorageFolder, Talk, console_of
from training.errors import ConfigError

Format = Literal["onnx", "pt2", "mlflow"]


def export(
    model: Annotated[str, typer.Argument(help="A package's folder, a release as name@version, or a run.")],
    output_format: Annotated[
        Format,
        typer.Option(
            "--format",
            help="onnx: for ONNX Runtime; pt2: a program of torch.export; mlflow: for mlflow.pyfunc (manta[mlflow]).",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write, whole or not at all.", show_default=False)
    ],
    variant: Annotated[
        str | None, typer.Option(help="A variant of the package; the chosen one where the format can hold it.")
    ] = None,
    code: Annotated[
        Path | None,
        typer.Option(help="With pt2: folder of your own modules, where the model is a class of yours."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export in that folder.")] = False,
    storage: StorageFolder = DEFAULT_STORAGE,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Write a package in a form for other programs, check it against the golden rows, and print its folder."""
    console = console_of(talk)
    if code is not None and output_format != "pt2":
        raise ConfigError("--code is for --format pt2", "the other formats need no code of yours: leave it out")
    from cluster.evaluate import package_of

    folder = package_of(model, storage)
    if output_format == "onnx":
        from serving.export.onnx_folder import export_onnx

        path = export_onnx(folder, output, variant, force=force)
    elif output_format == "mlflow":
        from serving.export.mlflow_folder import export_mlflow

        path = export_mlflow(folder, output, variant, force=force)
    else:
        from training.exporting import export_pt2

        path = export_pt2(folder, output, variant, code_path=str(code.resolve()) if code else "", force=force)
    console.talk("opened again: its golden rows are answered as they were when the package was made")
    console.data({"path": str(path), "format": output_format, "package": str(folder)} if as_json else str(path))


def sign(
    package: Annotated[str, typer.Argument(help="A package's folder, a release as name@version, or a run.")],
    key: Annotated[Path, typer.Option(help="Your private key, as `manta keys` makes it.", show_default=False)],
    storage: StorageFolder = DEFAULT_STORAGE,
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Sign a package, in place of an earlier signature, and print the signature's file."""
    console = console_of(talk)
    from cluster.evaluate import package_of
    from training.package.manifest import SIGNATURE_FILE
    from training.package.write import sign_package

    folder = package_of(package, storage)
    signer = sign_package(folder, key)
    path = folder / SIGNATURE_FILE
    console.talk(f"signed by {signer.fingerprint}")
    console.data({"path": str(path), "signer": signer.fingerprint} if as_json else str(path))


def keys(
    folder: Annotated[Path, typer.Argument(help="Folder to write private.pem and public.pem to.")],
    as_json: Json = False,
    talk: Talk = None,
) -> None:
    """Make a pair of keys to sign packages with, and print the public one's file; keys that are there stay."""
    console = console_of(talk)
    from training.package.signature import TRUST_VARIABLE, make_keys, public_key_of

    private, public = make_keys(folder)
    fingerprint = public_key_of(public).fingerprint
    console.talk(f"sign with `manta sign PACKAGE --key {private}`; keep that file to yourself")
    console.talk(f"where only your packages may load: export {TRUST_VARIABLE}={public.resolve()}")
    written = {"private": str(private), "public": str(public), "fingerprint": fingerprint}
    console.data(written if as_json else str(public))
