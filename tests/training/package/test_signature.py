"""Signatures: made, verified, replaced, and demanded where keys are configured."""

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.packages import write_table_package
from training.package.digest import sealed_json
from training.package.errors import KeyFileError, PackageError
from training.package.read import load_package, read_manifest
from training.package.signature import SIGNING_VARIABLE, TRUST_VARIABLE, make_keys, public_key_of, verify_signature
from training.package.write import copy_package, sign_package, write_package


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package that nobody signed."""
    write_table_package(tmp_path / "package")
    return tmp_path / "package"


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """Private and public."""
    return make_keys(tmp_path / "keys")


def test_a_signed_package_loads_and_says_who_signed_it(package: Path, keys: tuple[Path, Path]) -> None:
    before = {path: path.read_bytes() for path in package.rglob("*") if path.is_file()}
    private, public = keys
    key = sign_package(package, private)
    assert key == public_key_of(public) == verify_signature(package, (package / "manifest.json").read_bytes())
    load_package(package)
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in package.iterdir()} - {path.name for path in before} == {"signature.json", "variants"}


def test_the_private_key_is_for_its_owner_and_none_is_ever_replaced(keys: tuple[Path, Path]) -> None:
    private, public = keys
    assert (private.stat().st_mode & 0o777, public.stat().st_mode & 0o777) == (0o600, 0o644)
    raw = private.read_bytes()
    with pytest.raises(KeyFileError, match="is there already"):
        make_keys(private.parent)
    private.unlink()
    with pytest.raises(KeyFileError, match=r"public\.pem is there already"):
        make_keys(private.parent)
    assert b"PRIVATE" in raw
    assert b"PRIVATE" not in public.read_bytes()


def test_openssl_agrees(package: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    """Another implementation of the standard verifies what stands in the file."""
    sign_package(package, keys[0])
    content = json.loads((package / "signature.json").read_text())
    (tmp_path / "raw").write_bytes(base64.b64decode(content["signature"]))
    key, signature = ["-pubin", "-inkey", keys[1]], ["-rawin", "-sigfile", tmp_path / "raw"]
    command = ["openssl", "pkeyutl", "-verify", *key, *signature, "-in"]
    good = subprocess.run([*command, package / "manifest.json"], capture_output=True, check=False)
    if b"nknown option" in good.stderr:
        pytest.skip("this openssl knows no -rawin")
    assert good.returncode == 0, good.stderr
    assert subprocess.run([*command, package / "golden.json"], capture_output=True, check=False).returncode != 0


def test_where_keys_are_configured_only_their_packages_load(
    package: Path, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = keys
    other_private, other_public = make_keys(tmp_path / "other")
    monkeypatch.setenv(TRUST_VARIABLE, str(public))
    with pytest.raises(PackageError, match=r"has no signature, and only packages signed by [0-9a-f]{16} are") as caught:
        load_package(package)
    assert "manta sign" in caught.value.hint
    sign_package(package, other_private)  # in place of none; signing asks for no signature
    with pytest.raises(PackageError, match=f"is signed by {public_key_of(other_public).fingerprint}, and only"):
        load_package(package)
    monkeypatch.setenv(TRUST_VARIABLE, os.pathsep.join([str(public), str(other_public)]))
    load_package(package)
    monkeypatch.setenv(TRUST_VARIABLE, str(public))
    sign_package(package, private)
    load_package(package)
    monkeypatch.setenv(TRUST_VARIABLE, "")
    load_package(package)


def test_a_key_that_cannot_be_read_is_said(
    package: Path, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = keys
    (tmp_path / "text").write_text("no key")
    (tmp_path / "binary").write_bytes(b"\xff\0")
    for path, reason in (
        (tmp_path / "nowhere", "cannot be read"),
        (tmp_path / "text", "no public key"),
        (private, "no public"),
    ):
        monkeypatch.setenv(TRUST_VARIABLE, str(path))
        with pytest.raises(KeyFileError, match=reason):
            load_package(package)
    for path in (public, tmp_path / "binary", tmp_path / "text"):
        with pytest.raises(KeyFileError, match="holds no private key"):
            sign_package(package, path)
    command = ["openssl", "genrsa", "-traditional", "-out", tmp_path / "rsa.pem", "2048"]
    if subprocess.run(command, capture_output=True, check=False).returncode == 0:
        with pytest.raises(KeyFileError, match="of another kind"):
            sign_package(package, tmp_path / "rsa.pem")
    locked = ["openssl", "pkey", "-in", private, "-aes256", "-passout", "pass:x", "-out", tmp_path / "locked.pem"]
    if subprocess.run(locked, capture_output=True, check=False).returncode == 0:
        with pytest.raises(KeyFileError, match="locked with a password"):
            sign_package(package, tmp_path / "locked.pem")


def test_nobody_vouches_for_an_altered_package(package: Path, keys: tuple[Path, Path]) -> None:
    (package / "golden.json").write_bytes(b"{}")
    with pytest.raises(PackageError, match=r"golden\.json is not as it was written"):
        sign_package(package, keys[0])
    assert not (package / "signature.json").exists()


def test_signing_again_replaces_also_what_is_broken(package: Path, keys: tuple[Path, Path]) -> None:
    sign_package(package, keys[0])
    (package / "signature.json").write_bytes(b"{")
    with pytest.raises(PackageError, match="altered: signature"):
        load_package(package)
    sign_package(package, keys[0])
    load_package(package)
    assert [path.name for path in package.parent.iterdir() if "partial" in path.name] == []


@pytest.mark.parametrize(
    "changed",
    [{"algorithm": "rsa"}, {"public_key": "AA=="}, {"public_key": "?"}, {"signature": "AAAA"}, {"signature": 1}],
)
def test_a_signature_that_is_sealed_but_wrong_is_refused(
    changed: dict[str, object], package: Path, keys: tuple[Path, Path]
) -> None:
    sign_package(package, keys[0])
    content = json.loads((package / "signature.json").read_text())
    content.pop("seal")
    (package / "signature.json").write_bytes(sealed_json({**content, **changed}))
    with pytest.raises(PackageError, match=r"altered: signature\.json"):
        read_manifest(package)


def test_a_signature_is_of_one_manifest(package: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    """The signature of one package beside another does not hold, and a package that is written anew has none."""
    sign_package(package, keys[0])
    manifest = write_table_package(tmp_path / "other", bias=0.5)
    (tmp_path / "other" / "signature.json").write_bytes((package / "signature.json").read_bytes())
    with pytest.raises(PackageError, match=r"signature\.json does not hold for manifest\.json"):
        load_package(tmp_path / "other")
    files: dict[str, bytes | Path] = {name: tmp_path / "other" / name for name in manifest.sha256}
    write_package(package, manifest, files)
    assert not (package / "signature.json").exists()
    load_package(package)


def test_a_copy_keeps_every_byte_and_the_signature(package: Path, keys: tuple[Path, Path], tmp_path: Path) -> None:
    sign_package(package, keys[0])
    copy_package(package, tmp_path / "copy")
    originals = {path.relative_to(package): path.read_bytes() for path in package.rglob("*") if path.is_file()}
    copies = {path.relative_to(tmp_path / "copy"): path for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in copies.items()} == originals
    (package / "golden.json").write_bytes(b"{}")
    with pytest.raises(PackageError, match="altered"):
        copy_package(package, tmp_path / "copy")
    load_package(tmp_path / "copy")


def test_a_package_is_signed_as_it_is_written_where_a_key_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = make_keys(tmp_path / "keys")
    monkeypatch.setenv(SIGNING_VARIABLE, str(private))
    write_table_package(tmp_path / "package")
    monkeypatch.setenv(TRUST_VARIABLE, str(public))
    load_package(tmp_path / "package")
    monkeypatch.setenv(SIGNING_VARIABLE, str(tmp_path / "none.pem"))
    with pytest.raises(KeyFileError, match=r"none\.pem"):
        write_table_package(tmp_path / "other")
    assert not (tmp_path / "other").exists()
