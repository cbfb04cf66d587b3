"""Writing that is broken off: by a full disk, by a kill at any step. The old package stays, or there is none."""

import contextlib
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages import write_table_package
from training.package import swap
from training.package.errors import PackageError, PackageNotWritten
from training.package.read import load_package, read_manifest

ROOT = Path(__file__).parents[3]
KILLED_AT_EVERY_STEP = """
    import os, signal, sys
    from pathlib import Path
    from training.package import swap
    from training.package.errors import PackageError
    from training.package.read import load_package
    from training.package.write import write_package

    source, folder, has_exchange = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "exchange"
    manifest = load_package(source).manifest
    files = {name: (source / name).read_bytes() for name in manifest.sha256}
    steps = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "shutil.rmtree")

    def child(step):
        seen = [0]
        def watch(event, arguments):
            if event in steps or event.startswith("ctypes."):
                seen[0] += 1
                if seen[0] == step:
                    os.kill(os.getpid(), signal.SIGKILL)
        if not has_exchange:
            swap._exchange = lambda one, other: False
        sys.addaudithook(watch)
        write_package(folder, manifest.model_copy(update={"created_at": f"step {step}"}), files)
        os._exit(0)

    killed, step, created = 0, 0, load_package(folder).manifest.created_at if folder.exists() else None
    while True:
        step += 1
        if (pid := os.fork()) == 0:
            child(step)
        status = os.waitpid(pid, 0)[1]
        try:
            now = load_package(folder).manifest.created_at
        except PackageError:
            assert created is None, f"step {step}: the old package is gone"
            now = None
        assert now in (created, f"step {step}"), (step, now, created)
        created = now
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        killed += 1
    left = [path.name for path in folder.parent.iterdir() if path.name.startswith(f".{folder.name}") and path.is_dir()]
    print(killed, left)
"""


def killed_at_every_step(source: Path, folder: Path, how: str) -> int:
    """Write a package, killed at one step more each time until it is through; returns the number of kills."""
    command = [sys.executable, "-c", textwrap.dedent(KILLED_AT_EVERY_STEP), str(source), str(folder), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    killed, left = done.stdout.strip().split(" ", 1)
    assert left == "[]", "the last writer removes what the dead ones left"
    return int(killed)


@pytest.mark.parametrize("how", ["exchange", "two steps"])
@pytest.mark.parametrize("replaces", [True, False])
def test_a_kill_at_any_step_leaves_the_old_package_or_the_new_one(how: str, replaces: bool, tmp_path: Path) -> None:
    write_table_package(tmp_path / "source")
    if replaces:
        write_table_package(tmp_path / "target" / "package", bias=0.5)
    (tmp_path / "target").mkdir(exist_ok=True)
    assert killed_at_every_step(tmp_path / "source", tmp_path / "target" / "package", how) > 15


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
        try:
            mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            mounted = False
        if not mounted:
            pytest.skip("mounting needs root; the limit on a file's size below is the same for everybody")
        stack.callback(subprocess.run, ["umount", str(folder)], check=True)
        yield folder


def test_a_full_disk_leaves_the_old_package(tiny_disk: Path) -> None:
    folder = tiny_disk / "package"
    first = write_table_package(folder)
    with pytest.raises(PackageNotWritten, match="package cannot be written: No space left on device") as caught:
        write_table_package(folder, bias=0.5, extra={"weights.safetensors": bytes(100_000)})
    assert "free some space" in caught.value.hint
    assert caught.value.exit_code == 3
    assert load_package(folder).manifest == first
    assert [path.name for path in tiny_disk.iterdir() if path.is_dir()] == ["package"]
    with pytest.raises(PackageNotWritten):
        write_table_package(tiny_disk / "another", extra={"weights.safetensors": bytes(100_000)})
    assert not (tiny_disk / "another").exists()
    assert write_table_package(folder, bias=0.5) == load_package(folder).manifest != first


def test_a_file_beyond_the_limit_leaves_the_old_package(tmp_path: Path) -> None:
    first = write_table_package(tmp_path / "package")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(PackageNotWritten, match="cannot be written: File too large"):
            write_table_package(tmp_path / "package", bias=0.5, extra={"weights.safetensors": bytes(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert load_package(tmp_path / "package").manifest == first


def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "package").write_text("somebody's notes")
    with pytest.raises(PackageNotWritten, match="a file of that name is there"):
        write_table_package(tmp_path / "package")
    assert (tmp_path / "package").read_text() == "somebody's notes"


def test_a_link_to_a_package_stays_one(tmp_path: Path) -> None:
    write_table_package(tmp_path / "disk" / "package")
    (tmp_path / "package").symlink_to(tmp_path / "disk" / "package")
    second = write_table_package(tmp_path / "package", bias=0.5)
    assert (tmp_path / "package").is_symlink()
    assert load_package(tmp_path / "disk" / "package").manifest == second


def test_there_is_a_package_at_every_moment_while_it_is_replaced(tmp_path: Path) -> None:
    folder, done, problems = tmp_path / "package", threading.Event(), []
    write_table_package(folder)
    if not swap._exchange(_made(tmp_path / "a"), _made(tmp_path / "b")):
        pytest.skip("this file system exchanges nothing in one step")

    def read() -> None:
        while not done.is_set():
            try:
                read_manifest(folder)
            except PackageError as error:
                problems.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for bias in range(20):
        write_table_package(folder, bias=bias / 10)
    done.set()
    reader.join()
    assert problems == []


def test_what_a_dead_writer_moved_aside_is_brought_back_by_readers(tmp_path: Path) -> None:
    first = write_table_package(tmp_path / "package")
    (tmp_path / "package").rename(tmp_path / ".package.replaced")
    assert load_package(tmp_path / "package").manifest == first
    assert not (tmp_path / ".package.replaced").exists()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
