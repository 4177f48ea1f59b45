"""All tests, in two lanes side by side: whole pipelines in one, everything else in the other.

    python -m tests.run

Each lane is a pytest process with at most one Spark session. What a lane prints is shown when it has ended.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import IO

LANES = {"pipeline": ["tests/pipeline", "-m", "not long"], "units and Spark": ["tests/unit", "tests/spark"]}


def main() -> int:
    """Run both lanes; returns 0 when all tests of both passed."""
    with contextlib.ExitStack() as stack:
        logs = {name: stack.enter_context(tempfile.TemporaryFile("w+")) for name in LANES}
        return run_lanes(logs)


def run_lanes(logs: Mapping[str, IO[str]]) -> int:
    """Run the lanes, each printing into its own file."""
    start = time.monotonic()
    running = {
        name: subprocess.Popen([sys.executable, "-m", "pytest", *paths], stdout=logs[name], stderr=subprocess.STDOUT)
        for name, paths in LANES.items()
    }
    failed = []
    while running:
        time.sleep(1)
        for name, process in list(running.items()):
            if process.poll() is None:
                continue
            del running[name]
            logs[name].seek(0)
            print(f"\n===== {name}: {time.monotonic() - start:.0f} s", flush=True)
            print(logs[name].read(), flush=True)
            if process.returncode != 0:
                failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
