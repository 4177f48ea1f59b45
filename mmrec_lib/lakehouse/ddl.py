"""Contracts as Delta DDL, row hashes and documentation."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import MapType, StringType

from mmrec_lib.contracts.table import Check, TableContract
from mmrec_lib.contracts.table import Column as ContractColumn

# Prefix of the table properties in which Delta keeps CHECK constraints.
CONSTRAINTS = "delta.constraints."


def quoted(text: str) -> str:
    """SQL string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def column_ddl(column: ContractColumn) -> str:
    """One column of a CREATE TABLE or ADD COLUMNS statement."""
    required = " NOT NULL" if column.required else ""
    return f"`{column.name}` {column.type.simpleString()}{required} COMMENT {quoted(column.comment)}"


def create_statement(contract: TableContract, identifier: str, *, with_checks: bool) -> str:
    """CREATE TABLE for a contract; no deletion vectors, so that every Delta reader can read the table.

    Args:
        contract: The table.
        identifier: Its SQL name.
        with_checks: Create its CHECK constraints in the same commit. Open-source Delta takes them as table properties;
            where a catalogue may not, `add_check_statement` adds them one by one.
    """
    properties = {
        "delta.enableDeletionVectors": "false",
        "delta.enableChangeDataFeed": str(contract.change_feed).lower(),
    }
    if contract.stats_columns:
        properties["delta.dataSkippingStatsColumns"] = ",".join(contract.stats_columns)
    if with_checks:
        properties |= {constraint_property(check): check.condition for check in contract.checks}
    columns = ",\n  ".join(column_ddl(column) for column in contract.all_columns)
    partitions = f"\nPARTITIONED BY ({', '.join(contract.partition_by)})" if contract.partition_by else ""
    options = ", ".join(f"{quoted(key)} = {quoted(value)}" for key, value in properties.items())
    return (
        f"CREATE TABLE IF NOT EXISTS {identifier} (\n  {columns}\n) USING delta{partitions}\n"
        f"COMMENT {quoted(contract.comment)}\nTBLPROPERTIES ({options})"
    )


def constraint_property(check: Check) -> str:
    """Table property in which Delta keeps a CHECK constraint."""
    return f"{CONSTRAINTS}{check.name}"


def add_check_statement(check: Check, identifier: str) -> str:
    """ALTER TABLE that adds one CHECK constraint, after a look at all rows."""
    return f"ALTER TABLE {identifier} ADD CONSTRAINT {check.name} CHECK ({check.condition})"


def row_hash(contract: TableContract) -> Column:
    """64-bit hash of the content columns.

    Only ever compared between two versions of the same key. Null flags are hashed too, because xxhash64 passes over
    nulls and would not see a value move from one column to the next.
    """
    parts: list[Column] = []
    for column in contract.columns:
        if column.audit:
            continue
        value = F.col(column.name)
        if isinstance(column.type, MapType):
            value = F.map_entries(value) if column.in_order else F.sort_array(F.map_entries(value))
            if isinstance(column.type.valueType, StringType):
                # A text after a null could be taken for the next key. Of numbers JSON would be most of the time.
                value = F.to_json(value)
        parts += [value, F.col(column.name).isNull()]
    return F.xxhash64(*parts)


def conform(rows: DataFrame, contract: TableContract) -> DataFrame:
    """The contract's columns in order and type, plus `row_hash`; further columns are dropped.

    Raises:
        ValueError: When a column is missing: a programming error.
    """
    missing = [column.name for column in contract.columns if column.name not in rows.columns]
    if missing:
        raise ValueError(f"rows for {contract.name} lack the columns {missing}; they have {rows.columns}")
    typed = rows.select(*[F.col(column.name).cast(column.type).alias(column.name) for column in contract.columns])
    return typed.withColumn("row_hash", row_hash(contract))
