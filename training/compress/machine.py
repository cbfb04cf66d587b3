"""The machine that measured: figures without it mean nothing elsewhere."""

import os
import platform
from pathlib import Path

# Instruction sets that decide how fast fp32 and int8 products are, under Linux's names (x86, then Arm).
_TELLING = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "sve")


def describe_machine() -> str:
    """CPU model, cores and the instruction sets that matter, in one line."""
    info = cpu_facts()
    model = info.get("model name") or platform.processor() or platform.machine()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    sets = " ".join(name for name in _TELLING if name in flags)
    num_cores = os.cpu_count() or 1
    return f"{model}, {num_cores} core{'s' if num_cores > 1 else ''}{', ' + sets if sets else ''}"


def cpu_facts() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; nothing where there is no such file."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
