"""Libraries that talk where nobody asked: torch's exporter and onnxruntime's quantizer."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import onnxruntime

WARNING, ERROR = 2, 3  # of onnxruntime's own logger, which knows how to be set and not what it is set to


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings and no log lines below an error, until the block ends. What is raised still comes through.

    Nor what Python code prints to stderr: torch.export prints the graph of a model that it cannot trace to its end.
    """
    root, disabled = logging.getLogger(), logging.root.manager.disable
    # onnxruntime calls `logging.info(...)`: without a handler there, that installs one on stderr for good.
    placeholder = logging.NullHandler()
    root.addHandler(placeholder)
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        onnxruntime.set_default_logger_severity(WARNING)
        logging.disable(disabled)
        root.removeHandler(placeholder)
