"""What processes of a Spark session used, from /proc."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def tree_cpu_seconds(pid: int) -> float:
    """Processor time of a process and of all processes that it started, also of those that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    seconds = sum(map(int, fields[11:15])) / _CLOCK_TICKS
    for child in _children(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            seconds += tree_cpu_seconds(child)
    return seconds


def peak_mb(pid: int) -> float:
    """Largest resident memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def python_workers(jvm: int) -> list[int]:
    """Python workers of a JVM: the children of its daemon."""
    return [worker for daemon in _children(jvm) for worker in _children(daemon)]


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            yield from map(int, (task / "children").read_text(encoding="utf-8").split())


def pin(pid: int, cores: Iterable[int]) -> None:
    """Bind every thread that a process has, and those that they start, to some cores.

    Libraries start threads while they are imported, so to bind the calling thread alone is not enough.
    """
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cores)
