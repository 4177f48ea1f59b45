"""Tables that an older contract made: read, and brought to what the contract has now."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from mmrec_lib.contracts.table import Column, TableContract
from mmrec_lib.errors import StoreError
from mmrec_lib.lakehouse.ddl import CONSTRAINTS, add_check_statement, column_ddl, constraint_property


def with_gained_columns(rows: DataFrame, contract: TableContract) -> DataFrame:
    """Stored rows with the columns that the contract has gained since, null."""
    gained = [column for column in _missing(contract, rows) if not column.required]
    return rows.withColumns({column.name: F.lit(None).cast(column.type) for column in gained}) if gained else rows


def evolve(spark: SparkSession, contract: TableContract, identifier: str, stored: DataFrame) -> None:
    """Bring columns and constraints of a table to what its contract has now; nothing when it has all the columns.

    Args:
        spark: Session.
        contract: The table.
        identifier: Its SQL name.
        stored: Its rows, as they are stored.

    Raises:
        StoreError: When a required column is missing, for which the stored rows have no value.
    """
    gained = _missing(contract, stored)
    if not gained:
        return
    if any(column.required for column in gained):
        raise StoreError(
            f"Table {contract.name}: the store lacks the required columns {[c.name for c in gained]}, so it was "
            "made by an incompatible version. Start a new OUT."
        )
    # What forbids rows of the contract goes before the columns come, by which a later run knows that it is done: a run
    # that is killed in between leaves a table that takes the contract's rows.
    may_be_null = {column.name for column in contract.all_columns if not column.required}
    for field in stored.schema.fields:
        if field.name in may_be_null and not field.nullable:
            spark.sql(f"ALTER TABLE {identifier} ALTER COLUMN `{field.name}` DROP NOT NULL")
    _drop_checks(spark, contract, identifier)
    spark.sql(f"ALTER TABLE {identifier} ADD COLUMNS ({', '.join(column_ddl(column) for column in gained)})")
    add_checks(spark, contract, identifier)


def add_checks(spark: SparkSession, contract: TableContract, identifier: str) -> None:
    """Add the constraints of a contract that the table does not have."""
    if not contract.checks:
        return
    have = _properties(spark, identifier)
    for check in contract.checks:
        if constraint_property(check).lower() not in have:
            spark.sql(add_check_statement(check, identifier))


def _drop_checks(spark: SparkSession, contract: TableContract, identifier: str) -> None:
    """Drop the constraints that a contract no longer has; one that says something else has another name."""
    current = {constraint_property(check).lower() for check in contract.checks}
    for key in _properties(spark, identifier) - current:
        if key.startswith(CONSTRAINTS):
            spark.sql(f"ALTER TABLE {identifier} DROP CONSTRAINT `{key.removeprefix(CONSTRAINTS)}`")


def _properties(spark: SparkSession, identifier: str) -> set[str]:
    """Names of the table's properties, in lower case."""
    return {row["key"].lower() for row in spark.sql(f"SHOW TBLPROPERTIES {identifier}").collect()}


def _missing(contract: TableContract, rows: DataFrame) -> list[Column]:
    have = set(rows.columns)
    return [column for column in contract.all_columns if column.name not in have]
