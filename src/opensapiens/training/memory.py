"""The memory of a process that trains on a CPU."""

import ctypes
import sys

# Numbers of <malloc.h>.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, ARENA_MAX = -1, -2, -3, -8
LARGEST_IN_HEAP = 32 * 2**20
"""Bytes. What is larger is always asked of the system: the C library takes no higher threshold."""


def keep_freed_memory() -> None:
    """Tells the C library to keep freed memory for what is allocated next. Does nothing where it is not glibc.

    By default a map of some megabytes goes back to the system when it is freed and comes again as fresh pages, which
    the system fills with zeros first: a fifth of the time of nano's steps. A step's maps must stay below 32 MB each for
    this; `Run.micro_batch` cuts them.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    # One arena: the thread of the backward pass would get one of its own, whose pieces are kept up to 64 MB only.
    for setting, value in (
        (ARENA_MAX, 1),
        (MMAP_THRESHOLD, LARGEST_IN_HEAP),
        (TRIM_THRESHOLD, 2**31 - 1),
        (TOP_PAD, 256 * 2**20),
    ):
        mallopt(setting, value)
