"""Tests in two processes that share one queue of files, with lint, types and the laws of imports beside them.

    python -m tests.run              all that are quick, with coverage
    python -m tests.run --slow       all that are slow; their coverage is added to that of the quick ones
    python -m tests.run --refresh    keeps what each file took, with either
    python -m tests.run tests/spark  some of them, quick and slow: any arguments of pytest, without coverage

The queue is pytest-xdist's: it hands out whole files in the order of `tests/durations.json`, longest first, so that a
process holds at most one Spark session and both end at about the same time. What fails is shown whole.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

BIN = Path(sys.executable).parent
CHECKS = (
    [str(BIN / "ruff"), "format", "--check", "--quiet", "."],
    [str(BIN / "ruff"), "check", "--quiet", "."],
    [str(BIN / "lint-imports")],
    [str(BIN / "mypy")],
)
NUM_PROCESSES = 2
QUEUE = ("-p", "tests.durations", "-n", str(NUM_PROCESSES), "--dist", "loadfile", "--no-loadscope-reorder")
# Two processes share the cores: products of small matrices that wait for a second thread take twice as long.
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
LINES = ("-p", "tests.covered")
COVERAGE = str(BIN / "coverage")
LINES_OF_QUICK = Path(__file__).resolve().parent.parent / ".coverage"
# Measured 90.9 when it was set; only ever raised. The floor of all tests stands in pyproject.toml.
QUICK_FLOOR = 90
SLOW, REFRESH = "--slow", "--refresh"


@contextmanager
def checks(commands: Sequence[list[str]]) -> Iterator[list[tuple[str, subprocess.Popen[str], IO[str]]]]:
    """Run checks beside the tests, each printing into a file of its own."""
    with tempfile.TemporaryDirectory(prefix="mmrec-checks-") as folder:
        running = []
        for number, command in enumerate(commands):
            log = (Path(folder) / str(number)).open("w+", encoding="utf-8")
            name = " ".join([Path(command[0]).name, *command[1:]])
            running.append((name, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True), log))
        try:
            yield running
        finally:
            for _, process, log in running:
                process.kill()
                process.wait()
                log.close()


def is_whole(arguments: Sequence[str]) -> bool:
    """Tell if all quick or all slow tests run: only together they can be held to a floor of coverage."""
    return set(arguments) <= {SLOW, REFRESH}


def coverage_commands(arguments: Sequence[str]) -> list[list[str]]:
    """The commands that join the measured lines and hold them to the floor, that of all tests after the slow ones."""
    if not is_whole(arguments):
        return []
    if SLOW not in arguments:
        return [[COVERAGE, "combine", "--quiet"], [COVERAGE, "report", f"--fail-under={QUICK_FLOOR}"]]
    if not LINES_OF_QUICK.exists():
        print(
            "Lines that the quick tests run are not known: `make test` comes first. Coverage is not held to its floor."
        )
        return []
    return [[COVERAGE, "combine", "--quiet", "--append"], [COVERAGE, "report"]]


def tests_command(arguments: Sequence[str]) -> list[str]:
    """The command that runs the queue."""
    chosen, lines = "not long", list[str]()
    if is_whole(arguments):
        chosen, lines = "slow and not long" if SLOW in arguments else "not slow and not long", list(LINES)
    others = [argument for argument in arguments if argument != SLOW]
    return [sys.executable, "-m", "pytest", *QUEUE, *lines, "-m", chosen, *others]


def main(argv: Sequence[str] | None = None) -> int:
    """Run checks and tests; returns 0 when all passed."""
    arguments = sys.argv[1:] if argv is None else argv
    start = time.monotonic()
    # Before the slow ones, `make test` has looked already.
    with checks([] if SLOW in arguments else CHECKS) as running:
        tests = subprocess.run(tests_command(arguments), check=False, env=ONE_THREAD | os.environ)
        failed = ["tests"] if tests.returncode != 0 else []
        if any(subprocess.run(command, check=False).returncode for command in coverage_commands(arguments)):
            failed.append("coverage")
        for name, process, log in running:
            if process.wait() != 0:
                failed.append(name)
                log.seek(0)
                print(f"\n===== {name}\n{log.read()}", flush=True)
    print(
        f"{time.monotonic() - start:.0f} s, checks and tests: {'failed: ' + ', '.join(failed) if failed else 'passed'}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
