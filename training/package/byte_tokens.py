"""Text as bytes: the tokens of a language model. Any text has them, and they give it back.

Ids: 0 pads, 1 begins a text, 2 ends it, and the bytes of its UTF-8 follow from 3 on.
Shape letters: N texts, W windows of a text, L tokens that a model sees at a time.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from training.package.fitted import ByteTransform
from training.package.values import Texts

PAD, BEGIN, END, FIRST_BYTE = 0, 1, 2, 3
VOCAB_SIZE = FIRST_BYTE + 256
IGNORED = -100  # stands where no next token is wanted, as torch's cross-entropy has it


def tokens_of(text: str) -> np.ndarray:
    """Ids of a text, its beginning and end included, int64. A lone surrogate, which UTF-8 cannot hold, becomes `?`."""
    raw = np.frombuffer(text.encode(errors="replace"), dtype=np.uint8).astype(np.int64)
    return np.concatenate([[BEGIN], raw + FIRST_BYTE, [END]])


def text_of(ids: Iterable[int]) -> str:
    """The text of such ids; what is no UTF-8 becomes the replacement character."""
    return bytes(i - FIRST_BYTE for i in ids if i >= FIRST_BYTE).decode(errors="replace")


def windows_of(text: str, length: int) -> np.ndarray:
    """A text in windows (W, L + 1), each beginning with the token that the one before ends with; padded.

    Every token but the first of the text is once the next one of another, so none counts twice.
    """
    ids = tokens_of(text)
    num_windows = -(-(len(ids) - 1) // length)
    padded = np.full(num_windows * length + 1, PAD, dtype=np.int64)
    padded[: len(ids)] = ids
    return np.lib.stride_tricks.sliding_window_view(padded, length + 1)[::length].copy()


class ByteEncoder:
    """The one column of a language model as windows, for scoring whole texts."""

    def __init__(self, column: ByteTransform) -> None:
        self.name, self._length, self._max_windows = column.name, column.length, column.max_windows

    def __call__(self, values: Texts) -> np.ndarray:
        """Tokens (N, W, L + 1), W being what the longest of these texts takes; a missing text is an empty one."""
        texts: Sequence[str | None] = (
            values.to_pylist() if isinstance(values, pa.Array | pa.ChunkedArray) else values.tolist()
        )
        each = [windows_of(self._cut(text or ""), self._length) for text in texts]
        num_windows = min(max((len(windows) for windows in each), default=1), self._max_windows)
        out_NWL = np.full((len(each), num_windows, self._length + 1), PAD, dtype=np.int64)
        for row, windows in enumerate(each):
            out_NWL[row, : len(windows)] = windows[:num_windows]
        return out_NWL

    def _cut(self, text: str) -> str:
        """Characters that cannot reach into a window that counts are not looked at."""
        return text[: self._length * self._max_windows]
