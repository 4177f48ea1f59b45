"""Jobs through `spark-submit`, as another cluster runs them: Spark makes the session, the library is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mmrec_lib.lakehouse.session import DELTA
from mmrec_lib.lakehouse.session_settings import SMALL
from tests.compare import table_rows
from tests.conftest import PROJECT
from tests.data.tiny import write_tiny_store

pytestmark = [pytest.mark.slow, pytest.mark.long]


def submit(job: str, folder: Path, *pairs: str) -> tuple[int, dict[str, Any], str]:
    """Run a job's file; its exit status, the JSON of its last line and what it said on standard error."""
    command = [Path(sys.executable).parent / "spark-submit", "--master", "local[2]", "--driver-memory", "2g"]
    for key, value in (DELTA | SMALL | {"spark.ui.enabled": "false"}).items():
        command += ["--conf", f"{key}={value}"]
    command += [PROJECT / "jobs" / f"{job}.py", "--set", "spark.master=null", *pairs]
    # Installed means on Python's path; the job's file brings nothing with it (no --py-files).
    env = os.environ | {"PYTHONPATH": str(PROJECT), "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, cwd=folder, env=env
    )
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_a_submitted_job_writes_its_tables_and_ends_with_json(tmp_path: Path) -> None:
    expected = write_tiny_store(tmp_path / "landing")
    pairs = [f"store.data={tmp_path / 'landing'}", f"store.out={tmp_path / 'out'}"]
    status, summary, said = submit("ingest_landing", tmp_path, *pairs)
    assert status == 0, said[-3000:]
    assert (summary["job"], summary["status"]) == ("ingest_landing", "succeeded")
    assert summary["counts"]["event.stored"] == expected["tables"]["event"]
    assert table_rows(tmp_path / "out", "event").num_rows == expected["tables"]["event"]


def test_a_submitted_job_that_fails_ends_with_status_1_and_json(tmp_path: Path) -> None:
    pairs = [f"store.data={tmp_path / 'nowhere'}", f"store.out={tmp_path / 'out'}"]
    status, summary, said = submit("ingest_landing", tmp_path, *pairs)
    assert status == 1
    assert (summary["job"], summary["status"]) == ("ingest_landing", "failed")
    assert "nowhere" in summary["message"] and "Traceback" not in said
    assert not (tmp_path / "out").exists()
