"""The session for small tables: what it leaves out, and how a block in it works on many rows."""

from __future__ import annotations

import contextlib
import io

import pytest
from py4j.java_gateway import GatewayClient  # type: ignore[import-untyped]
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mmrec_lib.lakehouse.session_settings import MANY_ROWS
from mmrec_lib.lakehouse.tables import Lakehouse

GENERATED = "spark.sql.codegen.wholeStage"


def exchanges(rows: DataFrame) -> int:
    with contextlib.redirect_stdout(io.StringIO()) as plan:
        rows.explain()
    return plan.getvalue().count("Exchange")


def joined(lakehouse: Lakehouse) -> DataFrame:
    first = lakehouse.stage("first", lakehouse.spark.range(10).withColumn("x", F.col("id") % 3))
    second = lakehouse.stage("second", lakehouse.spark.range(5, 15))
    return first.join(second, "id").groupBy("x").agg(F.count(F.lit(1)).alias("n"))


def test_staged_rows_are_joined_and_grouped_without_an_exchange(lakehouse: Lakehouse) -> None:
    rows = joined(lakehouse)
    assert exchanges(rows) == 0
    assert {row["x"]: row["n"] for row in rows.collect()} == {0: 2, 1: 1, 2: 2}


def test_many_rows_keep_their_partitions(lakehouse: Lakehouse) -> None:
    with lakehouse.many_rows(MANY_ROWS):
        rows = joined(lakehouse)
        assert exchanges(rows) > 0
        assert {row["x"]: row["n"] for row in rows.collect()} == {0: 2, 1: 1, 2: 2}


def test_settings_for_many_rows_leave_those_of_a_user_alone(lakehouse: Lakehouse) -> None:
    conf = lakehouse.spark.conf
    assert conf.get(GENERATED) == "false", "tests have the session for small tables"
    with lakehouse.many_rows(MANY_ROWS):
        assert (conf.get(GENERATED), conf.get("spark.sql.shuffle.partitions")) == ("true", "2")
    conf.set("spark.sql.shuffle.partitions", "7")
    try:
        with pytest.raises(RuntimeError), lakehouse.many_rows(MANY_ROWS):
            assert conf.get("spark.sql.shuffle.partitions") == "7"
            raise RuntimeError
    finally:
        conf.set("spark.sql.shuffle.partitions", "1")
    assert conf.get(GENERATED) == "false"


def test_few_rows_change_nothing(lakehouse: Lakehouse) -> None:
    with lakehouse.many_rows(MANY_ROWS - 1):
        assert lakehouse.spark.conf.get(GENERATED) == "false"


def test_a_column_is_made_by_few_calls_of_java(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []
    send = GatewayClient.send_command

    def counted(self: GatewayClient, command: str, *args: bool) -> object:
        commands.append(command)
        return send(self, command, *args)

    monkeypatch.setattr(GatewayClient, "send_command", counted)
    F.col("a") + F.col("b")
    assert 0 < len(commands) <= 20, "with notes of the lines of code it takes twice as many and more"


def test_a_local_session_has_no_defaults_of_yarn_and_mapreduce_but_what_a_user_set(spark: SparkSession) -> None:
    spark.range(3).write.mode("overwrite").format("noop").save()
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    names = hadoop.getValByRegex(r"^(yarn|mapreduce|mapred)\.").keySet().toString()
    set_by_spark = "mapreduce.fileoutputcommitter.algorithm.version"
    assert set(names[1:-1].split(", ")) <= {"mapreduce.job.tags", set_by_spark}
    assert hadoop.get("mapreduce.job.tags") == "set-by-the-user"
    assert hadoop.get("fs.trash.interval") == "0", "what Hadoop's core has stays"
