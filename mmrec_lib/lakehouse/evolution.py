"""Tables that an older contract made: read, and brought to what the contract has now."""

from __future__ import annotations

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import AtomicType, StructType

from mmrec_lib.contracts.table import Check, Column, TableContract
from mmrec_lib.errors import StoreError
from mmrec_lib.lakehouse.ddl import CONSTRAINTS, add_check_statement, column_ddl, constraint_property, row_hash


def with_gained_columns(rows: DataFrame, contract: TableContract) -> DataFrame:
    """Stored rows in the columns of now: those that the contract has gained are null, those of another type cast."""
    missing, retyped = _missing(contract, rows.schema), _retyped(contract, rows.schema)
    gained = {column.name: F.lit(None).cast(column.type) for column in missing if not column.required}
    cast = {column.name: F.col(column.name).cast(column.type) for column in retyped}
    return rows.withColumns(gained | cast) if gained or cast else rows


def is_current(schema: StructType, contract: TableContract) -> bool:
    """Tell if a table of these columns has what its contract has now, so that `evolve` would do nothing."""
    is_same = not _missing(contract, schema) and not _retyped(contract, schema)
    return is_same and not _open_columns(contract, _never_null(schema))


def evolve(spark: SparkSession, contract: TableContract, identifier: str, stored: DataFrame) -> None:
    """Bring columns and constraints of a table to what its contract has now; nothing when it has all the columns.

    A column that has another type now is converted where no value is lost by it; the table is rewritten then, in one
    commit that does not count as a change of rows.

    Args:
        spark: Session.
        contract: The table.
        identifier: Its SQL name.
        stored: Its rows, as they are stored.

    Raises:
        StoreError: When a required column is missing, for which the stored rows have no value, or a stored value
            cannot be converted to the type that its column has now.
    """
    gained, retyped = _missing(contract, stored.schema), _retyped(contract, stored.schema)
    if any(column.required for column in gained):
        raise StoreError(
            f"Table {contract.name}: the store lacks the required columns {[c.name for c in gained]}, so it was "
            "made by an incompatible version. Start a new OUT."
        )
    _require_lossless(contract, stored, retyped)
    if gained or retyped:
        # What forbids rows of the contract goes before the columns come, by which a later run knows that it is done: a
        # run that is killed in between leaves a table that takes the contract's rows.
        may_be_null = {column.name for column in contract.all_columns if not column.required}
        for field in stored.schema.fields:
            if field.name in may_be_null and not field.nullable:
                spark.sql(f"ALTER TABLE {identifier} ALTER COLUMN `{field.name}` DROP NOT NULL")
        _drop_checks(spark, contract, identifier)
        if retyped:
            _rewrite(contract, identifier, stored)
        else:
            spark.sql(f"ALTER TABLE {identifier} ADD COLUMNS ({', '.join(column_ddl(column) for column in gained)})")
        add_checks(spark, contract, identifier)
    _guard_required(spark, contract, identifier, set() if retyped else _never_null(stored.schema))


def _rewrite(contract: TableContract, identifier: str, stored: DataFrame) -> None:
    """Replace a table by its rows in the contract's columns and types; properties and constraints of it stay."""
    # Rows are compared by the hash of their columns, which another type changes.
    rows = with_gained_columns(stored, contract).withColumn("row_hash", row_hash(contract))
    typed = [
        F.col(field.name).cast(field.dataType).alias(field.name, metadata=field.metadata) for field in contract.schema
    ]
    writer = rows.select(*typed).write.format("delta").mode("overwrite").option("overwriteSchema", "true")
    writer.partitionBy(*contract.partition_by).saveAsTable(identifier)


def _require_lossless(contract: TableContract, stored: DataFrame, retyped: list[Column]) -> None:
    """Check that each value of columns of another type is the same again when it is cast there and back."""
    for column in retyped:
        before = stored.schema[column.name].dataType
        value = F.col(column.name)
        bad: list[Row] = []
        if isinstance(before, AtomicType) and isinstance(column.type, AtomicType):
            back = value.try_cast(column.type).try_cast(before)
            bad = stored.where(value.isNotNull() & ~value.eqNullSafe(back)).select(value).limit(1).collect()
            if not bad:
                continue
        example = f", such as {bad[0][0]!r}" if bad else ""
        raise StoreError(
            f"Table {contract.name}: its column {column.name} is {before.simpleString()} in this store and "
            f"{column.type.simpleString()} now, and not every value can be converted{example}. The store was made by "
            "an incompatible version. Start a new OUT."
        )


def _guard_required(spark: SparkSession, contract: TableContract, identifier: str, guarded: set[str]) -> None:
    """Forbid nulls in required columns of a rewritten table by a constraint: Delta has no way to make them NOT NULL."""
    if open_columns := _open_columns(contract, guarded):
        condition = " AND ".join(f"`{name}` IS NOT NULL" for name in open_columns)
        check = Check("required_columns", condition)
        if constraint_property(check).lower() not in _properties(spark, identifier):
            spark.sql(add_check_statement(check, identifier))


def _open_columns(contract: TableContract, guarded: set[str]) -> list[str]:
    """Required columns that may hold a null."""
    return [c.name for c in contract.all_columns if c.required and c.name not in guarded]


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


def _retyped(contract: TableContract, schema: StructType) -> list[Column]:
    """Columns that are stored in another type than the contract has now; whether parts may be null does not count."""
    stored = {field.name: field.dataType.simpleString() for field in schema.fields}
    return [c for c in contract.all_columns if stored.get(c.name, c.type.simpleString()) != c.type.simpleString()]


def _never_null(schema: StructType) -> set[str]:
    return {field.name for field in schema.fields if not field.nullable}


def _missing(contract: TableContract, schema: StructType) -> list[Column]:
    have = set(schema.names)
    return [column for column in contract.all_columns if column.name not in have]
