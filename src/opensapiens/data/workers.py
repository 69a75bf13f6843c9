"""Runs jobs in processes, and survives jobs that crash their process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

AHEAD = 2  # jobs per worker that are started before their results are needed

Job = TypeVar("Job")
Done = TypeVar("Done")


class WorkerDied(RuntimeError):
    """A job that crashed its process twice, the second time alone."""


def run_in_processes(
    do: Callable[[Job], Done],
    jobs: Iterable[Job],
    workers: int,
    prepare: Callable[[], None] | None = None,
) -> Iterator[Done | WorkerDied]:
    """`do(job)` of each job, in order. prepare: called once in each process.

    When a process dies, it is unknown which job killed it: all started jobs run again, the next one alone. A job that
    kills its process again yields a WorkerDied instead of its result. Raises what `do` or `prepare` raises.
    """

    def pool(size: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(size, get_context("spawn"), None if prepare is None else partial(_prepare, prepare))

    rest = iter(jobs)
    begun: deque[tuple[Job, Future[Done]]] = deque()
    running = pool(workers)
    try:
        while True:
            begun += [(job, _begun(running, do, job)) for job in islice(rest, AHEAD * workers - len(begun))]
            if not begun:
                return
            job, result = begun.popleft()
            try:
                done: Done | WorkerDied = result.result()
            except BrokenProcessPool:
                running.shutdown()
                done = _alone(do, job, pool(1))
                running = pool(workers)
                begun = deque((job, _begun(running, do, job)) for job, _ in begun)
            yield done
    finally:
        running.shutdown(cancel_futures=True)


def _begun(pool: ProcessPoolExecutor, do: Callable[[Job], Done], job: Job) -> Future[Done]:
    try:
        return pool.submit(_do, do, job)
    except BrokenProcessPool as error:  # by a job that was begun earlier
        failed: Future[Done] = Future()
        failed.set_exception(error)
        return failed


def _alone(do: Callable[[Job], Done], job: Job, pool: ProcessPoolExecutor) -> Done | WorkerDied:
    with pool:
        try:
            return pool.submit(_do, do, job).result()
        except BrokenProcessPool:
            return WorkerDied("it ended the process that did it twice (a crash, or too little memory)")


_unprepared: Exception | None = None  # why this process cannot do any job


def _prepare(prepare: Callable[[], None]) -> None:
    global _unprepared
    try:
        prepare()
    except Exception as error:  # the pool would only say that it is broken
        _unprepared = error


def _do(do: Callable[[Job], Done], job: Job) -> Done:
    if _unprepared is not None:
        raise _unprepared
    return do(job)
