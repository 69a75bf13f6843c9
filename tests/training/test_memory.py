"""Freed memory is kept for what is allocated next."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from opensapiens.training.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
torch.set_num_threads(1)
layer, features = torch.nn.Conv2d(48, 308, 1), torch.randn(8, 48, 48, 36)  # maps of 17 MB, as nano's

def step() -> None:
    maps = layer(features)
    ((maps.square().mean((2, 3)) + maps.flatten(2).logsumexp(2)) * 0.5).sum().backward()

for _ in range(5):  # until the heap is large enough
    step()
counts = []
for _ in range(7):  # the median: some rounds are lucky, in others the system takes pages away
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sorted(counts)[3])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_freed_memory_is_not_fetched_again() -> None:
    faults = {}
    for how in ("kept", "given back"):
        command = [sys.executable, "-c", PROGRAM, how]
        faults[how] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert faults["kept"] < 0.5 * faults["given back"], faults
