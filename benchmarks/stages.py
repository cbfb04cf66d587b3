"""Where the time of preparing data goes, told by looking at the call stack many times a second."""

import sys
import threading
import time
from collections import defaultdict
from types import FrameType

EVERY_S = 0.002
# Folders and files of `training/`, by stage. The outermost frame in one of them counts: what reading calls is reading.
STAGES = {
    "read": ("data/sources",),
    "check": (
        "data/table", "data/checks", "data/column_checks", "data/examine", "data/kinds", "data/leaks", "data/overlap",
        "data/odd_texts", "data/rare", "data/quarantine",
    ),
    "fingerprint": ("data/fingerprint", "data/cell_hash"),
    "split": ("data/split",),
    "fit": ("features",),
    "transform": ("package/",),
    "gather": ("data/batches", "data/memory"),
}  # fmt: skip
OTHER = "other"


class StageWatch:
    """Seconds by stage of what the thread that opens it does meanwhile.

    Nothing of the code under the watch is touched, so it may be built otherwise tomorrow. A call that lets no other
    thread run is seen when it ends, and gets its whole time then.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._watched = threading.get_ident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._last = 0.0

    def __enter__(self) -> "StageWatch":
        self._last = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(EVERY_S):
            self._count(stage_of(sys._current_frames().get(self._watched)))
        self._count(OTHER)

    def _count(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] += now - self._last
        self._last = now


def stage_of(frame: FrameType | None) -> str:
    """The stage of a call stack, given by its innermost frame."""
    found = OTHER
    while frame is not None:
        _, inside, place = frame.f_code.co_filename.rpartition("/training/")
        if inside:
            found = next((stage for stage, starts in STAGES.items() if place.startswith(starts)), found)
        frame = frame.f_back
    return found
