"""Make `.venv` and install the project into it. Standard library only; run by any Python 3.11 to 3.13.

A machine without an NVIDIA GPU gets a CPU build of torch: a CUDA build would fetch about 3 GB for nothing.
pip's own settings (proxy, certificates, indexes) are read by pip as always and left alone.
"""

import json
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".installed"  # the Makefile compares its age with pyproject.toml and constraints.txt
CONSTRAINTS = ROOT / "constraints.txt"
TORCH_RANGE = "torch>=2.11,<2.14"
TORCH_CPU = "torch==2.13.0"
OLDEST_PIP = (23, 3)  # before it, `--dry-run` downloads whole wheels to look inside


def say(text: str) -> None:
    """Talk goes to stderr."""
    print(f"install: {text}", file=sys.stderr, flush=True)


def pip(*arguments: str) -> None:
    """Run the new environment's pip and stop when it fails."""
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", *arguments], check=True)


def make_venv() -> None:
    """Create `.venv` unless a working one is there."""
    if (
        PYTHON.exists()
        and subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
    ):
        return
    say(f"making {VENV} with Python {sys.version.split()[0]}")
    venv.EnvBuilder(with_pip=True, clear=True).create(VENV)
    version = subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, text=True, check=True).stdout
    if tuple(int(part) for part in version.split()[1].split(".")[:2]) < OLDEST_PIP:
        pip("--upgrade", "pip")


def has_torch() -> bool:
    """True when the environment already has a torch."""
    return subprocess.run([PYTHON, "-m", "pip", "show", "torch"], capture_output=True, check=False).returncode == 0


def has_gpu() -> bool:
    """True when NVIDIA's driver lists a GPU."""
    if shutil.which("nvidia-smi") is None:
        return False
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU" in listed.stdout


def pip_would_take_cuda() -> bool:
    """Ask pip which torch it would take, without fetching it, and whether that one asks for CUDA libraries."""
    command = [PYTHON, "-m", "pip", "install", "--dry-run", "--quiet", "--report", "-", "--no-deps", TORCH_CPU]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        return True
    wheels = json.loads(answer.stdout[answer.stdout.index("{") :])["install"]
    needs = [need for wheel in wheels for need in wheel["metadata"].get("requires_dist", [])]
    # Markers for other systems stand in the same list: a CPU wheel's list has no CUDA library at all.
    return any(need.startswith(("nvidia-", "cuda-", "triton")) and "extra ==" not in need for need in needs)


def install_torch() -> None:
    """Choose the smallest torch that fits this machine; see the top of this file."""
    if has_gpu():
        say("an NVIDIA GPU is here: taking torch with CUDA")
        pip(TORCH_RANGE)
    elif not pip_would_take_cuda():
        say(f"no NVIDIA GPU: {TORCH_CPU}, CPU build, through pip")
        pip(TORCH_CPU, "-c", str(CONSTRAINTS))
    else:
        say(f"no NVIDIA GPU: {TORCH_CPU}, CPU build, through uv, since pip would take the CUDA build")
        pip("uv", "-c", str(CONSTRAINTS))
        uv = [PYTHON, "-m", "uv", "pip", "install", "--quiet", "--python", PYTHON, "--torch-backend=cpu", TORCH_CPU]
        if subprocess.run(uv, check=False).returncode != 0:
            say("the CPU build cannot be reached from here: taking the CUDA build instead, about 3 GB")
            pip(TORCH_RANGE)


def main() -> None:
    """Install everything and leave the stamp."""
    started = time.monotonic()
    try:
        make_venv()
        if not has_torch():
            install_torch()
        say("installing the project and its tools")
        pip("--editable", f"{ROOT}[dev]", "-c", str(CONSTRAINTS))
    except subprocess.CalledProcessError as error:
        say(f"failed: pip ended with {error.returncode}; its message stands above")
        sys.exit(3)
    STAMP.touch()
    say(f"done in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
