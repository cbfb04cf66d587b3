"""Runs as they stand in a storage folder."""

import difflib
import fcntl
import textwrap
from pathlib import Path

from training.config_file import YAML_ENDINGS, load_experiment
from training.errors import ConfigError
from training.run_folder import RunFolder
from training.run_mirror import fetched
from training.summary import RunSummary, summaries

STATE_WIDTH = 70  # columns that a state takes at most in a list of runs
INTERRUPTED = "interrupted; the same command goes on"


def find_run(text: str, storage: str) -> Path:
    """The folder of the run that a name, a folder or a config file means. Raises ConfigError, naming the nearest."""
    path, root = Path(text), fetched(storage)
    if path.suffix in YAML_ENDINGS and path.is_file():
        experiment = load_experiment(path)
        own = RunFolder.of(experiment).path
        # `manta run --storage` may have put it elsewhere than the file says.
        return own if (own / "journal.jsonl").exists() else _existing(root, experiment.name, text, storage)
    if (path / "journal.jsonl").exists():
        return path
    return _existing(root, text, text, storage)


def _existing(root: Path, name: str, text: str, storage: str) -> Path:
    folder = root / name
    if (folder / "journal.jsonl").exists():
        return folder
    known = [run.name for run in summaries(root)]
    storage = storage.partition("?")[0]
    near = difflib.get_close_matches(Path(text).stem, known, n=1)
    hint = f"there are: {', '.join(known)}" if known else f"{storage} holds no runs; --storage names another folder"
    raise ConfigError(f"there is no run {text} ({folder} has no journal)", f"nearest: {near[0]}" if near else hint)


def state_of(run: RunSummary) -> str:
    """How a run stands, in a few words: an unfinished one runs while a process holds it, and else was interrupted."""
    if run.state == "failed":
        first_line = (run.error or "").partition("\n")[0]
        return textwrap.shorten(f"failed: {first_line}", STATE_WIDTH, placeholder=" ...")
    if run.state in ("unfinished", "interrupted"):
        return "running" if is_held(Path(run.folder)) else INTERRUPTED
    return run.state


def is_held(folder: Path) -> bool:
    """True while a process works on the run: it holds the lock that `RunFolder.alone` takes."""
    try:
        with (folder / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no lock file: nobody ever worked on it
    return False
