"""The append-only record of a run: what happened, one JSON object a line. Resume and report read it."""

import json
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Event = dict[str, Any]
_WRITING = threading.Lock()  # between its look at the last line and its write, nobody else of this process may write


class Journal:
    """`journal.jsonl` of one run. One writer at a time, any number of readers."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: str, **fields: Any) -> None:
        """Write one event and force it to disk, so that a killed driver cannot have forgotten it."""
        line = json.dumps(_finite({"event": event, "time": time.time(), **fields}), default=str)
        with _WRITING, self.path.open("ab+") as file:
            if file.tell() and not _ends_with_newline(file):
                line = "\n" + line  # the writer before us died in mid-line: leave its stump on a line of its own
            file.write((line + "\n").encode())
            file.flush()
            os.fsync(file.fileno())

    def events(self, *kinds: str) -> Iterator[Event]:
        """Events in the order written, of the kinds named or all. A line cut off by a crash is passed over."""
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                continue  # only a crash in mid-write leaves such a line, and its event never counted as done
            if not isinstance(event, dict):
                continue  # nothing that we wrote
            if not kinds or event.get("event") in kinds:
                yield event

    def last(self, kind: str) -> Event | None:
        """The newest event of this kind."""
        found = None
        for event in self.events(kind):
            found = event
        return found


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity; a reader would stumble over the words that Python writes."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _ends_with_newline(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")
