"""Memory and processor time of a job's processes by role: driver Python, JVM, Python workers; from /proc."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.processes import cpu_seconds

DRIVER, JVM, WORKERS, OTHERS = "driver", "jvm", "workers", "others"
ROLES = (DRIVER, JVM, WORKERS, OTHERS)
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Process:
    """A process at one moment: its parent, command line, resident bytes and processor seconds."""

    pid: int
    parent: int
    command: str
    resident: int
    seconds: float


def tree_of(root: int, processes: Sequence[Process]) -> list[Process]:
    """A process and all that it started, directly or not."""
    children: dict[int, list[Process]] = {}
    for process in processes:
        children.setdefault(process.parent, []).append(process)
    found = [process for process in processes if process.pid == root]
    for process in found:
        found += children.get(process.pid, [])
    return found


def role_of(process: Process, root: int) -> str:
    """Role of a process in the tree of a job."""
    if process.pid == root:
        return DRIVER
    program = process.command.split("\0", 1)[0].rsplit("/", 1)[-1]
    if program == "java":
        return JVM
    return WORKERS if "pyspark" in process.command and program.startswith("python") else OTHERS


@dataclass
class RolePeaks:
    """Largest sums over the processes of each role, as sampled, and their processor time.

    Attributes:
        peak_bytes: By role, the largest sum of resident memory at one moment.
        peak_total: The largest sum over all roles at one moment.
    """

    peak_bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROLES, 0))
    peak_total: int = 0
    _seconds: dict[int, tuple[str, float]] = field(default_factory=dict)

    def look(self, root: int, processes: Sequence[Process]) -> None:
        """Take in one sample."""
        sums = dict.fromkeys(ROLES, 0)
        for process in tree_of(root, processes):
            # One that has just ended has no command line any more.
            known = self._seconds.get(process.pid)
            role = known[0] if known is not None and not process.command else role_of(process, root)
            sums[role] += process.resident
            self._seconds[process.pid] = (role, process.seconds)
        self.peak_total = max(self.peak_total, sum(sums.values()))
        self.peak_bytes = {role: max(self.peak_bytes[role], sums[role]) for role in ROLES}

    @property
    def cpu_seconds(self) -> dict[str, float]:
        """Processor time by role, up to the last sample of each process."""
        return {role: sum(s for of, s in self._seconds.values() if of == role) for role in ROLES}


def running_processes() -> list[Process]:
    """All processes of this machine that can be read."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):  # it has just ended
                fields = (entry / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
                resident = int((entry / "statm").read_text(encoding="utf-8").split()[1]) * _PAGE
                command = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
                pid = int(entry.name)
                found.append(Process(pid, int(fields[1]), command, resident, cpu_seconds(pid)))
    return found


def run_watched(
    command: Sequence[str], cwd: Path, env: Mapping[str, str], interval: float = 0.5
) -> tuple[subprocess.CompletedProcess[str], RolePeaks]:
    """Run a command to its end and sample its processes meanwhile."""
    peaks, ended = RolePeaks(), threading.Event()
    process = subprocess.Popen(command, cwd=cwd, env=dict(env), stdout=subprocess.PIPE, text=True)

    def watch() -> None:
        while not ended.wait(interval):
            peaks.look(process.pid, running_processes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        output, _ = process.communicate()
    finally:
        ended.set()
        watcher.join()
    return subprocess.CompletedProcess(command, process.returncode, output), peaks
