"""Freed memory that stays with the process, seen in its page faults."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from training.cpu_memory import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
else:
    import ctypes
    ctypes.CDLL(None).mallopt(-1, 128 * 1024)  # glibc's own threshold at the start, and no more of its growing

def a_step():
    return [torch.ones(4_000_000) for _ in range(2)]

for _ in range(20):  # the heap takes five to eight to find its size
    a_step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    a_step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_what_a_step_frees_is_there_for_the_next_one() -> None:
    kept, given_back = page_faults("kept"), page_faults("as it was")

    # 20 steps of 2 x 16 MB: 7,800 pages of 4 KiB each, or 15 huge ones
    assert given_back >= 20 * 2
    assert kept <= given_back / 10
