"""Measured lines of mmrec in the test processes: a plugin of pytest.

Below Python 3.12 a tracer slows down all of Python, that of Spark and numpy included; SlipCover (Altmayer Pizzorno and
Berger, ISSTA 2023) puts a probe at each line of our own modules alone, and takes it away when it was passed often. The
lines become data of coverage.py, which tests/run.py lets report and hold the floor of pyproject.toml.
"""

from __future__ import annotations

import copyreg
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from coverage import CoverageData
from slipcover import FileMatcher, ImportManager, Slipcover, probe

PROJECT = Path(__file__).resolve().parent.parent
SOURCES = ("mmrec_lib", "jobs")
# Compiled kernels run as machine code, and no probe can be compiled; their tests compare them with numpy. What is sent
# to processes of torchrun would bring its probes there, where tests cannot be imported.
LEFT_OUT = ("*/kernels.py", "*_kernels.py", "*/training/distributor.py")


def let_probes_travel() -> None:
    """Let functions with probes be pickled, as Spark does with those it sends to workers: there they tell nobody."""
    copyreg.pickle(type(probe.new(Slipcover(), "", 0, 0)), _unheard)


class _Elsewhere:
    """Pickles as a measurement that nobody reads."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Slipcover, ()


_ELSEWHERE = _Elsewhere()


def _unheard(_: object) -> tuple[Any, tuple[Any, ...]]:
    return probe.new, (_ELSEWHERE, "", 0, 50)


class _Lines:
    """Probes from the first import of a module on, and their lines at the end."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._slipcover = Slipcover()
        self._imports = ImportManager(
            self._slipcover, FileMatcher([PROJECT / source for source in SOURCES], omit=LEFT_OUT)
        )
        self._imports.__enter__()
        let_probes_travel()

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        self._imports.__exit__()
        data = CoverageData(self._file, suffix=os.environ.get("PYTEST_XDIST_WORKER", "main"))
        files = self._slipcover.get_coverage()["files"]
        data.add_lines({str(PROJECT / name): lines["executed_lines"] for name, lines in files.items()})
        data.touch_files([str(path) for path in _files()])
        data.write()


def _files() -> Iterator[Path]:
    for source in SOURCES:
        yield from (path for path in (PROJECT / source).rglob("*.py") if not any(map(path.match, LEFT_OUT)))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--lines-file", default=str(PROJECT / ".coverage"), help="where the lines of each process go")


def pytest_configure(config: pytest.Config) -> None:
    # With several processes the first one only hands out tests.
    if not config.getoption("numprocesses") or "PYTEST_XDIST_WORKER" in os.environ:
        config.pluginmanager.register(_Lines(config.getoption("--lines-file")))
