"""A run's page while the run goes on: looked at again and again, and served to one person's browser."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from training.event_text import duration
from training.package.errors import UserError
from training.report.page import contents
from training.report.shell import Part, finite, html_page
from training.report.text import esc
from training.run_record import RunRecord

LOOK_EVERY_S = 1.0
SHARE_OF_TIME = 0.2  # at most, that looking may take: a page of 10,000 trials takes a while to put together
SILENT_S = 60.0  # without news of a run that no process of this machine holds
LIVE_FILE = Path("trials") / "live.json"


@dataclass(frozen=True)
class Snapshot:
    """What the page shows at a moment."""

    title: str
    status: str  # how the run stands, in words
    kind: str  # "waiting", "running", "silent" or "over"
    looked_at: float = 0.0  # unix time
    inside: Part = field(default_factory=Part)
    version: str = ""  # another one where the inside has changed

    def page(self) -> bytes:
        """The whole page, which then asks for what is new."""
        return html_page(self.title, self.inside.html, self.inside.figures, version=self.version).encode()

    def state(self, seen: str) -> bytes:
        """How the run stands, as JSON; with the inside of the page where it is not the version that was seen."""
        told = {"version": self.version, "status": self.status, "kind": self.kind, "looked_at": self.looked_at}
        if seen != self.version:
            told |= {"title": f"{self.title} · manta", "body": self.inside.html, "figures": finite(self.inside.figures)}
        return json.dumps(told, allow_nan=False).encode()


class LivePage:
    """Looks at a run, and keeps the newest snapshot. One thread looks; any number read."""

    def __init__(self, name: str, find: Callable[[], Path], is_held: Callable[[Path], bool]) -> None:
        """Nothing is looked at yet.

        Args:
            name: of the run, for as long as it does not exist.
            find: its folder; raises UserError while there is none.
            is_held: whether a process works on it.
        """
        self._name, self._find, self._is_held = name, find, is_held
        self._signature: object = None
        self._inside, self._version = Part(), ""
        self._record: RunRecord | None = None
        self.snapshot = Snapshot(name, f"looking for the run {name}", "waiting", time.time())

    def look(self) -> float:
        """Look once; returns the seconds to wait before the next time."""
        began = time.monotonic()
        try:
            folder = self._find()
            silent_s = time.time() - _newest(folder)
            is_on = self._is_held(folder) or silent_s <= SILENT_S
            self._read(folder, is_on=is_on)
            self.snapshot = self._stands(silent_s, is_on=is_on)
        except UserError as error:
            self.snapshot = self._waits(error)
        return max(LOOK_EVERY_S, (time.monotonic() - began) / SHARE_OF_TIME)

    def _read(self, folder: Path, *, is_on: bool) -> None:
        signature = is_on, _signature(folder)
        if signature != self._signature:
            self._record = RunRecord.read(folder)
            self._inside = contents(self._record, is_on=is_on)
            self._version = _version(self._inside)
            self._signature = signature

    def _stands(self, silent_s: float, *, is_on: bool) -> Snapshot:
        record = self._record
        assert record is not None, "it was read just now"
        if record.state != "unfinished":
            kind, status = "over", f"the run has ended: {record.state}"
        elif not is_on:
            kind, status = (
                "silent",
                f"no news for {duration(silent_s)}, and no process of this machine works on the run",
            )
        else:
            kind, status = "running", f"running{_progress(record)}"
        return Snapshot(record.name, status, kind, time.time(), self._inside, self._version)

    def _waits(self, error: UserError) -> Snapshot:
        self._signature = None
        inside = Part(
            f'<header><p class="kicker">manta run</p><h1>{esc(self._name)}</h1></header>'
            f"<section><p>Waiting for the run: {esc(error.message)}.</p><p class='muted'>{esc(error.hint)}</p>"
            "<p>This page shows it as soon as it is there.</p></section>"
        )
        return Snapshot(self._name, "waiting for the run to begin", "waiting", time.time(), inside, _version(inside))


def _version(inside: Part) -> str:
    figures = json.dumps(finite(inside.figures), allow_nan=False)
    return hashlib.sha256(f"{inside.html}{figures}".encode()).hexdigest()[:16]


def _progress(record: RunRecord) -> str:
    live = record.live
    if not live.get("num_trials"):
        return ""
    return f": {live.get('num_done') or 0:,} of {live['num_trials']:,} trials have ended"


def _files(folder: Path) -> list[Path]:
    """What the page is made of, which is at the top of the folder, but for the page itself; and what goes on now."""
    return [*(path for path in sorted(folder.glob("[!.]*.*")) if path.suffix != ".html"), folder / LIVE_FILE]


def _signature(folder: Path) -> object:
    return folder, tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in _files(folder)
                         if path.is_file())  # fmt: skip


def _newest(folder: Path) -> float:
    return max((path.stat().st_mtime for path in _files(folder) if path.is_file()), default=0.0)
