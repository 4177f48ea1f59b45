"""Measured seconds of each test file, by which the queue of `tests/run.py` is ordered: a plugin of pytest.

python -m tests.run [--slow] --refresh    measures again and writes tests/durations.json

A file has quick and slow tests, which run in queues of their own: each has its seconds.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("durations.json")
PROJECT = FILE.parent.parent


def longest_first(files: Iterable[str], seconds: Mapping[str, float]) -> list[str]:
    """Files in the order in which they start: unknown ones first, then the longest; equal ones by name."""
    return sorted(files, key=lambda file: (-seconds.get(file, math.inf), file))


def merged(known: Mapping[str, float], new: Mapping[str, float], existing: Iterable[str]) -> dict[str, float]:
    """Known seconds with newly measured ones in their place, of files that exist, by name."""
    there = set(existing)
    return {file: round(value, 1) for file, value in sorted({**known, **new}.items()) if file in there}


def read_durations() -> dict[str, dict[str, float]]:
    """Seconds by queue and file."""
    seconds: dict[str, dict[str, float]] = json.loads(FILE.read_text(encoding="utf-8"))
    return seconds


def queue_of(marks: str) -> str:
    """The queue that runs what is marked so: `slow`, or `quick` for all else."""
    return "slow" if marks.startswith("slow") else "quick"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--refresh", action="store_true", help="write the measured seconds to tests/durations.json")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    files = {_file_of(item.nodeid) for item in items}
    known = read_durations()[queue_of(config.getoption("markexpr"))]
    place = {file: number for number, file in enumerate(longest_first(files, known))}
    items.sort(key=lambda item: place[_file_of(item.nodeid)])


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--refresh") and "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(_Clock(queue_of(config.getoption("markexpr"))))


class _Clock:
    """Adds up what the processes report, and keeps it at the end."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = _file_of(report.nodeid)
        self.seconds[file] = self.seconds.get(file, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        existing = (path.relative_to(PROJECT).as_posix() for path in FILE.parent.rglob("test_*.py"))
        known = read_durations()
        kept = known | {self.queue: merged(known[self.queue], self.seconds, existing)}
        FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def _file_of(nodeid: str) -> str:
    return nodeid.split("::", 1)[0]
