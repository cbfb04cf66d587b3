"""Writing a form's file whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from training.compress.errors import NotMade
from training.package.errors import PackageError
from training.package.runtimes.on_onnxruntime import VariantRunner

MAX_ONNX_BYTES = 2**31 - 1  # of protobuf; larger models keep their weights in files of their own, which Manta does not


@contextmanager
def written(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes `target` when the block ends well; on an error nothing of it stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{os.getpid()}-{target.name}")
    try:
        yield beside
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def save_onnx(model: onnx.ModelProto, target: Path) -> None:
    """Write a model that onnx's checker and ONNX Runtime accept.

    Raises:
        NotMade: they do not, or it is too large for one file.
        OSError: the disk is full, or cannot be written to; `target` is as it was.
    """
    check_size(model.ByteSize())
    with written(target) as path:
        try:
            onnx.checker.check_model(model)
        except onnx.checker.ValidationError as error:
            raise NotMade(f"onnx refuses it: {one_line(error)}") from error
        path.write_bytes(model.SerializeToString())
        check_loads(path)


def check_loads(path: Path) -> None:
    """Raises NotMade when ONNX Runtime does not take a file."""
    try:
        VariantRunner(path)
    except PackageError as error:
        reason = one_line(error.__cause__ or error).replace(str(path), "the file")  # whose name will be another one
        raise NotMade(f"ONNX Runtime does not load it: {reason}") from error


def check_size(num_bytes: int) -> None:
    """Raises NotMade for more than one ONNX file holds."""
    if num_bytes > MAX_ONNX_BYTES:
        raise NotMade(f"{num_bytes / 2**30:.1f} GiB are more than one ONNX file holds, which is 2 GiB")


def one_line(error: BaseException) -> str:
    """What a foreign error says, in a line: class and first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
