"""The training rows of a language model: windows of bytes.

Shape letters: N windows or texts, W windows of a text, L tokens of one.
"""

import numpy as np
import pyarrow as pa

from training.data.prepared import Part
from training.package.byte_tokens import FIRST_BYTE, IGNORED, PAD, windows_of
from training.package.fitted import ByteTransform
from training.package.values import arrow_texts


def text_part(column: pa.ChunkedArray, transform: ByteTransform) -> Part:
    """All windows of all texts: `tokens` (N, L), and as the target the token that comes next at each place (N, L).

    A window holds one text only, the last one of each being padded: what a model learns of a text does not depend on
    which other texts there are. Texts much shorter than `data.sequence_length` therefore cost padding.
    """
    texts = arrow_texts(column).to_pylist()
    windows_NL = np.concatenate([windows_of(str(text), transform.length) for text in texts])
    following_NL = windows_NL[:, 1:]
    target_NL = np.where(following_NL == PAD, IGNORED, following_NL)
    return Part({"tokens": np.ascontiguousarray(windows_NL[:, :-1])}, target_NL)


def token_counts(tokens_NWL: np.ndarray) -> np.ndarray:
    """Tokens that a scored text (N, W, L + 1) is judged by, and bytes among them, (N, 2)."""
    following_NWL = tokens_NWL[:, :, 1:]
    return np.stack([(following_NWL != PAD).sum(axis=(1, 2)), (following_NWL >= FIRST_BYTE).sum(axis=(1, 2))], axis=1)
