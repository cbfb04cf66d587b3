"""Digests: how a package shows that no byte of it has changed, its manifest included."""

import hashlib
import json
from pathlib import Path
from typing import Any

_SEAL_KEY = b'"seal": "'
_BLANK = "0" * 64
_TAIL = b'"\n}\n'


def sha256_of(path: Path) -> str:
    """Hex digest of a file, read in pieces, so a large one does not fill the memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed_json(content: dict[str, Any]) -> bytes:
    """JSON whose last key, `seal`, is the digest of the file itself with 64 zeros in the seal's place."""
    blank = json.dumps({**content, "seal": _BLANK}, indent=2, ensure_ascii=False).encode() + b"\n"
    return _fill(blank, hashlib.sha256(blank).hexdigest())


def seal_is_intact(raw: bytes) -> bool:
    """True if these are the very bytes that `sealed_json` gave."""
    if not raw.endswith(_TAIL) or raw[: -len(_TAIL) - 64][-len(_SEAL_KEY) :] != _SEAL_KEY:
        return False
    return raw == _fill(raw, hashlib.sha256(_fill(raw, _BLANK)).hexdigest())


def _fill(raw: bytes, seal: str) -> bytes:
    return raw[: -len(_TAIL) - 64] + seal.encode() + _TAIL
