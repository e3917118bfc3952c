"""Work done by background threads before it is asked for, in a fixed order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(make: Callable[[int], T], count: int, workers: int, prefetch: int = 2) -> Generator[T, None, None]:
    """make(0), ..., make(count - 1), made by workers threads, up to prefetch ahead of the caller; 0: by the caller.

    What make raises is raised here, with its traceback, in its turn. Closed, interrupted or at its end the iterator
    drops what hasn't begun and waits for its threads.
    """
    if not workers:
        yield from map(make, range(count))
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="tapwise-data")
    pending: deque[Future[T]] = deque()
    numbers = iter(range(count))
    try:
        for _ in range(count):
            while len(pending) < workers + prefetch and (begun := next(numbers, None)) is not None:
                pending.append(pool.submit(make, begun))
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
