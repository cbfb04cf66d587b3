"""Reading while somebody writes: a package that is replaced is read again, and files of two never meet."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from serving import predictor
from serving.predictor import Predictor
from tests.packages import write_regression_package, write_table_package
from training.package import read, swap
from training.package.errors import PackageError
from training.package.read import MAX_READS, load_package, read_manifest, reference_of
from training.package.runtime import open_runner
from training.package.signature import SIGNING_VARIABLE, TRUST_VARIABLE, make_keys
from training.package.write import copy_package

READ_S = 1.5
WRITES_ON = """
import itertools, sys
from pathlib import Path
from training.package.write import copy_package

folder = Path(sys.argv[1])
for name in itertools.cycle(("one", "other")):
    copy_package(folder / name, folder / "package")
    print(name, flush=True)
"""
Replace = Callable[[], object]


def replaced_at(patch: pytest.MonkeyPatch, where: tuple[ModuleType, str], replace: Replace, times: int = 1) -> None:
    """The package is replaced just before this step of reading it, the first times that the step comes."""
    module, name = where
    step, left = getattr(module, name), [times]

    def watched(*arguments: Any) -> Any:
        if left[0]:
            left[0] -= 1
            replace()
        return step(*arguments)

    patch.setattr(module, name, watched)


@pytest.mark.parametrize("step", ["verify", "sha256_of", "_read"])
@pytest.mark.parametrize("exchanges", [True, False])
def test_what_is_replaced_in_the_middle_is_read_again(
    step: str, exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "package"
    write_table_package(folder)
    if not exchanges:
        monkeypatch.setattr(swap, "_exchange", lambda *_: False)
    replaced_at(monkeypatch, (read, step), lambda: write_regression_package(folder))
    package = load_package(folder)
    assert package.manifest.name == "diabetes"
    assert (package.golden.labels, package.transforms.categorical) == ((), ())


def test_the_file_that_is_opened_belongs_to_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "package"
    write_table_package(folder)
    replaced_at(monkeypatch, (predictor, "open_runner"), lambda: write_table_package(folder, bias=2.0))
    found = Predictor.load(folder)
    found.self_test()
    assert found.manifest == read_manifest(folder)


def test_another_package_that_was_there_only_for_a_moment_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, opened = tmp_path / "package", []
    for name, bias in (("package", 0.0), ("first", 0.0), ("other", 2.0)):
        write_table_package(tmp_path / name, bias=bias)

    def between(*arguments: Any) -> Any:
        if not opened:
            copy_package(tmp_path / "other", folder)
        opened.append(open_runner(*arguments))
        if len(opened) == 1:
            copy_package(tmp_path / "first", folder)
        return opened[-1]

    monkeypatch.setattr(predictor, "open_runner", between)
    Predictor.load(folder).self_test()
    assert len(opened) == 2


def test_a_signature_is_held_against_its_own_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = make_keys(tmp_path / "keys")
    monkeypatch.setenv(SIGNING_VARIABLE, str(private))
    monkeypatch.setenv(TRUST_VARIABLE, str(public))
    folder = tmp_path / "package"
    write_table_package(folder)
    replaced_at(monkeypatch, (read, "verify_signature"), lambda: write_regression_package(folder))
    assert read_manifest(folder).name == "diabetes"


def test_a_package_that_is_replaced_without_end_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, bias = tmp_path / "package", iter(range(2 * MAX_READS))
    write_table_package(folder)
    replaced_at(
        monkeypatch, (read, "verify"), lambda: write_table_package(folder, bias=next(bias)), times=2 * MAX_READS
    )
    with pytest.raises(PackageError, match="was replaced each of the 5 times") as caught:
        load_package(folder)
    assert "when nothing writes it" in caught.value.hint
    assert next(bias) == MAX_READS


def test_what_is_read_later_is_what_was_verified(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    write_table_package(folder, extra={"reference.json": b"{}"})
    package = load_package(folder)
    write_table_package(folder, extra={"reference.json": b'{"num_rows": 1}'})
    with pytest.raises(PackageError, match=r"reference\.json is not what it was when the package was verified"):
        reference_of(package)


def test_no_reader_sees_anything_but_a_whole_package_while_another_process_writes(tmp_path: Path) -> None:
    folder, num_loads, seen = tmp_path / "package", 0, set()
    for bias, name in enumerate(("package", "one", "other")):
        write_table_package(tmp_path / name, bias=float(bias))
    command = [sys.executable, "-c", WRITES_ON, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as writer:
        assert writer.stdout is not None
        try:
            writer.stdout.readline()  # the first one is written
            until = time.monotonic() + READ_S
            while time.monotonic() < until:
                found = Predictor.load(folder)  # raises where it takes a package in between for an altered one
                found.self_test()  # and this where the model and the golden rows are of two packages
                seen.add(found.package.manifest_sha256)
                num_loads += 1
        finally:
            writer.kill()
    assert num_loads > 5
    assert len(seen) == 2
