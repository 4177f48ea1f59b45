"""The core of the jobs in Spark Connect mode, in a process of its own: two kinds of session do not fit into one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import SETTINGS
from tests.compare import differences
from tests.conftest import PROJECT
from tests.pipeline.conftest import Demo

pytestmark = [pytest.mark.models, pytest.mark.slow]


def test_the_pipeline_gives_the_same_tables_in_connect_mode(demo: Demo, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pairs = [
        f"store.data={demo.data}",
        f"store.out={out}",
        f"models.root={demo.models}",
        "spark.master=null",
        "spark.remote=local[2]",
        *SETTINGS,
    ]
    command = [sys.executable, str(PROJECT / "jobs" / "run_pipeline.py"), "--set", *pairs]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert json.loads(result.stdout.splitlines()[-1])["status"] == "succeeded"
    assert differences(demo.out, out) == []
