"""The machine: what measured figures hold for, and which variants can run here. Figures without it mean nothing."""

import os
import platform
import subprocess
from functools import cache
from pathlib import Path

from training.package.shapes import StoredModel

# Instruction sets that decide how fast fp32 and int8 products are, under Linux's names (x86, then Arm).
_TELLING = (
    "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16",
    "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
DEVICES = tuple(Path(f"/dev/{name}") for name in ("nvidiactl", "nvidia0", "dxg"))  # one is there where a GPU is
VISIBLE_VARIABLE = "CUDA_VISIBLE_DEVICES"
NONE_VISIBLE = ("", "-1", "NoDevFiles")  # what Ray, people and Slurm set for a process that has no GPU of its own
ASK_S = 5.0  # for nvidia-smi, which hangs where a driver does


class Machine(StoredModel):
    """What decides how fast, and whether, a variant runs."""

    description: str  # one line for people
    arch: str  # as `uname -m` says
    cpu: str
    instruction_sets: tuple[str, ...]  # of those that matter
    num_cores: int  # that this process may use
    gpu: str = ""  # name of the first GPU; empty without one
    compute_capability: str = ""  # of that GPU, "9.0"

    def is_alike(self, other: "Machine") -> bool:
        """Whether what was measured on one holds on the other: the same kind of processor and the same GPU."""
        return (self.arch, self.instruction_sets, self.gpu) == (other.arch, other.instruction_sets, other.gpu)


@cache
def this_machine() -> Machine:
    """Where this process runs. Asked once a process; torch is not loaded for it."""
    facts = cpu_facts()
    cpu = facts.get("model name") or platform.processor() or platform.machine()
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    sets = tuple(name for name in _TELLING if name in flags)
    gpu, capability = _gpu()
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        description=_words(cpu, sets, gpu), arch=platform.machine(), cpu=cpu, instruction_sets=sets,
        num_cores=num_cores, gpu=gpu, compute_capability=capability,
    )  # fmt: skip


def describe_machine() -> str:
    """CPU model, cores, the instruction sets that matter, and the GPU, in one line."""
    return this_machine().description


def cpu_facts() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; nothing where there is no such file."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _words(cpu: str, sets: tuple[str, ...], gpu: str) -> str:
    num_cores = os.cpu_count() or 1
    words = f"{cpu}, {num_cores} core{'s' if num_cores > 1 else ''}"
    return ", ".join([words, *([" ".join(sets)] if sets else []), *([gpu] if gpu else [])])


def _gpu() -> tuple[str, str]:
    """Name and compute capability of the first NVIDIA GPU that its driver shows; empty where there is none.

    A node's GPU that this process may not use is none: nvidia-smi shows it, and CUDA does not.
    """
    visible = os.environ.get(VISIBLE_VARIABLE)
    if visible is not None and visible.split(",")[0].strip() in NONE_VISIBLE:  # CUDA reads up to the first that is none
        return "", ""
    if not any(path.exists() for path in DEVICES):
        return "", ""  # spares a process where there can be none
    try:
        said = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=ASK_S, check=True,
        ).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "", ""
    name, _, capability = said.strip().splitlines()[0].rpartition(",") if said.strip() else ("", "", "")
    return name.strip(), capability.strip()
