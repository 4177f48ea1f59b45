"""The registered model as a function of Spark columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from mmrec_lib.tracking.registry import CHAMPION
from tests.registered import open_registry, small_ranker, write_registered_store

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::UserWarning:mlflow"),
    pytest.mark.filterwarnings("ignore::UserWarning:pyspark"),
]


@pytest.fixture(scope="module")
def model_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("serving") / "store"
    write_registered_store(out, small_ranker())
    assert open_registry(out).by_alias(CHAMPION) is not None  # sets MLflow's address
    return "models:/mmrec_ranker@champion"


@pytest.mark.slow
def test_the_model_is_a_function_of_columns(spark: SparkSession, model_uri: str, tmp_path: Path) -> None:
    import mlflow

    rows = spark.createDataFrame(
        [
            ("a", ["i00", "i02"], [3, 1], None),
            ("b", ["i01"], None, {"likes": "red"}),
            ("c", None, None, {"likes": "red"}),
        ],
        "user_id string, item_ids array<string>, weights array<int>, attributes map<string,string>",
    )
    recommend = mlflow.pyfunc.spark_udf(spark, model_uri, params={"k": 4})
    columns = [F.col(name) for name in ("item_ids", "weights", "attributes")]
    calls = {
        "all": recommend(*columns),
        "history": recommend(F.col("item_ids")),
        "struct": recommend(F.struct("item_ids", "attributes")),
    }
    found = rows.select("user_id", *[call.alias(name) for name, call in calls.items()]).orderBy("user_id").collect()
    driver = mlflow.pyfunc.load_model(model_uri)
    expected: Any = driver.predict(
        {"item_ids": [["i00", "i02"], ["i01"], None], "weights": [[3, 1], None, None]}, params={"k": 4}
    )
    assert [list(row["history"]["item_ids"]) for row in found][1:] == expected["item_ids"].tolist()[1:]
    assert list(found[0]["all"]["item_ids"]) == expected["item_ids"][0]
    assert list(found[0]["all"]["scores"]) == pytest.approx(expected["scores"][0], rel=1e-5)
    red = driver.predict({"item_ids": [None], "attributes": [{"likes": "red"}]}, params={"k": 4})["item_ids"][0]
    assert list(found[2]["all"]["item_ids"]) == list(found[2]["struct"]["item_ids"]) == red
    assert red != expected["item_ids"][2]
    assert {len(row[name]["item_ids"]) for row in found for name in calls} == {4}
