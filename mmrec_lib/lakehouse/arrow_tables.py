"""Schemas and tables of Arrow with the types that Spark's have in files."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructType


def arrow_schema(schema: StructType) -> pa.Schema:
    """The same columns in Arrow; times are in UTC, as everywhere in a store."""
    return to_arrow_schema(schema, timezone="UTC")


def whole_table(batches: Iterable[pa.RecordBatch], schema: StructType) -> pa.Table:
    """Batches as one table; without any, one of these columns that has no row."""
    found = list(batches)
    return pa.Table.from_batches(found) if found else arrow_schema(schema).empty_table()
