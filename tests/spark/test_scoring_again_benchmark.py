from __future__ import annotations

import pytest
from pyspark.sql import SparkSession

from tests.benchmarks.scoring import measure_again

pytestmark = pytest.mark.slow


def test_everyone_nobody_one_and_some_are_scored(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    found = measure_again(spark, 200, deletion_vectors=False, num_items=100, rounds=1)
    scored = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("scored")]
    assert scored == ["200", "0", "1", "2", "200"]
    assert set(found["seconds"]) == {"everyone", "nobody", "one user", "again"}
