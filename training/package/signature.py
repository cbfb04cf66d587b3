"""Who vouches for a package: an Ed25519 signature over the bytes of its manifest, in a file of its own beside it."""

import base64
import binascii
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError

from training.package.digest import seal_is_intact, sealed_json
from training.package.errors import KeyFileError, PackageError, PackageNotWritten
from training.package.manifest import MANIFEST_FILE, SIGNATURE_FILE
from training.package.shapes import StoredModel

TRUST_VARIABLE = "MANTA_TRUSTED_KEYS"  # PEM files of public keys, separated as PATH is; unset: no signature is needed
SIGNING_VARIABLE = "MANTA_SIGNING_KEY"  # PEM file of a private key; unset: a new package has no signature
PRIVATE_FILE, PUBLIC_FILE = "private.pem", "public.pem"
_NEW_KEYS = "`manta keys FOLDER` makes a pair"


class SignatureFile(StoredModel):
    """What stands in `signature.json`, beside its seal."""

    algorithm: Literal["ed25519"]
    public_key: str  # base64 of its 32 bytes
    signature: str  # base64 of its 64 bytes, over those of manifest.json


@dataclass(frozen=True)
class Key:
    """A public key."""

    raw: bytes

    @classmethod
    def of(cls, public: Ed25519PublicKey) -> Self:
        """That of the library."""
        return cls(public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw))

    @property
    def fingerprint(self) -> str:
        """What people compare: the first 16 hex digits of the SHA-256 of its bytes."""
        return hashlib.sha256(self.raw).hexdigest()[:16]


def make_keys(folder: Path) -> tuple[Path, Path]:
    """Make `private.pem`, for its owner's eyes only, and `public.pem`. Files that are there are never replaced.

    Raises:
        KeyFileError: there is a key already.
        PackageNotWritten: the folder cannot be written.
    """
    private, public = folder / PRIVATE_FILE, folder / PUBLIC_FILE
    if there := [path for path in (private, public) if path.exists()]:
        raise KeyFileError(
            f"{there[0]} is there already, and a key that is replaced is lost", "give another folder, or move it away"
        )
    key = Ed25519PrivateKey.generate()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _create(private, _private_pem(key), 0o600)
        _create(public, _public_pem(key.public_key()), 0o644)
    except OSError as error:
        raise PackageNotWritten.of(folder, error) from error
    return private, public


def private_key_of(path: Path) -> Ed25519PrivateKey:
    """The private key in a PEM file. Raises KeyFileError."""
    try:
        key = serialization.load_pem_private_key(_pem(path), password=None)
    except TypeError as error:
        raise KeyFileError(
            f"{path} is locked with a password", f"`openssl pkey -in {path} -out open.pem` unlocks it"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} holds no private key in PEM form", _NEW_KEYS) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} holds a key of another kind, and packages are signed with Ed25519", _NEW_KEYS)
    return key


def public_key_of(path: Path) -> Key:
    """The public key in a PEM file. Raises KeyFileError."""
    try:
        key = serialization.load_pem_public_key(_pem(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(
            f"{path} holds no public key in PEM form", f"the private one stays with who signs; {_NEW_KEYS}"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFileError(f"{path} holds a key of another kind, and packages are signed with Ed25519", _NEW_KEYS)
    return Key.of(key)


def trusted_keys() -> tuple[Key, ...]:
    """The public keys that packages must be signed by here; none where nothing is configured. Raises KeyFileError."""
    listed = os.environ.get(TRUST_VARIABLE, "")
    return tuple(public_key_of(Path(path).expanduser()) for path in listed.split(os.pathsep) if path.strip())


def signing_key() -> Ed25519PrivateKey | None:
    """The private key that new packages are signed with; None where none is configured. Raises KeyFileError."""
    path = os.environ.get(SIGNING_VARIABLE, "").strip()
    return private_key_of(Path(path).expanduser()) if path else None


def signature_bytes(raw_manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """The content of `signature.json` for a manifest of these bytes."""
    content = SignatureFile(
        algorithm="ed25519",
        public_key=base64.b64encode(Key.of(key.public_key()).raw).decode(),
        signature=base64.b64encode(key.sign(raw_manifest)).decode(),
    )
    return sealed_json(content.model_dump(mode="json"))


def verify_signature(folder: Path, raw_manifest: bytes) -> Key | None:
    """Who signed a package; None where nobody did and nobody has to.

    A signature that is there is verified in any case, against the key that stands in it: that shows that nothing was
    altered. Who may have signed is said by `MANTA_TRUSTED_KEYS` alone.

    Args:
        folder: the package.
        raw_manifest: the bytes of its manifest.

    Raises:
        PackageError: the signature is altered or does not hold, or keys are configured and none of them signed.
        KeyFileError: a configured key cannot be read.
    """
    trusted, signer = trusted_keys(), _signer(folder, raw_manifest)
    if not trusted or signer in trusted:
        return signer
    wanted = f"only packages signed by {' or '.join(key.fingerprint for key in trusted)} are taken ({TRUST_VARIABLE})"
    hint = f"let the owner of the key sign it: `manta sign {folder} --key {PRIVATE_FILE}`"
    if signer is None:
        raise PackageError(f"{folder} has no signature, and {wanted}", hint)
    raise PackageError(f"{folder} is signed by {signer.fingerprint}, and {wanted}", hint)


def _signer(folder: Path, raw_manifest: bytes) -> Key | None:
    path = folder / SIGNATURE_FILE
    try:
        raw = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise PackageError(f"{path} cannot be read: {error.strerror}") from error
    if raw is None:
        return None
    try:
        return _verified(raw, raw_manifest)
    except (ValueError, InvalidSignature) as error:
        reason = str(error) or f"does not hold for {MANIFEST_FILE}"  # the library's own error says nothing
        raise PackageError(
            f"{folder} is altered: {SIGNATURE_FILE} {reason}",
            f"copy the package again from where it was signed, or remove {SIGNATURE_FILE} and sign it again",
        ) from error


def _verified(raw: bytes, raw_manifest: bytes) -> Key:
    """Raises ValueError or InvalidSignature. The seal pins every byte: JSON and base64 have several ways to say one."""
    if not seal_is_intact(raw):
        raise ValueError("is not as it was written")
    try:
        content = SignatureFile.model_validate(_json(raw))
        public, signature = (base64.b64decode(text, validate=True) for text in (content.public_key, content.signature))
    except (ValidationError, binascii.Error) as error:
        raise ValueError("does not have the form of one") from error
    Ed25519PublicKey.from_public_bytes(public).verify(signature, raw_manifest)
    return Key(public)


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not JSON") from error


def _pem(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"the key {path} cannot be read: {error.strerror}", _NEW_KEYS) from error


def _create(path: Path, content: bytes, mode: int) -> None:
    """Refuses a file that is there, also one that came this moment; the mode holds before a byte is in it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
