"""Memory allocation in training on a CPU."""

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, ARENA_MAX = -1, -2, -3, -8  # of <malloc.h>
LARGEST_IN_HEAP = 32 * 2**20  # bytes; glibc allows no higher threshold


def keep_freed_memory() -> None:
    """Makes glibc, if present, keep freed memory for the next allocations.

    By default it returns maps of some megabytes to the system, which fills new pages with zeros: a fifth of the time of
    nano's steps. A step's maps must be below 32 MB each for this; see `Run.micro_batch`.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    # One arena, since the backward pass's thread would get its own, which keeps at most 64 MB.
    for setting, value in (
        (ARENA_MAX, 1),
        (MMAP_THRESHOLD, LARGEST_IN_HEAP),
        (TRIM_THRESHOLD, 2**31 - 1),
        (TOP_PAD, 256 * 2**20),
    ):
        mallopt(setting, value)
