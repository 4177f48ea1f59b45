from __future__ import annotations

import pyarrow as pa
from pyspark.sql import functions as F

from mmrec_lib.lakehouse.arrow_tables import whole_table
from mmrec_lib.lakehouse.tables import Lakehouse

TIME = pa.timestamp("us", "UTC")


def test_tables_with_and_without_rows_have_the_same_columns_times_in_utc(lakehouse: Lakehouse) -> None:
    rows = lakehouse.spark.range(2).select(
        F.current_timestamp().alias("ts"), F.array(F.struct(F.current_timestamp().alias("at"), "id")).alias("searches")
    )
    full = whole_table(lakehouse.stream_arrow("full", rows), rows.schema)
    empty = whole_table(lakehouse.stream_arrow("empty", rows.where("id < 0")), rows.schema)
    assert (full.num_rows, empty.num_rows) == (2, 0)
    assert full.schema.names == empty.schema.names == ["ts", "searches"]
    assert full.schema.types == empty.schema.types
    assert full.schema.field("ts").type == TIME
    assert full.schema.field("searches").type.value_type.field("at").type == TIME
