"""A tree of tensors into a folder of its own, by one worker or by all of them together."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from training.checkpoint.area import Area
from training.checkpoint.manifest import FileEntry
from training.checkpoint.payload import write_tree
from training.checkpoint.reading import REST_FILE, problem
from training.checkpoint.sharded import shards_of, without_shards, write_shards
from training.checkpoint.team import Team

Files = tuple[FileEntry, ...]


def write_step(
    area: Area, team: Team, tree: Any, name: str, manifest_of: Callable[[Files], bytes]
) -> tuple[str, Files]:
    """Write a checkpoint's folder, its manifest last; gives the name it got and its files. Raises OSError on all."""
    with ExitStack() as stack:
        staged = _staged(area, team, stack, "", name)
        files = _write_tree(team, tree, staged)
        free = team.first(lambda: area.reserve(name))
        team.together(lambda: area.deliver(staged, free))
        return team.first(lambda: area.seal(staged, free, manifest_of(files))), files


def write_content(area: Area, team: Team, tree: Any, parent: str, name_of: Callable[[Files], str]) -> tuple[str, Files]:
    """Write a folder that is named by its content, unless it is there already. Raises OSError on all."""
    with ExitStack() as stack:
        staged = _staged(area, team, stack, parent, "content")
        files = _write_tree(team, tree, staged)
        name = f"{parent}/{name_of(files)}"
        if team.first(lambda: _has(area, name, files)):
            return name, files
        free = team.first(lambda: area.reserve(name))
        team.together(lambda: area.deliver(staged, free))
        return team.first(lambda: area.seal(staged, free, None)), files


def _staged(area: Area, team: Team, stack: ExitStack, parent: str, label: str) -> Path:
    """One folder for all workers where they share a file system, or else one each."""

    def enter() -> str:
        if team.rank and area.is_folder:
            return ""
        return str(stack.enter_context(area.staging(parent, label)))

    paths = team.together(enter)
    return Path(paths[0] if area.is_folder else paths[team.rank])


def _write_tree(team: Team, tree: Any, folder: Path) -> Files:
    rest = without_shards(tree)
    written = team.together(lambda: [write_tree(rest, folder / REST_FILE)] if team.rank == 0 else [])
    if shards := shards_of(tree):
        mine = write_shards(shards, folder, team)
        written += team.together(lambda: mine)
    return tuple(entry for entries in written for entry in entries)


def _has(area: Area, name: str, files: Files) -> bool:
    """True where these very files lie there already, undamaged."""
    there = area.files()
    names = [f"{name}/{file.path}" for file in files]
    if any(each not in there for each in names):
        return False
    with area.fetched(names) as folder:
        return not any(problem(folder / name / file.path, file) for file in files)
