"""The backend's own threads: a range is cut into chunks that the caller and parked Python threads take in turn.

The kernels release the GIL, so ordinary threads run them side by side. The chunks depend on the range alone, never on
the number of threads, so neither do the bits.
"""

import os
import queue
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

Body = Callable[[int, int], None]


class _Job:
    """The chunks of one range: whoever calls run takes the next ones until none is left."""

    def __init__(self, total: int, grain: int, body: Body) -> None:
        self.total, self.grain, self.body = total, grain, body
        self.begin = 0
        self.running = 0
        self.error: BaseException | None = None
        self.lock = threading.Lock()
        self.idle = threading.Condition(self.lock)

    def run(self) -> None:
        _here.inside = True
        try:
            while (begin := self.take()) < self.total:
                try:
                    self.body(begin, min(begin + self.grain, self.total))
                except BaseException as error:
                    self.error = error
                self.finish()
        finally:
            _here.inside = False

    def take(self) -> int:
        with self.lock:
            begin = self.total if self.error else self.begin
            if begin < self.total:
                self.begin += self.grain
                self.running += 1
            return begin

    def finish(self) -> None:
        with self.lock:
            self.running -= 1
            if not self.running:
                self.idle.notify()

    def wait(self) -> None:
        """Wait for the chunks that were taken, not for every thread; raise what one of them raised."""
        with self.lock:
            while self.running:
                self.idle.wait()
        if self.error:
            raise self.error


class _Pool:
    """Parked threads, made when first wanted, and the tickets that call them to a job."""

    def __init__(self) -> None:
        self.busy = threading.Lock()
        self.tickets: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self.threads = 0

    def call(self, job: _Job, helpers: int) -> None:
        while self.threads < helpers:
            try:
                threading.Thread(target=_serve, args=(self.tickets,), name="tapwise", daemon=True).start()
            except RuntimeError:  # the system or a closing interpreter refuses: fewer threads do the same chunks
                break
            self.threads += 1
        for _ in range(min(helpers, self.threads)):
            self.tickets.put(job)


def _serve(tickets: "queue.SimpleQueue[_Job]") -> None:
    while True:
        tickets.get().run()


def parallel_for(total: int, grain: int, body: Body) -> None:
    """Call body(begin, end) for chunks of at most grain that cover [0, total); return when all are done.

    Nested calls, and calls that find the pool busy with another caller's work, run serially.
    """
    pool, helpers = _pool, min(thread_count(), -(-total // grain)) - 1
    if helpers < 1 or getattr(_here, "inside", False) or not pool.busy.acquire(blocking=False):
        for begin in range(0, total, grain):
            body(begin, min(begin + grain, total))
        return
    try:
        job = _Job(total, grain, body)
        pool.call(job, helpers)
        job.run()
        job.wait()
    finally:
        pool.busy.release()


def grain(total: int, work: int) -> int:
    """A chunk's length where each element costs `work` moves of a number: 2^17 moves at least, 64 chunks at most."""
    return max(1, -(-total // 64), (1 << 17) // max(1, work))


def thread_count() -> int:
    """Threads that a call may use, the caller's included."""
    return _wanted or machine_threads()


def set_thread_count(n: int) -> None:
    """Let calls use n >= 1 threads; 0: as many as the machine gives this process."""
    global _wanted
    _wanted = n


@cache
def machine_threads() -> int:
    """What the affinity mask and the cgroup's quota leave of the machine's cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([cores, *(max(1, round(quota)) for quota in _quotas())])


def _quotas() -> Iterator[float]:
    """The cores that the process' cgroup, version 1 or 2, and those above it may use, where they set a limit."""
    for line in _words("/proc/self/cgroup"):
        if line.startswith("0::/"):
            group = Path("/sys/fs/cgroup") / line[4:]
            for folder in [group, *group.parents][:-2]:
                limit = _words(folder / "cpu.max")
                if len(limit) == 2 and limit[0] != "max":
                    yield int(limit[0]) / int(limit[1])
    cpu = Path("/sys/fs/cgroup/cpu")
    limit = _words(cpu / "cpu.cfs_quota_us") + _words(cpu / "cpu.cfs_period_us")
    if len(limit) == 2 and int(limit[0]) > 0:
        yield int(limit[0]) / int(limit[1])


def _words(path: Path | str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").split()
    except OSError:
        return []


def _forget_threads() -> None:
    """A forked child has none of its parent's threads, and its locks may be held by them."""
    global _pool, _here
    _pool, _here = _Pool(), threading.local()
    machine_threads.cache_clear()


_wanted = 0
_pool = _Pool()
_here = threading.local()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
