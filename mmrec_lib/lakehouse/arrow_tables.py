"""Schemas and tables of Arrow with the types of Spark's, whose times are in UTC."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType


def arrow_schema(schema: StructType) -> pa.Schema:
    """The same columns in Arrow; times are in UTC, as everywhere in a store."""
    return to_arrow_schema(schema, timezone="UTC")


def whole_table(batches: Iterable[pa.RecordBatch], schema: StructType) -> pa.Table:
    """Batches of these columns as one table; without any, one that has no row."""
    found, own = list(batches), arrow_schema(schema)
    # Spark writes times into files without a zone.
    return pa.Table.from_batches(found).cast(own) if found else own.empty_table()
