"""What Spark workers import: each of them pays for it before its first row."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = ("omegaconf", "pandas", "mlflow", "matplotlib", "sklearn", "torch")


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "mmrec_lib.ingest.records.frames",
        "mmrec_lib.ingest.media.read",
        "mmrec_lib.embedding.texts",
        "mmrec_lib.embedding.pooling",
        "mmrec_lib.embedding.operator",
    ],
)
def test_workers_load_no_package_that_their_work_does_without(module: str) -> None:
    program = f"import sys, {module}; print(*({{*{SLOW!r}}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
