"""From a manifest back to a checkpoint, looked at bit by bit first."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import torch

from training.checkpoint.area import Area
from training.checkpoint.manifest import FileEntry, Saved
from training.checkpoint.payload import read_tree
from training.checkpoint.sharded import read_shards, shards_of, with_shards
from training.checkpoint.team import Team
from training.checkpoint.troubles import passing_trouble
from training.package.digest import sha256_of
from training.session import Checkpoint

T = TypeVar("T")
REST_FILE = "checkpoint.pt"  # all that is not shared out among workers


def read_intact(area: Area, saved: Saved, map_location: str | torch.device, team: Team) -> Checkpoint | str:
    """The content, or what is wrong with it, the same for every worker. Raises OSError on all where one had it."""
    with ExitStack() as stack:

        def look() -> tuple[str, list[str]]:
            mine = _share(saved, team)
            folder = stack.enter_context(area.fetched([inside(saved, file) for file in mine]))
            return str(folder), [found for file in mine if (found := problem(folder / inside(saved, file), file))]

        looks = team.together(lambda: patiently(lambda: _unless_missing(look)))
        for _, problems in looks:
            if problems:
                return problems[0]
        content: list[Checkpoint] = []  # the workers exchange that they have it, not what they have
        folder = Path(looks[team.rank][0])
        team.together(lambda: content.append(_assembled(area, saved, folder, map_location, {})))
        return content[0]


def read(area: Area, saved: Saved, map_location: str | torch.device, state: Checkpoint) -> Checkpoint:
    """The content, with the DTensors of `state` filled and in their places. Raises OSError."""
    names = [inside(saved, file) for file in saved.manifest.all_files if file.path.endswith(REST_FILE)]
    with area.fetched(names) as folder:
        return _assembled(area, saved, folder, map_location, state)


def problems(area: Area, saved: Saved) -> list[str]:
    """What is wrong with the files, compared with the manifest. Raises OSError, but not for a missing file."""

    def look() -> tuple[str, list[str]]:
        files = saved.manifest.all_files
        with area.fetched([inside(saved, file) for file in files]) as folder:
            return "", [found for file in files if (found := problem(folder / inside(saved, file), file))]

    return _unless_missing(look)[1]


def inside(saved: Saved, file: FileEntry) -> str:
    """A file's name in the area."""
    return file.path.removeprefix("../") if file.path.startswith("../") else f"{saved.name}/{file.path}"


def problem(path: Path, file: FileEntry) -> str:
    """What is wrong with one file; empty if nothing is."""
    if not path.exists():
        return f"lacks {file.path}"
    if (size := path.stat().st_size) != file.num_bytes:
        return f"has {size} bytes in {file.path} instead of {file.num_bytes}"
    return "" if sha256_of(path) == file.sha256 else f"has other bytes in {file.path} than were written"


def patiently(action: Callable[[], T], seconds: float = 2.0) -> T:
    """A short outage is no reason to give up a checkpoint. Raises the last OSError.

    Args:
        action: clients of object stores try several times themselves, for longer than `seconds`.
        seconds: in which it is tried again.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return action()
        except OSError as error:
            if time.monotonic() > end or passing_trouble(error) is None:
                raise
        time.sleep(0.3)


def _share(saved: Saved, team: Team) -> list[FileEntry]:
    """What every worker reads whole it checks whole; of the rest each checks a part."""
    files = saved.manifest.all_files
    shards = [file for file in files if not file.path.endswith(REST_FILE)]
    return [file for file in files if file.path.endswith(REST_FILE)] + shards[team.rank :: team.size]


def _unless_missing(look: Callable[[], tuple[str, list[str]]]) -> tuple[str, list[str]]:
    try:
        return look()
    except FileNotFoundError as error:
        return "", [f"lacks a file: {error}"]


def _assembled(
    area: Area, saved: Saved, folder: Path, map_location: str | torch.device, state: Checkpoint
) -> Checkpoint:
    checkpoint = _tree(area, saved, saved.manifest.files, folder, map_location, state)
    if saved.manifest.best:
        best = dict(state.get("best") or {}).get("model") or {}
        checkpoint["best"]["model"] = _tree(area, saved, saved.manifest.best, folder, map_location, best)
    return checkpoint


def _tree(
    area: Area, saved: Saved, files: Sequence[FileEntry], folder: Path, map_location: str | torch.device, state: Any
) -> Checkpoint:
    rest = next(inside(saved, file) for file in files if file.path.endswith(REST_FILE))
    tree = read_tree(folder / rest, map_location)
    if len(files) == 1:
        return tree
    store, root = area.filesystem()
    tensors = read_shards(store, f"{root}/{rest.removesuffix(f'/{REST_FILE}')}", shards_of(state))
    whole: Checkpoint = with_shards(tree, tensors)
    return whole
