"""Audit columns of rows whose content stays as it is, such as the modification time of a file that was only touched."""

from __future__ import annotations

import uuid

from pyspark.sql import DataFrame

from mmrec_lib.contracts import CONTRACTS
from mmrec_lib.lakehouse.commits import MAINTENANCE
from mmrec_lib.lakehouse.tables import Lakehouse

_METADATA = "spark.databricks.delta.commitInfo.userMetadata"


def refresh_audit(lakehouse: Lakehouse, name: str, rows: DataFrame, column: str) -> None:
    """Set an audit column of stored rows. Readers of the table's content are not told: for them nothing has changed.

    Args:
        lakehouse: The store.
        name: Table.
        rows: Its key, each once, and the column.
        column: An audit column.

    Raises:
        ValueError: When the column is content.
    """
    lakehouse.require_writable(name)
    contract = CONTRACTS[name]
    if column in contract.content_columns:
        raise ValueError(f"{name}.{column} is content; merge it")
    view = f"mmrec_touch_{name}_{uuid.uuid4().hex}"
    on = " AND ".join(f"t.`{key}` = s.`{key}`" for key in contract.key)
    rows.select(*contract.key, column).createOrReplaceTempView(view)
    lakehouse.spark.conf.set(_METADATA, MAINTENANCE)
    try:
        lakehouse.spark.sql(
            f"MERGE INTO {lakehouse.table(name)} t USING {view} s ON {on} "
            f"WHEN MATCHED THEN UPDATE SET t.`{column}` = s.`{column}`"
        )
    finally:
        lakehouse.spark.conf.unset(_METADATA)
        lakehouse.spark.catalog.dropTempView(view)
