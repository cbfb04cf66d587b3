"""Libraries that talk where nobody asked: torch's exporter and onnxruntime's quantizer."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings and no log lines below an error, until the block ends. What is raised still comes through."""
    root, disabled = logging.getLogger(), logging.root.manager.disable
    # onnxruntime calls `logging.info(...)`: without a handler there, that installs one on stderr for good.
    placeholder = logging.NullHandler()
    root.addHandler(placeholder)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        root.removeHandler(placeholder)
