"""Freed memory is kept for what is allocated next."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from opensapiens.training.memory import keep_freed_memory

keep_freed_memory()
torch.set_num_threads(1)

def step() -> None:
    maps = [torch.ones(5_000_000) for _ in range(6)]  # of 20 MB, as nano's; all are freed at the end

for _ in range(5):  # until the heap is large enough
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_not_fetched_again() -> None:
    """Without the setting, half of the processes fetch 585,300 pages: it depends on where things lie in memory."""
    command = [sys.executable, "-c", PROGRAM]
    faults = [int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(4)]
    assert max(faults) < 10_000, faults
