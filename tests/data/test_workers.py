"""A job that ends its process is named, and the others are done."""

import os
import time
from functools import partial

import pytest

from opensapiens.data.workers import WorkerDied, run_in_processes

scale = 0


def prepare(factor: int) -> None:
    global scale
    if factor == 0:
        raise ValueError("no factor")
    scale = factor


def work(job: int) -> int:
    if job == 3:
        os._exit(1)
    if job == 99:
        raise ValueError("a job's own error")
    time.sleep(0.05 * (job % 2))
    return scale * job


def test_the_others_are_done_in_order() -> None:
    found = list(run_in_processes(work, range(8), 2, partial(prepare, 10)))
    assert isinstance(found.pop(3), WorkerDied)
    assert found == [0, 10, 20, 40, 50, 60, 70]


def test_what_a_job_raises_is_raised() -> None:
    results = run_in_processes(work, [1, 99, 2], 1, partial(prepare, 1))
    assert next(results) == 1
    with pytest.raises(ValueError, match="own error"):
        next(results)


def test_what_preparing_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="no factor"):
        next(run_in_processes(work, [1], 1, partial(prepare, 0)))
