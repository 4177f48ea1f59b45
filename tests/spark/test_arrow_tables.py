from __future__ import annotations

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from mmrec_lib.lakehouse.arrow_tables import arrow_schema, whole_table


def test_tables_without_rows_have_the_columns_of_those_with_some(spark: SparkSession) -> None:
    rows = spark.range(2).select(
        F.current_timestamp().alias("ts"), F.array(F.struct(F.current_timestamp().alias("at"), "id")).alias("searches")
    )
    full = whole_table(rows.toArrow().to_batches(), rows.schema)
    empty = whole_table([], rows.schema)
    assert full.num_rows == 2
    assert empty.num_rows == 0
    assert empty.schema.types == [pa.timestamp("us", "UTC"), arrow_schema(rows.schema).field("searches").type]
    assert empty.schema.names == full.schema.names
