"""Personal data to pseudonyms: the same value and key give the same one, and only the key leads from one to another.

The key is never stored; `key_check` is, so that a run can tell whether it was given the key of before.
"""

import hmac
import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from training.package.errors import NoPiiKey

KEY_VARIABLE = "MANTA_PII_KEY"
MIN_KEY_BYTES = 16
PREFIX = "pii:"
_NUM_DIGITS = 32
_KEY_CHECK = b"\xffmanta key check"  # no UTF-8, so no value can be equal to it
_PSEUDONYM = re.compile(rf"{PREFIX}[0-9a-f]{{{_NUM_DIGITS}}}")
_MAKE_ONE = "make one with `openssl rand -hex 32`, and keep it: other keys give other pseudonyms"
_MAX_EXACT = 2.0**53  # whole numbers beyond it are not told apart as floats


class Pseudonymiser:
    """Replaces values by keyed digests: `pii:` and 32 hexadecimal digits of an HMAC-SHA256."""

    def __init__(self, key: bytes) -> None:
        """Raises NoPiiKey for a key that is too short to withstand guessing."""
        if len(key) < MIN_KEY_BYTES:
            raise NoPiiKey(f"the key of data.pii has {len(key)} bytes, must have at least {MIN_KEY_BYTES}", _MAKE_ONE)
        self._key = key

    @classmethod
    def load(cls, key_file: Path | None = None) -> "Pseudonymiser":
        """With the key in a file, else in the environment variable MANTA_PII_KEY.

        Raises:
            NoPiiKey: there is none, it cannot be read, or it is too short.
        """
        return cls(_key_of_file(key_file) if key_file is not None else _key_of_environment())

    def text(self, value: str | None) -> str | None:
        """The pseudonym of one value. None stays None; a value that is a pseudonym already stays as it is."""
        return value if value is None or is_pseudonym(value) else self._digest(value)

    def column(self, values: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray:
        """The pseudonyms of a column (N,) of text, numbers, dates or booleans.

        A number counts as its shortest text, so 7, 7.0 and "7" become the same. Nulls stay, and so does what is a
        pseudonym already: rows that were kept can be given in again.

        Raises:
            ValueError: the type has no text, as lists and images have none.
        """
        text = _as_text(values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values]))
        encoded = text.dictionary_encode().unify_dictionaries()  # each distinct value is hashed once
        if encoded.num_chunks == 0:
            return pa.chunked_array([], pa.string())
        distinct = [self.text(value) for value in encoded.chunk(0).dictionary.to_pylist()]
        names = pa.array(distinct, pa.string())
        return pa.chunked_array([names.take(chunk.indices) for chunk in encoded.chunks], pa.string())

    def key_check(self) -> str:
        """8 hexadecimal digits that are equal for equal keys. They may be stored: they do not lead to the key."""
        return hmac.digest(self._key, _KEY_CHECK, "sha256").hex()[:8]

    def _digest(self, value: str) -> str:
        return PREFIX + hmac.digest(self._key, value.encode(), "sha256").hex()[:_NUM_DIGITS]


def is_pseudonym(value: str) -> bool:
    """Whether a text has the form of a pseudonym."""
    return _PSEUDONYM.fullmatch(value) is not None


def _as_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind = values.type
    if pa.types.is_floating(kind):
        values = _whole_where_all_are(values.cast(pa.float64()))
    try:
        return values.cast(pa.large_string())
    except pa.ArrowException:
        # Arrow's message quotes a value.
        raise ValueError(f"a column of type {kind} has no text to hash") from None


def _whole_where_all_are(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whole numbers as integers: pandas keeps those with gaps as floats, and pseudonyms must not depend on that."""
    known = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    is_whole = pc.and_(pc.equal(known, pc.floor(known)), pc.less(pc.abs(known), _MAX_EXACT))
    return known.cast(pa.int64()) if pc.all(is_whole, min_count=0).as_py() else known


def _key_of_file(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise NoPiiKey(
            f"the key of data.pii cannot be read from {path}: {error.strerror}",
            "data.pii_key_file names a file that holds nothing else",
        ) from error


def _key_of_environment() -> bytes:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        raise NoPiiKey(
            f"data.pii hashes columns, but there is no key: {KEY_VARIABLE} is not set, and data.pii_key_file is null",
            _MAKE_ONE,
        )
    return key.encode()
