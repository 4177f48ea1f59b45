"""Probes at lines: what was run is known, and functions that hold them can be sent to other processes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import cloudpickle
from coverage import CoverageData
from slipcover import Slipcover

from tests.covered import PROJECT, let_probes_travel

SOURCE = """
def adder(number):
    def add(other):
        if other < 0:
            return 0
        return number + other
    return add
"""


def test_a_function_with_probes_is_sent_and_runs() -> None:
    let_probes_travel()
    slipcover, names = Slipcover(), {}  # type: ignore[var-annotated]
    exec(slipcover.instrument(compile(SOURCE, str(PROJECT / "mmrec_lib/adder.py"), "exec")), names)
    sent = pickle.loads(cloudpickle.dumps(names["adder"](2)))
    assert [sent(number) for number in (-1, *range(200))] == [0, *range(2, 202)]
    assert names["adder"](2)(4) == 6


def test_the_plugin_notes_the_lines_that_a_test_runs_and_knows_all_files(tmp_path: Path) -> None:
    test = tmp_path / "test_one.py"
    test.write_text("def test_one():\n    import mmrec_lib.errors\n    assert mmrec_lib.errors\n", encoding="utf-8")
    data = tmp_path / "lines"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.covered",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(PROJECT),
    ]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    command += [f"--lines-file={data}", str(test)]
    run = subprocess.run(command, env=alone, capture_output=True, text=True, cwd=PROJECT, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    noted = CoverageData(f"{data}.main")
    noted.read()
    assert noted.lines(str(PROJECT / "mmrec_lib/errors.py"))
    assert noted.lines(str(PROJECT / "mmrec_lib/topk/exact.py")) == []
    assert str(PROJECT / "mmrec_lib/topk/kernels.py") not in noted.measured_files()
    assert len(noted.measured_files()) > 300
