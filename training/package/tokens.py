"""Free text as token ids. Shape letters: N rows, L tokens of a text."""

import re
import unicodedata
from zlib import crc32

import numpy as np
import pyarrow as pa

from training.package.fitted import FIRST_TOKEN, PAD_TOKEN, UNKNOWN_TOKEN, TextTransform
from training.package.values import Texts

_WORD = re.compile(r"\w+")


def tokenize(text: str) -> list[str]:
    """Words and numbers in lower case; the same for every way to write a character."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _WORD.findall(text.lower())


class TokenEncoder:
    """One column of texts as ids, `PAD_TOKEN` behind the last token of each."""

    def __init__(self, column: TextTransform, missing_texts: tuple[str, ...]) -> None:
        self.name = column.name
        self._max_tokens, self._num_buckets = column.max_tokens, column.num_tokens
        self._missing = frozenset(missing_texts)
        self._vocabulary = (
            {token: FIRST_TOKEN + i for i, token in enumerate(column.vocabulary)}
            if column.tokens == "vocabulary"
            else None
        )

    def into(self, out_NL: np.ndarray, values: Texts) -> None:
        """Write into `out_NL`, which has room for at least `max_tokens`."""
        out_NL[:] = PAD_TOKEN
        ids: dict[str, int] = {}
        for row, text in enumerate(values.to_pylist() if isinstance(values, pa.Array | pa.ChunkedArray) else values):
            if text is None or text.strip() in self._missing:
                continue
            tokens = tokenize(text)[: self._max_tokens]
            out_NL[row, : len(tokens)] = [self._id(token, ids) for token in tokens]

    def _id(self, token: str, ids: dict[str, int]) -> int:
        if (known := ids.get(token)) is None:
            known = ids[token] = self._look_up(token)
        return known

    def _look_up(self, token: str) -> int:
        if self._vocabulary is not None:
            return self._vocabulary.get(token, UNKNOWN_TOKEN)
        # Python's own hash differs from process to process.
        return 1 + crc32(token.encode(errors="surrogatepass")) % self._num_buckets
