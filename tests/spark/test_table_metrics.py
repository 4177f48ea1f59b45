"""Metrics of lists in tables are those of lists in memory."""

from __future__ import annotations

import numpy as np
import pytest
from pyspark.sql import SparkSession
from scipy import sparse

from mmrec_lib.errors import ModelError
from mmrec_lib.evaluation.lists import catalogue_coverage, gini
from mmrec_lib.evaluation.metrics import list_metrics
from mmrec_lib.scoring.table_metrics import mean_metrics, user_metrics

NUM_USERS, NUM_ITEMS, LENGTH, KS = 30, 25, 8, (3, 8)


@pytest.mark.slow
def test_tables_have_the_numbers_of_arrays(spark: SparkSession) -> None:
    """User 0 has no relevant item, user 1 no list; lists end early."""
    rng = np.random.default_rng(0)
    top = np.argsort(rng.random((NUM_USERS, NUM_ITEMS)), axis=1)[:, :LENGTH].astype(np.int32)
    top[np.arange(LENGTH) >= rng.integers(1, LENGTH + 1, NUM_USERS)[:, None]] = -1
    top[1] = -1
    relevant = rng.random((NUM_USERS, NUM_ITEMS)) < 0.3
    relevant[0], relevant[1, 0] = False, True
    lists = spark.createDataFrame(
        [(f"u{u:02d}", r + 1, f"i{i}") for u, row in enumerate(top.tolist()) for r, i in enumerate(row) if i >= 0],
        "user_id string, rank int, item_id string",
    )
    wanted = spark.createDataFrame(
        [(f"u{u:02d}", f"i{i}") for u, i in zip(*np.nonzero(relevant), strict=True)], "user_id string, item_id string"
    )
    expected = list_metrics(top, sparse.csr_matrix(relevant), KS)
    rows = user_metrics(lists, wanted, KS).orderBy("user_id").collect()
    assert [row["user_id"] for row in rows] == [f"u{user:02d}" for user in range(1, NUM_USERS)]
    for name, values in expected.items():
        assert [row[name] for row in rows] == values[1:].tolist(), name
    means = mean_metrics(lists, wanted, NUM_ITEMS, KS)
    assert set(means) == set(expected) | {f"{metric}@{k}" for metric in ("coverage", "gini") for k in KS}
    for name, values in expected.items():
        assert means[name] == pytest.approx(values[1:].mean())
    for k in KS:
        assert means[f"coverage@{k}"] == pytest.approx(catalogue_coverage(top, NUM_ITEMS, k))
        assert means[f"gini@{k}"] == pytest.approx(gini(top, NUM_ITEMS, k))


def test_cut_offs_below_one_are_refused(spark: SparkSession) -> None:
    nothing = spark.createDataFrame([], "user_id string, rank int, item_id string")
    with pytest.raises(ModelError, match="at least 1"):
        user_metrics(nothing, nothing, (0,))
