"""Whatever is altered in a package, anywhere: it does not load, and what is said is a PackageError."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.packages import write_table_package
from training.package.errors import PackageError
from training.package.read import load_package
from training.package.signature import TRUST_VARIABLE, make_keys
from training.package.write import sign_package

V2 = Path(__file__).parent / "written_by_v2" / "table"
EXTRA = {"MODEL_CARD.md": b"# Card", "experiment.yaml": b"name: adult\n", "weights.safetensors": b"\x08" + b"\0" * 7}
Snapshot = dict[str, bytes | str]  # content by path; of a link where it leads to


class Signed:
    """A signed package that is damaged and put right again."""

    def __init__(self, folder: Path) -> None:
        self.folder, (private, self.public) = folder, make_keys(folder.parent / "keys")
        sign_package(folder, private)
        self.pristine = self.snapshot()

    def snapshot(self) -> Snapshot:
        paths = [path for path in self.folder.rglob("*") if path.is_symlink() or path.is_file()]
        return {path.relative_to(self.folder).as_posix(): _content(path) for path in paths}

    def restore(self) -> None:
        shutil.rmtree(self.folder)
        for name, content in self.pristine.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            assert isinstance(content, bytes)
            path.write_bytes(content)


def _content(path: Path) -> bytes | str:
    return f"-> {path.readlink()}" if path.is_symlink() else path.read_bytes()


@pytest.fixture(scope="module", params=["small", "written_by_v2"])
def signed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """A package of today with every optional file, and one that an earlier version wrote; both signed."""
    folder = tmp_path_factory.mktemp(request.param) / "package"
    if request.param == "small":
        write_table_package(folder, extra=EXTRA)
    else:
        shutil.copytree(V2, folder)
    return Signed(folder)


def flip(data: st.DataObject, raw: bytes) -> bytes:
    position = data.draw(st.integers(0, len(raw) - 1))
    return raw[:position] + bytes([raw[position] ^ data.draw(st.integers(1, 255))]) + raw[position + 1 :]


def cut(data: st.DataObject, raw: bytes) -> bytes:
    return raw[: data.draw(st.integers(0, len(raw) - 1))]


def insert(data: st.DataObject, raw: bytes) -> bytes:
    position = data.draw(st.integers(0, len(raw)))
    return raw[:position] + data.draw(st.binary(min_size=1, max_size=9)) + raw[position:]


def take_out(data: st.DataObject, raw: bytes) -> bytes:
    start = data.draw(st.integers(0, len(raw) - 1))
    return raw[:start] + raw[data.draw(st.integers(start + 1, len(raw))) :]


def content(data: st.DataObject, signed: Signed, *names: str) -> None:
    path = signed.folder / data.draw(st.sampled_from(names or sorted(signed.pristine)))
    path.write_bytes(data.draw(st.sampled_from([flip, flip, flip, cut, insert, take_out]))(data, path.read_bytes()))


def removed(data: st.DataObject, signed: Signed) -> None:
    (signed.folder / data.draw(st.sampled_from(sorted(signed.pristine)))).unlink()


def added(data: st.DataObject, signed: Signed) -> None:
    characters = st.characters(exclude_characters="/\0", exclude_categories=("Cs",))
    name = data.draw(st.text(characters, min_size=1, max_size=20))
    path = signed.folder / data.draw(st.sampled_from(["", "variants", "deeper/still"])) / name
    assume(name not in (".", "..") and not path.exists())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.draw(st.binary(max_size=9)))


def linked(data: st.DataObject, signed: Signed) -> None:
    """A file in place of which there is a link to the same content, or one link more."""
    name = data.draw(st.sampled_from([*sorted(signed.pristine), "another"]))
    path, outside = signed.folder / name, signed.folder.parent / "outside"
    outside.write_bytes(path.read_bytes() if path.exists() else b"")
    path.unlink(missing_ok=True)
    path.symlink_to(data.draw(st.sampled_from([outside, signed.folder.parent, Path("nowhere"), signed.folder])))


def exchanged(data: st.DataObject, signed: Signed) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(signed.pristine)), min_size=2, max_size=2, unique=True))
    one, other = (signed.folder / name for name in names)
    before = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(before)


DAMAGES: list[Callable[[st.DataObject, Signed], None]] = [content, content, content, removed, added, linked, exchanged]
FAST = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FAST
@given(data=st.data())
def test_no_damaged_package_loads(data: st.DataObject, signed: Signed) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(TRUST_VARIABLE, str(signed.public))
        data.draw(st.sampled_from(DAMAGES))(data, signed)
        try:
            assume(signed.snapshot() != signed.pristine)
            with pytest.raises(PackageError):
                load_package(signed.folder)
        finally:
            signed.restore()
        load_package(signed.folder)


@settings(FAST, max_examples=100)
@given(data=st.data())
def test_also_where_no_key_is_configured(data: st.DataObject, signed: Signed) -> None:
    """Manifest and signature, whose bytes have no digest in the manifest."""
    content(data, signed, "manifest.json", "signature.json")
    try:
        assume(signed.snapshot() != signed.pristine)
        with pytest.raises(PackageError, match=r"altered|not JSON|holds a|format_version"):
            load_package(signed.folder)
    finally:
        signed.restore()


def test_every_byte_of_the_signature_counts(signed: Signed) -> None:
    path = signed.folder / "signature.json"
    raw = path.read_bytes()
    for position in range(len(raw)):
        path.write_bytes(raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :])
        with pytest.raises(PackageError, match=r"altered: signature\.json"):
            load_package(signed.folder)
    path.write_bytes(raw)


def test_a_pipe_is_refused_and_not_waited_for(signed: Signed) -> None:
    for name in ("manifest.json", "golden.json", "signature.json"):
        (signed.folder / name).unlink()
        os.mkfifo(signed.folder / name)
        with pytest.raises(PackageError):
            load_package(signed.folder)
        (signed.folder / name).unlink()
        signed.restore()
